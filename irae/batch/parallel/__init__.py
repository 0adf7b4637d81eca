"""Reading ahead, and restoring on several devices."""
