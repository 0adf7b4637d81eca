"""Pictures: reading, writing, degrading, tiling and measuring them."""
