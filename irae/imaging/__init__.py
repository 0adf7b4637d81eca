"""Pictures: reading and writing them whole, degrading, tiling and measuring them."""
