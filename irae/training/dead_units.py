"""Detection and restart of dead hidden units, which waste capacity without any score showing it.

A ReLU whose input is negative everywhere passes no gradient, so its unit cannot recover.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode

from irae.runtime import generator

Firing = dict[str, Tensor]
"""Maps a layer's name to a bool per channel: whether the unit was positive anywhere."""

_RELU = {torch.ops.aten.relu, torch.ops.aten.relu_}
_LEAKY = {torch.ops.aten.leaky_relu, torch.ops.aten.leaky_relu_}


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records which channels of every ReLU's input are positive anywhere."""

    def __init__(self, names: dict[nn.Module, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.firing: Firing = {}
        self._names = names
        # The modules being run, innermost last, each with its number of ReLUs so far.
        self._running: list[tuple[str, list[int]]] = []

    def enter(self, module: nn.Module, _: Any) -> None:
        self._running.append((self._names.get(module, ""), [0]))

    def leave(self, module: nn.Module, _: Any, __: Any) -> None:
        self._running.pop()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kind = func.overloadpacket
        relu = kind in _RELU or (kind in _LEAKY and args[1:] == (0.0,))
        if relu and args[0].ndim == 4 and self._running:
            name, count = self._running[-1]
            count[0] += 1
            key = name if count[0] == 1 else f"{name}, activation {count[0]}"
            known = self.firing.get(key)
            if known is None or not bool(known.all()):
                # Many times as fast as to reduce booleans.
                fires = (args[0].amax((0, 2, 3)) > 0).cpu()
                self.firing[key] = fires if known is None else fires | known
        return func(*args, **(kwargs or {}))


@contextmanager
def watch_units(network: nn.Module) -> Iterator[Firing]:
    """Record which hidden units of a network fire while it runs inside this context.

    Units of leaky ReLU and PReLU are not recorded: they pass a gradient wherever they are.
    Fused and folded forms of a network hide their units, so run the network itself.

    Yields:
        A dictionary that is filled while the network runs.
    """
    watch = _Watch({module: name for name, module in network.named_modules()})
    handles = [
        register_module_forward_pre_hook(watch.enter),
        register_module_forward_hook(watch.leave, always_call=True),
    ]
    try:
        with watch:
            yield watch.firing
    finally:
        for handle in handles:
            handle.remove()


def either(parts: list[Firing]) -> Firing:
    """Merge records: a unit fires if it fires in any of them."""
    merged: Firing = {}
    for part in parts:
        for layer, fires in part.items():
            merged[layer] = fires | merged.get(layer, fires)
    return merged


class UnitCounts:
    """What the score of a validation says of hidden units.

    Attributes:
        firing: hidden units of each layer that were positive on any of the pictures.
    """

    firing: Firing

    @property
    def dead(self) -> float:
        """Share of hidden units that never fired."""
        units = sum(len(fires) for fires in self.firing.values())
        return sum(int((~fires).sum()) for fires in self.firing.values()) / max(1, units)

    def mostly_dead(self, limit: float) -> dict[str, float]:
        """Return the share of dead units of each layer in which it exceeds ``limit``."""
        shares = {name: float((~fires).float().mean()) for name, fires in self.firing.items()}
        return {name: share for name, share in shares.items() if share > limit}


def restart(networks: list[nn.Module], firing: Firing, *keys: int) -> int:
    """Restart dead units equally in several networks, without changing the networks' output.

    Only layers with a method ``restart(dead, generator)`` are changed.

    Args:
        networks: networks of one architecture, such as the trained one and its average.
        firing: the record of `watch_units`.
        keys: keys of the random numbers for the new weights, see `irae.runtime.generator`.

    Returns:
        The number of units restarted in each network.
    """
    count = 0
    for number, (layer, fires) in enumerate(firing.items()):
        if bool(fires.all()):
            continue
        for network in networks:
            begin_anew = getattr(network.get_submodule(layer.split(",")[0]), "restart", None)
            if begin_anew is not None:
                begin_anew(~fires, generator(*keys, number))
                count += int((~fires).sum()) if network is networks[0] else 0
    return count
