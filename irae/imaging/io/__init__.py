"""Reading and writing picture files with all their properties."""
