"""The invertible core: bijections, coupling networks and the multi-scale flow."""
