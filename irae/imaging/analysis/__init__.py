"""Measuring the damage of a picture."""
