"""What a run optimises and validates by: restoring, likelihood, or finding damage."""
