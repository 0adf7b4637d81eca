"""The time and the memory that a training step takes on a device."""
