"""Benchmarks: every model on every data set at every level of damage, resumed and measured."""
