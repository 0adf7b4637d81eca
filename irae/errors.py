"""Errors a user can cause: one line that names the file or key and the remedy."""

from __future__ import annotations


class IraeError(Exception):
    """Base of every error that a user can cause and mend.

    The message is one line, names the file or key at fault and says what to do. The command
    line prints it to stderr and leaves with ``exit_code``.
    """

    exit_code = 1


class UsageError(IraeError):
    """Options that do not fit together, or a value out of range."""

    exit_code = 2


class ConfigError(IraeError):
    """A config file that is absent, malformed, or has an unknown key."""

    exit_code = 2


class PictureError(IraeError):
    """A picture that cannot be read or written."""


class DataError(IraeError):
    """A data set that is missing, incomplete or empty."""


class ModelError(IraeError):
    """A model file or model name that cannot be used."""


class TrainingError(IraeError):
    """A run that cannot start, go on or be resumed."""
