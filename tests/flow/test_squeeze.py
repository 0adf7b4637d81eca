"""Space to depth and back: PyTorch's values, in channels-last order on every device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.utils._python_dispatch import TorchDispatchMode

from irae.flow import squeeze
from irae.flow.squeeze import depth_to_space, space_to_depth
from irae.models.networks.registry import build_network

LAST = torch.channels_last
PAIRS = [(space_to_depth, F.pixel_unshuffle), (depth_to_space, F.pixel_shuffle)]


def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a CPU compute what a GPU is given to."""
    monkeypatch.setattr(squeeze, "_keeps_order", lambda x: False)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_values_are_those_of_pytorch(
    ours: Callable[[Tensor], Tensor],
    theirs: Callable[[Tensor, int], Tensor],
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everywhere(monkeypatch)
    for order in (torch.contiguous_format, LAST):
        x = torch.rand(2, 8, 6, 4).to(dtype).contiguous(memory_format=order).requires_grad_()
        result, expected = ours(x), theirs(x, 2)
        assert torch.equal(result, expected)
        weight = torch.rand(result.shape).to(dtype)
        (gradient,) = torch.autograd.grad((result * weight).sum(), x)
        (wanted,) = torch.autograd.grad((expected * weight).sum(), x)
        assert torch.equal(gradient, wanted)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_results_and_gradients_are_channels_last(
    ours: Callable[[Tensor], Tensor], theirs: object, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere(monkeypatch)
    x = torch.rand(2, 8, 6, 4, device=device).contiguous(memory_format=LAST).requires_grad_()
    result = ours(x)
    assert result.is_contiguous(memory_format=LAST)
    for order in (torch.contiguous_format, LAST):
        given = torch.rand(result.shape, device=device).contiguous(memory_format=order)
        (gradient,) = torch.autograd.grad(result, x, given, retain_graph=True)
        assert gradient.is_contiguous(memory_format=LAST)


class Convolutions(TorchDispatchMode):
    """Notes convolutions whose pictures, or gradients of these, are not channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.wrong: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in ("convolution", "convolution_backward"):
            self.seen += 1
            pictures = args[: 1 if name == "convolution" else 2]
            # Parts of a stream count too: theirs is the order, with gaps.
            if not all(suggest_memory_format(x) == LAST for x in pictures):
                self.wrong.append(f"{name} {[(tuple(x.shape), x.stride()) for x in pictures]}")
        return func(*args, **(kwargs or {}))


NETWORKS = [
    ("irae", {"form": "lifted", "width": 16, "couplings": 4, "hidden": 8}),
    ("irae", {"width": 8, "depth": 2, "levels": 2}),
    ("ffdnet", {"width": 8, "layers": 4}),
]


def run(network: nn.Module, device: torch.device) -> Convolutions:
    network.to(device).to(memory_format=LAST)
    x = torch.rand(2, 3, 32, 32, device=device).contiguous(memory_format=LAST)
    condition = None
    if getattr(network, "takes_sigma", False):
        condition = torch.ones(2, 1, 1, 1, device=device)
    with Convolutions() as convolutions:
        result = network(x, condition)
        result.backward(torch.ones_like(x))
    assert result.is_contiguous(memory_format=LAST)
    return convolutions


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_no_convolution_is_given_another_order(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere(monkeypatch)
    convolutions = run(build_network(name, options), torch.device("cpu"))
    assert convolutions.seen >= 8
    assert not convolutions.wrong, convolutions.wrong[:3]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_a_gpu_keeps_the_order(name: str, options: dict[str, Any], cuda: torch.device) -> None:
    assert not run(build_network(name, options), cuda).wrong
