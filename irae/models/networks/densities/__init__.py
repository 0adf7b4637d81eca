"""Networks of densities, one file each."""
