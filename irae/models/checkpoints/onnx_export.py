"""Export of a model or a detector to ONNX: its form of use, traced into standard operators."""

from __future__ import annotations

import io
import json
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.errors import ModelError, UsageError
from irae.imaging.analysis.damage import measure_codes
from irae.models.call import takes_damage
from irae.models.checkpoints.exportable import exportable
from irae.models.loaded import LoadedModel
from irae.models.loaded_detector import LoadedDetector, mean_logits
from irae.models.module import RestoringModule
from irae.models.networks.registry import CLASSICAL
from irae.writing import write_atomically

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and PyTorch at which a file is still written."""

PICTURE, MASK, SIGMA, DAMAGE = "picture", "mask", "sigma", "damage"
"""Names of the graph's inputs."""

RESTORED, PROBABILITY = "restored", "probability"
"""Names of the graph's output, of a model and of a detector."""

FIND_DAMAGE = "find_damage"
"""What the file of a detector says for the task, as the objective of its training."""

Exported = LoadedModel | LoadedDetector


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
        self,
        picture: Tensor,
        mask: Tensor | None = None,
        sigma: Tensor | None = None,
        damage: Tensor | None = None,
    ) -> Tensor:
        hole = None if mask is None else mask > 0.5
        restored = self.run(picture, sigma, hole, damage)
        return restored if hole is None else torch.where(hole, restored, picture)

    def pad(self, x: Tensor) -> Tensor:
        return _pad(x, self._multiple)


class _Detecting(nn.Module):
    """The exported function of a detector: `LoadedDetector.probabilities` at any size."""

    def __init__(self, model: LoadedDetector) -> None:
        super().__init__()
        self.network = exportable(model.network)
        self._multiple = model.size_multiple

    def forward(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[2:]
        logits = mean_logits(self.network, _pad(picture, self._multiple))
        return torch.sigmoid(logits.narrow(2, 0, height).narrow(3, 0, width))


def _pad(x: Tensor, multiple: int) -> Tensor:
    if multiple == 1:
        return x
    # The tracer can prove that this form gives a multiple, unlike -size % multiple.
    missing = [
        (size + multiple - 1) // multiple * multiple - size for size in reversed(x.shape[2:])
    ]
    return F.pad(x, (0, missing[0], 0, missing[1]), mode="reflect")


def _example(model: Exported, batch: int, height: int, width: int) -> dict[str, Tensor]:
    """Make example inputs of the graph from noise in [0, 1], by name; holes are filled."""
    rng = torch.Generator().manual_seed(0)
    picture = torch.rand(batch, 3, height, width, generator=rng)
    given = {PICTURE: picture}
    if isinstance(model, LoadedDetector):
        return given
    if model.takes_mask:
        mask = torch.zeros(batch, 1, height, width, dtype=torch.bool)
        mask[..., height // 4 : height // 2 + 1, width // 3 : width // 2 + 1] = True
        given = {PICTURE: model.fill(picture, mask), MASK: mask.float()}
    if model.takes_sigma:
        given[SIGMA] = torch.linspace(15, 50, batch)
    if takes_damage(model.network):
        given[DAMAGE] = measure_codes(picture)
    return given


def _expected(model: Exported, given: dict[str, Tensor]) -> Tensor:
    """Compute what the graph should return, with PyTorch."""
    if isinstance(model, LoadedDetector):
        return model.probabilities(given[PICTURE])
    mask = given[MASK] > 0.5 if model.takes_mask else None
    told = {"sigma": given.get(SIGMA), "damage": given.get(DAMAGE)}
    return model.restore(given[PICTURE], mask, filled=True, **told)


def _output_of(model: Exported) -> str:
    return PROBABILITY if isinstance(model, LoadedDetector) else RESTORED


def _build(onnx: Any, model: Exported) -> Any:
    multiple = model.size_multiple
    # No size is 1 or equal to another, since the tracer would specialise the graph to that.
    given = _example(model, 2, 2 * multiple + 5, 3 * multiple + 8)
    picture = {0: "batch", 2: "height", 3: "width"}
    shapes = {name: {0: "batch"} if name in (SIGMA, DAMAGE) else picture for name in given}
    graph = _Detecting(model) if isinstance(model, LoadedDetector) else _Graph(model)
    # The exporter prints its progress, and warns of names that two inputs share.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                graph.eval(),
                kwargs=given,
                dynamic_shapes=shapes,
                output_names=[_output_of(model)],
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
    said = {"task": model.spec.task, "model": model.name, "card": json.dumps(model.spec.card)}
    if isinstance(model, LoadedDetector):
        said |= {"task": FIND_DAMAGE, "threshold": repr(model.threshold)}
    onnx.helper.set_model_props(made, said)
    onnx.checker.check_model(made, full_check=True)
    return made


def _largest_difference(onnxruntime: Any, content: bytes, model: Exported) -> float:
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
            found = torch.from_numpy(session.run([_output_of(model)], inputs)[0])
        except Exception as error:  # ONNX Runtime's errors have no common base class.
            raise ModelError(
                f"model {model.name!r}: the graph of network {model.spec.network!r} does not run "
                "at every size; nothing was written"
            ) from error
        differences.append(float((found - _expected(model, given).cpu()).abs().max()))
    return max(differences)


def export_onnx(model: Exported, path: str | Path) -> float:
    """Write a model or a detector as ONNX after checking it against PyTorch.

    The graph takes ``picture`` (float32 ``B 3 H W`` in [0, 1], any B, any H and W from
    ``size_multiple`` on) and returns ``restored`` of the same shape, not clipped; a gray network
    restores each channel separately. An inpainting model also takes ``mask`` (float32 ``B 1 H W``,
    1 in the masked region); the masked region of ``picture`` must be filled as by
    `LoadedModel.fill`, and known pixels are returned unchanged. A network with a noise level takes
    ``sigma`` (float32 ``B``, in 8-bit units), one that is told the damage ``damage`` (float32
    ``B CODES``, as `irae.imaging.analysis.damage.measure_codes` returns it). A detector returns
    ``probability`` (float32 ``B 1 H W``), and its file names the ``threshold`` from which a pixel
    is damaged.

    Args:
        model: a model of any network of the registry or a detector, on any device, in float32.
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
