"""Folders of pictures: what to do, doing it, and what became of it."""
