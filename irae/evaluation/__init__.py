"""Evaluation of models: on one set of pictures, and in benchmarks of many models and sets."""
