"""Export of a model to ONNX: its restoring form, traced into standard operators."""

from __future__ import annotations

import io
import json
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.errors import ModelError, UsageError
from irae.models.checkpoints.exportable import exportable
from irae.models.loaded import LoadedModel
from irae.models.module import RestoringModule
from irae.models.networks.registry import CLASSICAL
from irae.writing import write_atomically

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and PyTorch at which a file is still written."""

PICTURE, MASK, SIGMA, RESTORED = "picture", "mask", "sigma", "restored"
"""Names of the graph's inputs and of its output."""


def _import_onnx() -> Any:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # PyTorch's exporter writes its graph with it.
    except ImportError:
        raise UsageError("ONNX is not installed; run pip install 'irae[onnx]'") from None
    return onnx, onnxruntime


class _Graph(RestoringModule):
    """The exported function: `LoadedModel.restore` at any size, but without filling holes."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model.network, exportable(model.network))
        self._multiple = model.size_multiple

    def forward(  # type: ignore[override]
        self, picture: Tensor, mask: Tensor | None = None, sigma: Tensor | None = None
    ) -> Tensor:
        hole = None if mask is None else mask > 0.5
        restored = self.run(picture, sigma, hole)
        return restored if hole is None else torch.where(hole, restored, picture)

    def pad(self, x: Tensor) -> Tensor:
        multiple = self._multiple
        if multiple == 1:
            return x
        # The tracer can prove that this form gives a multiple, unlike -size % multiple.
        missing = [
            (size + multiple - 1) // multiple * multiple - size for size in reversed(x.shape[2:])
        ]
        return F.pad(x, (0, missing[0], 0, missing[1]), mode="reflect")


def _example(model: LoadedModel, batch: int, height: int, width: int) -> dict[str, Tensor]:
    """Make example inputs of the graph from noise in [0, 1], by name; holes are filled."""
    rng = torch.Generator().manual_seed(0)
    picture = torch.rand(batch, 3, height, width, generator=rng)
    given = {PICTURE: picture}
    if model.takes_mask:
        mask = torch.zeros(batch, 1, height, width, dtype=torch.bool)
        mask[..., height // 4 : height // 2 + 1, width // 3 : width // 2 + 1] = True
        given = {PICTURE: model.fill(picture, mask), MASK: mask.float()}
    if model.takes_sigma:
        given[SIGMA] = torch.linspace(15, 50, batch)
    return given


def _build(onnx: Any, model: LoadedModel) -> Any:
    multiple = model.size_multiple
    # No size is 1 or equal to another, since the tracer would specialise the graph to that.
    given = _example(model, 2, 2 * multiple + 5, 3 * multiple + 8)
    picture = {0: "batch", 2: "height", 3: "width"}
    shapes = {name: {0: "batch"} if name == SIGMA else picture for name in given}
    # The exporter prints its progress, and warns of names that two inputs share.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                _Graph(model).eval(),
                kwargs=given,
                dynamic_shapes=shapes,
                output_names=[RESTORED],
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            cause = (str(error.__cause__ or error).strip().splitlines() or ["no reason given"])[0]
            raise ModelError(
                f"model {model.name!r}: PyTorch cannot export network {model.spec.network!r} "
                f"({cause:.200}); nothing was written"
            ) from error
    assert program is not None
    made = program.model_proto
    # The IR version that runtimes as old as the opset can read.
    made.ir_version = 8
    made.producer_name = "irae"
    card = json.dumps(model.spec.card)
    onnx.helper.set_model_props(made, {"task": model.task, "model": model.name, "card": card})
    onnx.checker.check_model(made, full_check=True)
    return made


def _largest_difference(onnxruntime: Any, content: bytes, model: LoadedModel) -> float:
    """Compare ONNX Runtime with PyTorch, on noise of other sizes than the traced one."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # The exception reports a failure.
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    multiple = model.size_multiple
    differences = []
    # The second size is the smallest that the graph takes.
    for size in ((2, max(67, multiple + 3), max(90, multiple + 26)), (1, multiple, multiple + 1)):
        given = _example(model, *size)
        inputs = {name: value.numpy() for name, value in given.items()}
        try:
            restored = torch.from_numpy(session.run([RESTORED], inputs)[0])
        except Exception as error:  # ONNX Runtime's errors have no common base class.
            raise ModelError(
                f"model {model.name!r}: the graph of network {model.spec.network!r} does not run "
                "at every size; nothing was written"
            ) from error
        mask = given[MASK] > 0.5 if model.takes_mask else None
        expected = model.restore(given[PICTURE], mask, sigma=given.get(SIGMA), filled=True)
        differences.append(float((restored - expected.cpu()).abs().max()))
    return max(differences)


def export_onnx(model: LoadedModel, path: str | Path) -> float:
    """Write a model as ONNX after checking it against PyTorch.

    The graph takes ``picture`` (float32 ``B 3 H W`` in [0, 1], any B, any H and W from
    ``size_multiple`` on) and returns ``restored`` of the same shape, not clipped; a gray network
    restores each channel separately. An inpainting model also takes ``mask`` (float32 ``B 1 H W``,
    1 in the masked region); the masked region of ``picture`` must be filled as by
    `LoadedModel.fill`, and known pixels are returned unchanged. A network with a noise level takes
    ``sigma`` (float32 ``B``, in 8-bit units).

    Args:
        model: a model of any network of the registry, on any device, in float32.
        path: path that ends in ``.onnx``; an existing file is replaced.

    Returns:
        The largest difference between ONNX Runtime and PyTorch on two test pictures.

    Raises:
        UsageError: ONNX is not installed, or the path has another suffix.
        ModelError: the model is a classical one, PyTorch cannot export its network, or the graph
            does not run at other sizes than the traced one or returns other numbers.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: an ONNX file ends in .onnx")
    if model.spec.network in CLASSICAL:
        raise ModelError(f"model {model.name!r} is not a network; only networks have an ONNX form")
    onnx, onnxruntime = _import_onnx()
    content = _build(onnx, model).SerializeToString()
    difference = _largest_difference(onnxruntime, content, model)
    if not difference <= TOLERANCE:
        raise ModelError(
            f"model {model.name!r}: ONNX Runtime differs by {difference:.2g}; nothing was written"
        )
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return difference
