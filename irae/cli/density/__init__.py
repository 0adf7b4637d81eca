"""The commands of densities, and the look into latents."""
