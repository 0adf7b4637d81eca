"""Faster forms of the networks for inference."""
