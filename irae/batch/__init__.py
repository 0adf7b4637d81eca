"""Batches of picture files: planning the jobs, running them and recording the outcomes."""
