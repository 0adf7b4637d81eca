"""Model files, other projects' weights, and exports."""
