"""The report of a benchmark: tables, plots and an HTML page."""
