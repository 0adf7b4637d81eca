"""What makes a training step fast on a GPU."""
