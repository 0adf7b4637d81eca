"""What restores is what was trained: the forms of every network of the registry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from irae.flow.bijection import Bijection
from irae.flow.coupling import AdditiveCoupling
from irae.models.inference.folding import can_fold, fold
from irae.models.inference.restoring_form import has_restoring_form
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.irae import IRAE
from irae.models.networks.lifted import LiftedIRAE
from irae.models.networks.registry import NETWORKS, build_network, resolve_options
from irae.runtime import generator

EVERY = [
    (name, preset) for name, kind in NETWORKS.items() for preset in (list(kind.presets) or [None])
]
EVERY.append(("irae", None))  # A file without a preset and without `form` is a strict flow.


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preset"), EVERY)
def test_what_restore_computes_is_what_the_network_computes(name: str, preset: str | None) -> None:
    options = resolve_options(name, preset, {})
    torch.manual_seed(0)
    network = build_network(name, options).eval().requires_grad_(False)
    draw = generator(1)
    for parameter in network.parameters():
        parameter += 0.01 * torch.randn(parameter.shape, generator=draw)
    model = LoadedModel(network, ModelSpec(name, options, "denoise"), name)
    # Of the networks that halve eight times, the least: four times that is above a megapixel.
    side = model.size_multiple * (4 if model.size_multiple < 64 else 1)
    x = torch.rand(1, model.channels or 3, side, side + model.size_multiple, generator=draw)
    mask = None
    if getattr(network, "condition_channels", 0):
        model.spec = ModelSpec(name, options, "inpaint")
        mask = torch.zeros(1, 1, *x.shape[2:], dtype=torch.bool)
        mask[..., 2:9, 3:8] = True
    sigma = 25.0 if model.takes_sigma else None
    plain = model.run_network(x, mask, sigma=sigma)
    restored = model.restore(x, mask, sigma=sigma)
    if mask is not None:
        plain = torch.where(mask, plain, x)
    assert float((restored - x).abs().max()) > 1e-3
    torch.testing.assert_close(restored, plain, atol=1e-4, rtol=0)


class Doubling(Bijection):
    """A step that no other part of the toolkit knows."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return 2 * x

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return z / 2

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return 2 * x, torch.zeros(len(x))


class OtherCoupling(AdditiveCoupling):
    """Derived from a step that is known, and something else."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().forward(x, condition) + 1


@pytest.mark.parametrize("kind", ["step", "coupling", "network"])
def test_unknown_steps_are_never_taken_for_the_identity(kind: str) -> None:
    network = IRAE(width=6, depth=1, levels=1).eval().requires_grad_(False)
    steps = network.encoder.levels[0].steps
    if kind == "step":
        steps.append(Doubling())
    elif kind == "coupling":
        steps[2] = OtherCoupling(steps[2].network)
    else:
        network.__class__ = type("Derived", (IRAE,), {})
    assert not can_fold(network) and not has_restoring_form(network)
    with pytest.raises(TypeError, match="no folded form"):
        fold(network)
    model = LoadedModel(network, ModelSpec("irae", {}, "denoise"), "x")
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(model.restore(x), network(x))


def test_a_network_derived_from_the_lifted_one_is_restored_as_it_computes() -> None:
    class Other(LiftedIRAE):
        def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
            return super().forward(x, condition) + 1

    network = Other(width=12, couplings=2, hidden=4)
    assert not has_restoring_form(network)
    model = LoadedModel(network, ModelSpec("irae", {}, "denoise"), "x")
    x = torch.rand(1, 3, 8, 8)
    assert torch.allclose(model.restore(x), x + 1, atol=1e-6)
