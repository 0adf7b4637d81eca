"""The systems of all 1×1 convolutions are solved together, with the results of each alone."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from irae.flow.reversible import set_reversible
from irae.flow.solving import solved_together
from irae.models.networks.registry import build_network

SMALL = {"width": 8, "depth": 3, "levels": 2}


class Solves(TorchDispatchMode):
    """Counts the factorisations of a forward pass and the solutions of systems."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.found["forward"] += name in ("_linalg_solve_ex", "linalg_inv_ex", "linalg_solve_ex")
        self.found["all"] += "solve" in name or "inv" in name
        return func(*args, **(kwargs or {}))


def make_network(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    network = build_network("irae", {**SMALL, **options})
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)
    return network


def results(network: nn.Module, together: bool = False) -> list[Tensor]:
    """Return the output and all gradients."""
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    x = x.to(next(network.parameters()).device)
    network.zero_grad()
    with solved_together(network) if together else nullcontext():
        output = network(x)
        torch.autograd.backward(output.square().mean())
    return [output.detach(), *(p.grad for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"mixing": "bounded"}, 2),
        ({"mixing": "dense", "actnorm": True, "coupling": "affine", "start": "random"}, 2),
    ],
)
@pytest.mark.parametrize("recompute", [False, True])
def test_few_batches_of_systems_give_what_each_alone_gives(
    options: dict[str, Any], sizes: int, recompute: bool
) -> None:
    network = make_network(**options)
    set_reversible(network, recompute)
    with Solves() as alone:
        expected = results(network)
    before = [(name, id(p)) for name, p in network.named_parameters()]
    with Solves() as together:
        found = results(network, together=True)
    assert [(name, id(p)) for name, p in network.named_parameters()] == before
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert together.found["forward"] == sizes < 6 <= alone.found["forward"]
    assert together.found["all"] <= 3 * sizes <= alone.found["all"]


def test_nothing_stays_after_the_context() -> None:
    network = make_network()
    with pytest.raises(ZeroDivisionError), solved_together(network):
        raise ZeroDivisionError
    before = results(network)
    with torch.no_grad():
        network.encoder.levels[0].steps[1].left.add_(0.1)
    assert not torch.equal(results(network)[0], before[0])


def test_systems_are_solved_on_a_gpu_as_here(cuda: torch.device) -> None:
    here = results(make_network(kernels=[1, 3]), together=True)
    network = make_network(kernels=[1, 3]).to(cuda)
    there = results(network, together=True)
    for a, b in zip(there, here, strict=True):
        torch.testing.assert_close(a.cpu(), b, atol=1e-4, rtol=1e-3)
