"""How fast restoring and training are, and what memory they take."""
