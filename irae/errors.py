"""Errors that a user can cause: one line that names the file or key and the remedy."""

from __future__ import annotations

import re


class IraeError(Exception):
    """Base class of every error that a user can cause and fix.

    The message is one line that names the file or key at fault and the remedy. Options are written
    in backquotes by their names in Python; `for_command_line` converts them to flags. The command
    line prints the message to stderr and exits with ``exit_code``.
    """

    exit_code = 1


class UsageError(IraeError, ValueError):
    """Options that do not fit together, or a value out of range."""

    exit_code = 2


class ConfigError(IraeError, ValueError):
    """A config file that is missing or malformed, or has an unknown key."""

    exit_code = 2


class PictureError(IraeError):
    """A picture that cannot be read or written."""


class PictureFileError(PictureError, OSError):
    """A picture file that is missing, cannot be opened, or must not be written."""


class DataError(IraeError, OSError):
    """A data set that is missing, incomplete or empty."""


class ModelError(IraeError):
    """A model file or model name that cannot be used."""


class TrainingError(IraeError):
    """A run that cannot start, continue or be resumed."""


class CompilerError(IraeError):
    """A network that `torch.compile` cannot compile on this machine."""


class BusyError(IraeError):
    """A folder in which another process works."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, or its type if it has no message."""
    return (str(error) or type(error).__name__).splitlines()[0]


def for_command_line(message: str) -> str:
    """Convert options in a message to flags: ``use `grow_mask` 2`` to ``use --grow-mask 2``."""
    return re.sub(r"`([a-z_]+)`", lambda found: f"--{found[1].replace('_', '-')}", message)
