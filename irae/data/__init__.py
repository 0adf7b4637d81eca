"""Pictures to train and test on: the three sets of the paper, and any folder.

``open_data("celeba")`` or ``open_data("photos/")`` gives a :class:`PictureSet`. What each set is,
its terms and the layout expected are in ``data/README.md``.
"""

from __future__ import annotations

from irae.data.folder import PictureSet
from irae.data.registry import open_data

__all__ = ["PictureSet", "open_data"]
