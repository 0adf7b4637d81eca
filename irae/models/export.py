"""A model as an ONNX file: the folded weights in a graph of standard operators."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from irae.errors import ModelError, UsageError
from irae.flow.holes import HoleNetwork, Scale
from irae.models.files import LoadedModel
from irae.models.folding import FoldedCoupling, FoldedLevel, Linear, fold
from irae.models.irae import IRAE
from irae.writing import write_atomically

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and PyTorch at which a file is still written."""

PICTURE, MASK, RESTORED = "picture", "mask", "restored"
"""Names of the graph's inputs and of its output."""


def _import_onnx() -> Any:
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise UsageError("ONNX is not installed; run pip install 'irae[onnx]'") from None
    return onnx, onnxruntime


class _Graph:
    """Nodes and constants under construction; every operation returns the name of its result."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Tensor | npt.NDArray[Any] | Sequence[int] | float) -> str:
        name = f"c{len(self.constants)}"
        if isinstance(value, Tensor):
            array = value.to(torch.float32).numpy()
        elif isinstance(value, float):
            array = np.array(value, np.float32)
        else:
            array = np.asarray(value, np.int64)
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"n{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, names, **attributes))
        return names[0]

    def halves(self, x: str, channels: int) -> tuple[str, str]:
        first = self.node("Split", x, self.constant([channels // 2] * 2), outputs=2, axis=1)
        return first, first[:-1] + "1"

    def convolve(
        self, x: str, weight: Tensor, bias: Tensor, padding: int = 0, stride: int = 1
    ) -> str:
        constants = self.constant(weight), self.constant(bias)
        return self.node("Conv", x, *constants, pads=[padding] * 4, strides=[stride] * 2)

    def linear(self, x: str, linear: Linear) -> str:
        return self.convolve(x, linear.matrix[:, :, None, None], linear.bias)


def _couple(
    graph: _Graph, coupling: FoldedCoupling, x: str, condition: str | None, *, inverse: bool
) -> str:
    channels = 2 * len(coupling.biases[2]) // (2 if coupling.affine else 1)
    changed, kept = graph.halves(x, channels)
    h = kept if condition is None else graph.node("Concat", kept, condition, axis=1)
    (w1, w2, w3), (b1, b2, b3) = coupling.weights, coupling.biases
    h = graph.node("Relu", graph.convolve(h, w1, b1, 1))
    h = graph.node("Relu", graph.convolve(h, w2, b2, 1 if coupling.ring else coupling.reach))
    h = graph.convolve(h, w3, b3, int(not coupling.ring))
    if coupling.affine:
        h, raw = graph.halves(h, len(b3))
        scale = _scale(graph, coupling, raw)
    if inverse:
        changed = graph.node("Sub", changed, h)
        changed = graph.node("Div", changed, scale) if coupling.affine else changed
    else:
        changed = graph.node("Mul", changed, scale) if coupling.affine else changed
        changed = graph.node("Add", changed, h)
    return graph.node("Concat", changed, kept, axis=1)


def _scale(graph: _Graph, coupling: FoldedCoupling, raw: str) -> str:
    if coupling.bound is None:
        return graph.node("Sigmoid", raw)
    bound = graph.constant(coupling.bound)
    return graph.node("Exp", graph.node("Mul", graph.node("Tanh", raw), bound))


def _level(graph: _Graph, levels: list[FoldedLevel], x: str, condition: str | None) -> str:
    """A level and all below it; ``levels`` are those, the finest first."""
    level, *below = levels
    if condition is not None:
        condition = graph.node("AveragePool", condition, kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("SpaceToDepth", x, blocksize=2)
    channels = len(level.enter.bias)
    x = graph.linear(x, Linear(level.enter.matrix[:, _after_squeeze(channels)], level.enter.bias))
    for coupling, following in level.encoder:
        x = _couple(graph, coupling, x, condition, inverse=False)
        x = x if following is None else graph.linear(x, following)
    if below:
        down, latent = graph.halves(x, channels)
        x = graph.node("Concat", _level(graph, below, down, condition), latent, axis=1)
    for coupling, following in level.decoder:
        x = graph.linear(_couple(graph, coupling, x, condition, inverse=True), following)
    return graph.node("DepthToSpace", x, blocksize=2, mode="CRD")


def _after_squeeze(channels: int) -> Tensor:
    """The order SpaceToDepth gives channels: positions first; pixel_unshuffle counts them last."""
    return torch.arange(channels).view(channels // 4, 4).T.flatten()


def _relu_convolve(graph: _Graph, layer: nn.Conv2d, x: str, stride: int = 1) -> str:
    assert layer.bias is not None
    x = graph.node("Relu", x)
    return graph.convolve(x, layer.weight.detach(), layer.bias.detach(), 1, stride)


def _hole_scale(graph: _Graph, scale: Scale, h: str) -> str:
    h = graph.node("Add", h, _relu_convolve(graph, scale.before, h))
    if scale.below is not None:
        coarse = _hole_scale(graph, scale.below, _relu_convolve(graph, scale.down, h, 2))
        found = _relu_convolve(graph, scale.up, coarse)
        twice = graph.constant(torch.tensor([1.0, 1.0, 2.0, 2.0]))
        h = graph.node("Add", h, graph.node("Resize", found, "", twice, mode="linear"))
    return graph.node("Add", h, _relu_convolve(graph, scale.after, h))


def _change_holes(graph: _Graph, network: HoleNetwork, x: str, mask: str) -> str:
    centred = graph.node("Sub", x, graph.constant(0.5))
    given = graph.node("Concat", mask, centred, axis=1)
    given = graph.node("SpaceToDepth", given, blocksize=2)
    assert network.first.bias is not None
    weight = network.first.weight.detach()[:, _after_squeeze(16)]
    h = graph.convolve(given, weight, network.first.bias.detach(), 1)
    h = _relu_convolve(graph, network.last, _hole_scale(graph, network.scale, h))
    shift = graph.node("DepthToSpace", h, blocksize=2, mode="CRD")
    return graph.node("Add", x, graph.node("Mul", mask, shift))


def _build(onnx: Any, model: LoadedModel, network: IRAE) -> Any:
    graph = _Graph(onnx)
    size = graph.node("Slice", graph.node("Shape", PICTURE), *map(graph.constant, ([2], [4])))
    multiple = graph.constant([network.size_multiple] * 2)
    missing = graph.node("Mod", graph.node("Neg", size), multiple)
    pads = graph.node("Concat", graph.constant([0] * 6), missing, axis=0)
    x = graph.node("Pad", PICTURE, pads, mode="reflect")
    takes_mask = bool(network.condition_channels)
    condition = graph.node("Pad", MASK, pads, mode="reflect") if takes_mask else None
    if network.holes is not None and condition is not None:
        x = _change_holes(graph, network.holes.network, x, condition)
    x = _level(graph, fold(network), x, condition)
    x = graph.node("Slice", x, graph.constant([0, 0]), size, graph.constant([2, 3]))
    if model.takes_mask:
        hole = graph.node("Greater", MASK, graph.constant(0.5))
        x = graph.node("Where", hole, x, PICTURE)
    graph.nodes.append(onnx.helper.make_node("Identity", [x], [RESTORED]))

    def picture(name: str, channels: int) -> Any:
        shape = ["batch", channels, "height", "width"]
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    inputs = [picture(PICTURE, 3), *([picture(MASK, 1)] if model.takes_mask else [])]
    content = onnx.helper.make_graph(
        graph.nodes, "irae", inputs, [picture(RESTORED, 3)], graph.constants
    )
    made = onnx.helper.make_model(
        content, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="irae"
    )
    # What runtimes of the opset's own time read.
    made.ir_version = 8
    card = json.dumps(model.spec.card)
    onnx.helper.set_model_props(made, {"task": model.task, "model": model.name, "card": card})
    onnx.checker.check_model(made, full_check=True)
    return made


def _largest_difference(onnxruntime: Any, content: bytes, model: LoadedModel) -> float:
    """Between ONNX Runtime and PyTorch, on noise of a size that needs padding."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 67, 90, generator=rng)
    given = {PICTURE: x.numpy()}
    mask = None
    if model.takes_mask:
        mask = torch.zeros(1, 1, 67, 90, dtype=torch.bool)
        mask[..., 20:40, 30:60] = True
        x = model.fill(x, mask)
        given = {PICTURE: x.numpy(), MASK: mask.float().numpy()}
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    restored = torch.from_numpy(session.run([RESTORED], given)[0])
    return float((restored - model.restore(x, mask, filled=True).cpu()).abs().max())


