"""Invertible layers: bijections, couplings with their subnets, and the flows made of them."""
