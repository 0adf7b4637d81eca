"""Safe building of the network that a file describes, within the size of the file's tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn
from torch.overrides import TorchFunctionMode

from irae.errors import ModelError
from irae.models.networks.registry import build_network, option_parameters, resolve_options

Shape = tuple[int, ...]

MOST = 4096
"""Largest number among a network's options, and largest multiple of its picture sizes."""

# Building makes hardly more tensors than it keeps. Some more are allowed, so that for a file that
# holds only a part of its network the error can name the missing tensor.
_TIMES, _SPARE_ELEMENTS, _SPARE_TENSORS = 2, 1 << 16, 64

_SIZED: dict[Callable[..., Any], int] = {
    **dict.fromkeys((torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn), 1),
    **dict.fromkeys((torch.full, torch.arange), 1),
    torch.eye: 2,
}
"""Functions that make tensors from sizes; the number of elements is the size to this power."""


class _BudgetError(Exception):
    """Building the network needs more elements or tensors than its file justifies."""


class _Budget(TorchFunctionMode):
    """Limits the number and the size of new tensors, before their memory is allocated."""

    def __init__(self, elements: int, tensors: int) -> None:
        super().__init__()
        self._elements, self._tensors = elements, tensors

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        power = _SIZED.get(func)
        if power is not None:
            self._tensors -= 1
            self._elements -= _count(args if func is not torch.full else args[:1]) ** power
            if self._tensors < 0 or self._elements < 0:
                raise _BudgetError
        return func(*args, **(kwargs or {}))


def _count(sizes: Any) -> int:
    """Return the product of whole numbers, nested or not."""
    if isinstance(sizes, (tuple, list)):
        return math.prod(_count(size) for size in sizes)
    return sizes if isinstance(sizes, int) else 1


def build_described(
    path: Path, network: str, options: dict[str, Any], shapes: Mapping[str, Shape]
) -> nn.Module:
    """Build the network that a file describes; its weights are loaded afterwards.

    The memory allocated is bounded by the size of the file's tensors, whatever its options are.

    Args:
        path: path of the file, for error messages.
        network: name of the network in the file.
        options: options of the network in the file.
        shapes: shapes of the file's tensors, by name.

    Raises:
        ModelError: the network or an option is unknown, a value has the wrong type or exceeds
            :data:`MOST`, or the network is far larger than the file.
    """
    _check_options(path, network, options)
    held = sum(math.prod(shape) for shape in shapes.values())
    budget = _Budget(_TIMES * held + _SPARE_ELEMENTS, _TIMES * len(shapes) + _SPARE_TENSORS)
    try:
        with budget:
            built = build_network(network, options)
    except _BudgetError:
        raise ModelError(
            f"{path}: describes a network {network!r} larger than the tensors it holds; "
            "the file is damaged or of another architecture"
        ) from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    multiple = getattr(built, "size_multiple", 1)
    if multiple > MOST:
        raise ModelError(f"{path}: needs pictures of a multiple of {multiple}, over {MOST}")
    return built


def misfit(network: nn.Module, shapes: Mapping[str, Shape]) -> str | None:
    """Name the first tensor that is missing or of another shape; None if all fit."""
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    for key in [*expected, *shapes]:
        if key not in shapes or key not in expected or shapes[key] != expected[key]:
            return key[:120]
    return None


def _check_options(path: Path, network: str, options: dict[str, Any]) -> None:
    try:
        resolve_options(network, None, options)
    except ModelError as error:
        raise ModelError(f"{path}: {str(error)[:400]}") from None
    known = option_parameters(network, options)
    for key, value in options.items():
        wrong = ModelError(
            f"{path}: option {key!r} of network {network!r} is {str(value)[:40]!r}, "
            "which is not allowed; train or import it again"
        )
        try:
            kind = TypeAdapter(known[key].annotation, config=ConfigDict(strict=True))
            kind.validate_python(value)
        except ValidationError:
            raise wrong from None
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, (int, float)) and not abs(number) <= MOST:  # Or it is NaN.
                raise wrong
