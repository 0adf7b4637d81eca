"""What a training says, and what may be said to it: its log, and requests to stop."""
