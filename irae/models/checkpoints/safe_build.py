"""Networks as files describe them, built only if the file holds the numbers for them."""

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
"""Largest whole number among a network's options, and largest multiple of its picture sizes."""

# Building makes hardly more tensors than it keeps. Some are let pass, so that a network of which
# the file holds a part is told by the tensor it lacks.
_TIMES, _SPARE_ELEMENTS, _SPARE_TENSORS = 2, 1 << 16, 64

_SIZED: dict[Callable[..., Any], int] = {
    **dict.fromkeys((torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn), 1),
    **dict.fromkeys((torch.full, torch.arange), 1),
    torch.eye: 2,
}
"""What makes tensors from sizes, and the power of its size."""


class _BudgetError(Exception):
    """A network asks for more than its file can hold."""


class _Budget(TorchFunctionMode):
    """Stops the making of tensors, before memory is set aside, beyond so many and so large."""

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
    """The product of whole numbers, nested or not."""
    if isinstance(sizes, (tuple, list)):
        return math.prod(_count(size) for size in sizes)
    return sizes if isinstance(sizes, int) else 1


def build_described(
    path: Path, network: str, options: dict[str, Any], shapes: Mapping[str, Shape]
) -> nn.Module:
    """Build the network that a file describes, with weights yet to be loaded.

    Nothing larger than the file's own tensors is set aside, whatever its options say.

    Args:
        path: the file, for the errors.
        network: what it says its network is.
        options: what it says that is built with.
        shapes: of the tensors it holds, by name.

    Raises:
        ModelError: unknown network or option, a value of the wrong type or beyond :data:`MOST`,
            or a network of far more numbers than the file holds.
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
    """The first tensor that the network or the file lacks, or that differs; None if all fit."""
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
            "which it cannot be; train or import it again"
        )
        try:
            kind = TypeAdapter(known[key].annotation, config=ConfigDict(strict=True))
            kind.validate_python(value)
        except ValidationError:
            raise wrong from None
        number = isinstance(value, (int, float))
        if number and not (math.isfinite(value) and abs(value) <= MOST):
            raise wrong
