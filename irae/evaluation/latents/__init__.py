"""A look into the latent of a model: one page that opens offline."""
