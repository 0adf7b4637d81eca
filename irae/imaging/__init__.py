"""Pictures: files, degradations, tiling, metrics."""
