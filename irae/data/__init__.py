"""Pictures to train and test on: the three sets of the paper, and any folder.

``open_data("celeba")`` or ``open_data("photos/")`` returns a :class:`PictureSet`.
``data/README.md`` describes each set, its terms and its expected layout.
"""

from __future__ import annotations

from irae.data.folder import PictureSet
from irae.data.registry import open_data

__all__ = ["PictureSet", "open_data"]
