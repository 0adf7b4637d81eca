"""Measuring models: one model on one set of pictures, and tables of many."""
