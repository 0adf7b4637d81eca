"""What densities are built of: priors, scales, splines and checkerboards."""
