"""What only an invertible network can do."""
