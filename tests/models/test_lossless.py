"""The integer form of an IRAE: a bijection, the network's own function, the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from irae.models.files import LoadedModel, load_model
from irae.models.irae import IRAE
from irae.models.lanes import Lanes
from irae.models.lossless import LosslessIRAE
from irae.models.registry import build_network, resolve_options

UNIT = 1 / 65535


@pytest.fixture(scope="module")
def model(model_files: dict[str, Path]) -> LoadedModel:
    return load_model(model_files["denoise"])


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def flow_of(model: LoadedModel) -> LosslessIRAE:
    assert isinstance(model.network, IRAE)
    return LosslessIRAE(model.network, UNIT)


def there(flow: LosslessIRAE, x: Tensor, stack: bytearray | None = None) -> tuple[Tensor, bytes]:
    """Forward, with a stack of bytes for the remainders; the result and the stack then."""
    stack = bytearray(b"some bytes that are there already" * 99) if stack is None else stack
    lanes = Lanes.open(stack, flow.lanes(*x.shape[1:]))
    y = flow.forward(x, lanes)
    lanes.suspend()
    return y, bytes(stack)


def back(flow: LosslessIRAE, y: Tensor, stack: bytes) -> tuple[Tensor, bytes]:
    """Undo `there`."""
    rest = bytearray(stack)
    lanes = Lanes.resume(rest, flow.lanes(*y.shape[1:]))
    x = flow.inverse(y, lanes)
    lanes.close()
    return x, bytes(rest)


def draw(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-32768, 32768, (3, height, width), generator=generator)


@pytest.mark.parametrize("size", [(8, 8), (24, 36), (4, 52)])
@pytest.mark.parametrize("wild", [1, 1000])
def test_it_gives_every_integer_back(model: LoadedModel, size: tuple[int, int], wild: int) -> None:
    flow, x = flow_of(model), draw(*size) * wild
    y, stack = there(flow, x)
    assert not torch.equal(x, y)
    came_back, rest = back(flow, y, stack)
    assert torch.equal(came_back, x)
    assert rest == b"some bytes that are there already" * 99


def test_remainders_need_no_bytes_to_begin_with(model: LoadedModel) -> None:
    flow, x = flow_of(model), draw(32, 32)
    assert flow.lanes(32, 32) > 0
    empty = bytearray()
    lanes = Lanes.open(empty, flow.lanes(32, 32))
    y = flow.forward(x, lanes)
    missing = lanes.missing
    lanes.suspend()
    came_back, rest = back(flow, y, bytes(empty))
    assert torch.equal(came_back, x)
    assert missing > 0
    assert rest == bytes(missing)


@pytest.mark.parametrize("name", ["tiny", "denoise"])
def test_it_is_the_function_of_the_network(model: LoadedModel, name: str) -> None:
    loaded = model if name == "tiny" else load_model(name)
    flow = flow_of(loaded)
    x = draw(32, 48) // 4
    pictures = (x.double() * UNIT + 0.5).float()[None]
    y, _ = there(flow, x)
    scale = flow.scale.repeat(1, 32 // flow.scale.shape[1], 48 // flow.scale.shape[2])
    restored = y.double() * scale + 0.5
    with torch.inference_mode():
        expected = loaded.network(pictures)[0].double()
    assert (restored - expected).abs().max().item() * 255 < 0.3


def test_it_keeps_what_the_network_shrinks() -> None:
    """The scales it ends with are the network's volume."""
    network = build_network(
        "irae", resolve_options("irae", "default", {"width": 8, "depth": 2, "coupling": "additive"})
    )
    assert isinstance(network, IRAE)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "decoder" in name and "log_scale" in name:
                parameter += 0.1
    x = torch.rand(1, 3, 16, 16)
    _, log_det = network.forward_and_log_det(x)
    bits = -log_det.item() / x.numel() / math.log(2)
    assert bits > 0.1
    flow = LosslessIRAE(network, UNIT)
    assert flow.bits == pytest.approx(bits, abs=1e-5)
    assert flow.lanes(16, 16) == 0


def test_the_number_of_threads_does_not_matter(model: LoadedModel, threads: None) -> None:
    x = draw(64, 64)
    torch.set_num_threads(1)
    alone, stack = there(flow_of(model), x)
    torch.set_num_threads(3)
    again, same = there(flow_of(model), x)
    assert torch.equal(again, alone)
    assert same == stack


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_its_sums_are_those_of_integers(layer: int) -> None:
    """A coupling's convolutions are exact, so no machine can find other numbers."""
    loaded = load_model("denoise")
    coupling = flow_of(loaded).levels[-1].encoder[3][1]
    weight, bias = coupling.weights[layer], coupling.biases[layer]
    assert weight.shape[2:] == (3, 3)
    generator = torch.Generator().manual_seed(0)
    h = torch.randint(-(1 << 21), 1 << 21, (1, weight.shape[1], 9, 11), generator=generator)
    floats = F.conv2d(h.double(), weight, bias, padding=1)
    columns = F.unfold(h.double(), 3, padding=1).to(torch.int64)
    integers = weight.reshape(len(weight), -1).to(torch.int64) @ columns[0]
    integers += bias.to(torch.int64)[:, None]
    assert torch.equal(floats.reshape(len(weight), -1).to(torch.int64), integers)
    assert integers.abs().max() < 1 << 53


@pytest.mark.parametrize(
    "options", [{"preset": "paper"}, {"condition_channels": 1}, {"coupling": "affine"}]
)
def test_other_networks_are_refused(options: dict[str, object]) -> None:
    preset = str(options.pop("preset", "default"))
    resolved = resolve_options("irae", preset, {"width": 8, "depth": 1, **options})
    network = build_network("irae", resolved)
    assert isinstance(network, IRAE)
    with pytest.raises(ValueError, match="integer form"):
        LosslessIRAE(network, UNIT)
