"""Picture files read and written whole."""
