"""Errors a user can cause: one line that names the file or key and the remedy."""

from __future__ import annotations

import re


class IraeError(Exception):
    """Base of every error that a user can cause and mend.

    The message is one line, names the file or key at fault and says what to do. Options stand in
    backquotes by their names in Python; `for_command_line` turns them into flags. The command line
    prints the message to stderr and leaves with ``exit_code``.
    """

    exit_code = 1


class UsageError(IraeError, ValueError):
    """Options that do not fit together, or a value out of range."""

    exit_code = 2


class ConfigError(IraeError, ValueError):
    """A config file that is absent, malformed, or has an unknown key."""

    exit_code = 2


class PictureError(IraeError, OSError):
    """A picture that cannot be read or written."""


class DataError(IraeError, OSError):
    """A data set that is missing, incomplete or empty."""


class ModelError(IraeError):
    """A model file or model name that cannot be used."""


class TrainingError(IraeError):
    """A run that cannot start, go on or be resumed."""


def first_line(error: BaseException) -> str:
    """The first line of what another library's error says, or its type where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]


def for_command_line(message: str) -> str:
    """A message with its options as flags: ``use `grow_mask` 2`` becomes ``use --grow-mask 2``."""
    return re.sub(r"`([a-z_]+)`", lambda found: f"--{found[1].replace('_', '-')}", message)
