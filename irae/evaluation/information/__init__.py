"""What a network keeps of its picture, layer by layer."""