def export_onnx(model: LoadedModel, path: str | Path) -> float:
    """Write a model as ONNX, checked against PyTorch first.

    The graph takes ``picture`` (float32 ``B 3 H W`` in [0, 1], any H and W from
    ``size_multiple`` on) and gives ``restored`` of the same shape, not clipped. An inpainting
    model takes ``mask`` too (float32 ``B 1 H W``, 1 in the holes); the holes of ``picture`` must
    be filled as `LoadedModel.fill` does, and known pixels come out as they went in.

    Args:
        model: an IRAE, on any device, in float32.
        path: ends in ``.onnx``; replaced if it exists.

    Returns:
        The largest difference between ONNX Runtime and PyTorch on a test picture.

    Raises:
        UsageError: ONNX is not installed, or the path has another suffix.
        ModelError: the model is no IRAE, or ONNX Runtime gives other numbers.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: an ONNX file ends in .onnx")
    if not isinstance(model.network, IRAE):
        raise ModelError(
            f"model {model.name!r} is of network {model.spec.network!r}; only irae has an ONNX form"
        )
    onnx, onnxruntime = _import_onnx()
    content = _build(onnx, model, model.network).SerializeToString()
    difference = _largest_difference(onnxruntime, content, model)
    if not difference <= TOLERANCE:
        raise ModelError(
            f"model {model.name!r}: ONNX Runtime differs by {difference:.2g}; nothing was written"
        )
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return difference
