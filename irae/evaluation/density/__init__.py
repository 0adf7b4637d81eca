"""Densities measured: bits per dimension, anomaly scores."""
