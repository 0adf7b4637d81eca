"""Restoring pictures: one in memory, or a batch of files."""
