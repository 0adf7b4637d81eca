"""Benchmarks: training and measuring every model on every data set at every level of damage."""
