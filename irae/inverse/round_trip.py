"""Measuring the error of round trips through a model, by level of its flows and by precision."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from irae.errors import ModelError
from irae.flow.bijection import Chain
from irae.flow.glow import Glow
from irae.flow.subnets import set_network_dtype
from irae.models.loaded import LoadedModel
from irae.models.networks.irae import IRAE
from irae.models.networks.lifted import LiftedIRAE

PRECISIONS = ("fp64", "fp32", "bf16")
"""The precision of the whole network; with ``bf16`` only of the subnets, the state is fp32."""


@dataclass(frozen=True)
class Error:
    """The error of one round trip: recovered minus given, in 8-bit units.

    Attributes:
        precision: one of `PRECISIONS`.
        part: ``encoder`` or ``decoder``, each run forward and backward by itself, or ``whole``:
            picture to restored to picture. Of a lifted network ``whole``, in plain arithmetic, and
            ``exact``.
        level: level of the flow, 1 for the finest; 0 for the whole.
        largest: largest absolute error; infinite if the inverse overflows.
        rms: root mean square of the error; infinite if the inverse overflows.
    """

    precision: str
    part: str
    level: int
    largest: float
    rms: float


def measure_reversibility(
    model: LoadedModel, degraded: Tensor, mask: Tensor | None = None
) -> list[Error]:
    """Measure the round trip of every level by itself, and of the whole, in every precision.

    With ``fp64``, levels run in float64 (float32 on a device without it).

    Args:
        model: an IRAE, strict or lifted.
        degraded: float32 ``1 C H W`` in [0, 1].
        mask: bool ``1 1 H W``, for an inpainting model.

    Raises:
        ModelError: the model is of another kind.
    """
    if not isinstance(model.network, (IRAE, LiftedIRAE)):
        raise ModelError(f"model {model.name!r} ({model.spec.network}) has no levels to measure")
    given, condition = model.network_inputs(degraded, mask)
    exact = torch.float32 if model.device.type == "mps" else torch.float64
    errors = []
    for precision in PRECISIONS:
        network = copy.deepcopy(model.network)
        if precision == "fp64":
            network.to(exact)
        set_network_dtype(network, torch.bfloat16 if precision == "bf16" else None)
        dtype = exact if precision == "fp64" else torch.float32
        known = None if condition is None else condition.to(dtype)
        if isinstance(network, LiftedIRAE):
            errors += list(_lifted_errors(network, precision, given.to(dtype), known))
        else:
            errors += list(_strict_errors(network, precision, given.to(dtype), known))
    return errors


@torch.inference_mode()
def _lifted_errors(
    network: LiftedIRAE, precision: str, given: Tensor, condition: Tensor | None
) -> Iterator[Error]:
    for part, exact in (("whole", False), ("exact", True)):
        try:
            restored, remainder = network.split(given, condition, exact=exact)
        except ModelError:  # A number has left the range in which additions are exact.
            yield Error(precision, part, 0, math.inf, math.inf)
            continue
        yield _error(precision, part, 0, network.join(restored, remainder, condition) - given)


@torch.inference_mode()
def _strict_errors(
    network: IRAE, precision: str, given: Tensor, condition: Tensor | None
) -> Iterator[Error]:
    entering = given - 0.5
    latents = network.encoder(entering, condition)
    restored = network.decoder.inverse(latents, condition)
    for part, flow, start in (
        ("encoder", network.encoder, entering),
        ("decoder", network.decoder, restored),
    ):
        for level, (chain, x, known) in enumerate(_levels(flow, start, condition), 1):
            again = chain.inverse(chain(x, known), known)
            yield _error(precision, part, level, again - x)
    recovered = network.inverse(restored + 0.5, condition)
    yield _error(precision, "whole", 0, recovered - given)


def _levels(
    flow: Glow, x: Tensor, condition: Tensor | None
) -> Iterator[tuple[Chain, Tensor, Tensor | None]]:
    """Yield each level of a flow with its input and its condition."""
    for chain in flow.levels:
        if isinstance(chain, Chain):
            yield chain, x, condition
            x = chain(x, condition).chunk(2, 1)[0]
            condition = chain.squeeze_condition(condition)


def _error(precision: str, part: str, level: int, difference: Tensor) -> Error:
    difference = difference.double() * 255 if difference.device.type != "mps" else difference * 255
    largest = float(difference.abs().max())
    rms = float(difference.square().mean().sqrt())
    if not (math.isfinite(largest) and math.isfinite(rms)):
        largest = rms = math.inf
    return Error(precision, part, level, largest, rms)
