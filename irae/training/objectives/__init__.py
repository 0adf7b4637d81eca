"""What a run optimises and validates by: restoring, or likelihood."""
