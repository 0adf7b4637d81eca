"""How Sphinx builds the site; `scripts/docs` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from irae import __version__

project = "irae"
author = "the irae project"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns: list[str] = []

# Links to headings are checked like links to pages.
myst_heading_anchors = 3

# Docstrings name things in single backticks; where there is no page for one it is shown as code.
default_role = "py:obj"
# They would make one dash of the two that an option begins with.
smartquotes = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"irae {__version__}"
html_show_sourcelink = False
html_copy_source = False
