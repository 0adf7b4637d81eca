"""The Muon optimiser: what it does to a gradient, and to whom."""

import copy
import io
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from irae.training.ema import EMA
from irae.training.muon import Muon, orthogonalised


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_orthogonalised_keeps_singular_vectors_and_levels_values(
    rows: int, columns: int, seed: int
) -> None:
    torch.manual_seed(seed)
    matrix = torch.randn(2, rows, columns)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.mT @ orthogonalised(matrix) @ right.mT
    # Values far below the largest are on their way up still.
    usual = values > 0.05 * values[:, :1]
    diagonal = found.diagonal(dim1=1, dim2=2)
    assert (diagonal[usual] > 0.6).all() and (diagonal[usual] < 1.3).all()
    rest = found - torch.diag_embed(diagonal)
    assert rest.abs().max() < 1e-3


def test_orthogonalised_zeros_stay_zeros() -> None:
    assert torch.equal(orthogonalised(torch.zeros(1, 3, 5)), torch.zeros(1, 3, 5))


@pytest.mark.parametrize("tiny", [1e-20, 1e-40])
def test_numbers_that_are_almost_zero_count_as_zeros(tiny: float) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(2, 6, 9)
    matrix[:, 4:] *= tiny
    empty = matrix.clone()
    empty[:, 4:] = 0
    assert torch.equal(orthogonalised(matrix), orthogonalised(empty))
    assert torch.equal(orthogonalised(matrix.mT).mT[:, 4:], torch.zeros(2, 2, 9))
    assert not orthogonalised(torch.full((1, 3, 5), tiny * 1e-6)).any()


class _Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = nn.Conv2d(8, 3, 1)


def _give_gradients(network: nn.Module, seed: int = 0) -> None:
    torch.manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)


def test_only_convolutions_over_channels_are_orthogonalised() -> None:
    torch.manual_seed(0)
    network = _Parts()
    plain = copy.deepcopy(network)
    muon = Muon(network, 1e-2, weight_decay=0.1)
    adamw = torch.optim.AdamW(plain.parameters(), 1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    for step in range(3):
        _give_gradients(network, step)
        _give_gradients(plain, step)
        before = network.wide.weight.detach().clone()
        muon.step()
        adamw.step()
        update = (network.wide.weight.detach() - 0.999 * before).reshape(8, 27)
        values = torch.linalg.svdvals(update) / (1e-2 * 0.2 * 27**0.5)
        assert values.min() > 0.5 and values.max() < 1.3
    for name, parameter in network.named_parameters():
        same = torch.allclose(parameter, plain.get_parameter(name), rtol=1e-5, atol=1e-7)
        assert same == (name not in ("wide.weight", "last.weight")), name


def test_its_state_goes_through_a_file() -> None:
    torch.manual_seed(0)
    network = _Parts()
    first = Muon(network, 1e-2)
    _give_gradients(network)
    first.step()
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = _Parts()
    other.load_state_dict(state["network"])
    second = Muon(other, 1e-2)
    second.load_state_dict(state["optimizer"])
    for net, optimizer in ((network, first), (other, second)):
        _give_gradients(net, 1)
        optimizer.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


class Counting(TorchDispatchMode):
    """Counts the operations that a GPU would be given: views are none."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        shared = any(each.alias_info is not None for each in func._schema.returns)
        in_place = func.overloadpacket.__name__.endswith("_")
        self.count += in_place or not shared
        return result


@pytest.mark.parametrize("what", ["step", "average"])
def test_the_number_of_operations_does_not_grow_with_the_depth(what: str) -> None:
    counts = []
    for depth in (3, 30):
        network = nn.Sequential(*[nn.Conv2d(8, 8, 3) for _ in range(depth)])
        optimizer, average = Muon(network, 1e-2, weight_decay=0.1), EMA(network, 0.9)
        for _ in range(2):
            _give_gradients(network)
            with Counting() as operations:
                if what == "step":
                    optimizer.step()
                else:
                    average.update(network, 1)
        counts.append(operations.count)
    assert counts[0] == counts[1] < 100


def test_every_memory_order_is_updated_alike() -> None:
    found = []
    for order in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        network = _Parts().to(memory_format=order)
        optimizer = Muon(network, 1e-2, weight_decay=0.1)
        for _ in range(3):
            for parameter in network.parameters():
                parameter.grad = (
                    torch.randn(parameter.shape).to(memory_format=order)
                    if (parameter.ndim == 4)
                    else torch.randn(parameter.shape)
                )
            optimizer.step()
        found.append([p.detach().clone() for p in network.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def resumed(file: io.BytesIO, device: torch.device) -> tuple[nn.Module, Muon]:
    """A run's network and optimiser, read as `irae.training.checkpoint` reads them: on the CPU."""
    file.seek(0)
    state = torch.load(file, weights_only=True, map_location="cpu")
    network = _Parts().to(device)
    optimizer = Muon(network, 1e-2)
    if device.type != "meta":
        network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return network, optimizer


@pytest.mark.parametrize("old", [False, True])
def test_its_state_comes_to_the_device_of_its_parameters(old: bool) -> None:
    network = _Parts()
    first = Muon(network, 1e-2)
    _give_gradients(network)
    first.step()
    state = first.state_dict()
    if old:
        # As PyTorch has always written it, and as a run on a GPU is read on the CPU.
        state["state"] = {
            key: {k: v.cpu().double() if k == "step" else v for k, v in value.items()}
            for key, value in state["state"].items()
        }
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": state}, file)
    _, second = resumed(file, torch.device("meta"))
    kept = [value for each in second.state.values() for value in each.values()]
    assert len(kept) == 2 + 4 * 3
    assert {value.device.type for value in kept} == {"meta"}
    assert {value.dtype for value in kept} == {torch.float32}


def test_a_run_goes_on_on_a_gpu(cuda: torch.device) -> None:
    torch.manual_seed(0)
    network = _Parts()
    first = Muon(network, 1e-2)
    _give_gradients(network)
    first.step()
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": first.state_dict()}, file)
    there, second = resumed(file, cuda)
    _give_gradients(network, 1)
    for parameter, other in zip(network.parameters(), there.parameters(), strict=True):
        assert parameter.grad is not None
        other.grad = parameter.grad.to(cuda)
    first.step()
    second.step()
    for a, b in zip(network.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(a, b.cpu(), atol=1e-5, rtol=1e-5)


def test_takes_no_closure() -> None:
    with pytest.raises(ValueError, match="closure"):
        Muon(_Parts(), 1e-2).step(lambda: 0.0)
