"""Round trips, undoing and noise transfer: uses of invertible networks and of remainders."""
