"""Commands for people with pictures."""
