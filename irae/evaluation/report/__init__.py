"""The report of a benchmark: tables, plots, pages."""
