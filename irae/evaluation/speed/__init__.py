"""Measuring the speed and the memory of restoring and training."""
