"""Measuring the information about a network's input that its layers keep."""
