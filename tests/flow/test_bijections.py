"""One suite that every bijection passes: inverse, log-determinant, odd batches, odd shapes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from irae.flow.actnorm import ActNorm, initialise_actnorm
from irae.flow.bijection import Bijection, Chain
from irae.flow.coupling import AdditiveCoupling, AffineCoupling, BoundedCoupling
from irae.flow.density.checkerboard import CheckerboardCoupling
from irae.flow.density.spline import SplineCoupling
from irae.flow.glow import Glow
from irae.flow.mixing import BoundedMixing, InvertibleConv1x1, LUMixing, Permutation
from irae.flow.squeeze import HaarSqueeze, Squeeze
from irae.flow.subnets import (
    ActNormNetwork,
    PlainNetwork,
    ResidualNetwork,
    set_network_dtype,
)
from irae.models.call import condition_for
from irae.models.networks.irae import IRAE, PRESETS

CHANNELS = 4


class GlowAsBijection(Bijection):
    """A `Glow` whose latents are laid side by side, so that the suite can hold it too."""

    def __init__(self, flow: Glow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        self.shapes = [z.shape for z in self.flow(x, condition)]
        return torch.cat([z.flatten(1) for z in self.flow(x, condition)], 1)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        sizes = [shape[1:].numel() for shape in self.shapes]
        parts = z.split(sizes, 1)
        latents = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return self.flow.inverse(latents, condition)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        latents, log_det = self.flow.forward_and_log_det(x, condition)
        return torch.cat([z.flatten(1) for z in latents], 1), log_det


def small_glow(**options: object) -> GlowAsBijection:
    return GlowAsBijection(Glow(channels=CHANNELS, width=6, depth=2, levels=2, **options))


BIJECTIONS: dict[str, Callable[[], Bijection]] = {
    "squeeze": Squeeze,
    "haar": HaarSqueeze,
    "actnorm": lambda: ActNorm(CHANNELS),
    "conv1x1": lambda: InvertibleConv1x1(CHANNELS),
    "bounded": lambda: BoundedMixing(CHANNELS),
    "additive": lambda: AdditiveCoupling(PlainNetwork(2, 2, 6)),
    "affine": lambda: AffineCoupling(PlainNetwork(2, 4, 6)),
    "bounded coupling": lambda: BoundedCoupling(PlainNetwork(2, 4, 6), 0.3),
    "affine, authors' network": lambda: AffineCoupling(ActNormNetwork(2, 4, 6)),
    "lu": lambda: LUMixing(CHANNELS),
    "permutation": lambda: Permutation([2, 0, 3, 1]),
    "checkerboard": lambda: CheckerboardCoupling(PlainNetwork(4, 8, 6), odd=True),
    "residual subnet": lambda: BoundedCoupling(ResidualNetwork(2, 4, 6, 2), 2.0),
    "spline": lambda: SplineCoupling(
        ResidualNetwork(2, SplineCoupling.outputs(2, 5), 6, 1), 5, 0.4
    ),
    "chain": lambda: Chain([HaarSqueeze(), BoundedMixing(4 * CHANNELS)]),
    "glow, default": small_glow,
    "glow, bounded above": lambda: small_glow(coupling=["bounded", "additive"]),
    "glow, paper": lambda: small_glow(
        squeeze="pixel", actnorm=True, mixing="dense", coupling="affine", network="actnorm"
    ),
}
CONDITIONAL: dict[str, Callable[[], Bijection]] = {
    "additive": lambda: AdditiveCoupling(PlainNetwork(3, 2, 6)),
    "affine": lambda: AffineCoupling(PlainNetwork(3, 4, 6)),
    "bounded": lambda: BoundedCoupling(PlainNetwork(3, 4, 6)),
    "glow": lambda: small_glow(condition_channels=1),
}


def perturbed(bijection: Bijection, seed: int = 0) -> Bijection:
    """Move every parameter off its start: zero-initialised layers would prove nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in bijection.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return bijection


def picture(
    batch: int, height: int, width: int, dtype: torch.dtype, channels: int = CHANNELS
) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(batch, channels, height, width, generator=generator, dtype=dtype) - 0.5


@pytest.mark.parametrize("name", BIJECTIONS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 12), (5, 12, 8)])
def test_inverse_in_float64(name: str, shape: tuple[int, int, int]) -> None:
    bijection = perturbed(BIJECTIONS[name]()).double()
    x = picture(*shape, torch.float64)
    z = bijection(x)
    assert not torch.equal(z, x)
    assert (bijection.inverse(z) - x).abs().max() <= 1e-9


@pytest.mark.parametrize("name", BIJECTIONS)
def test_forward_and_log_det_gives_forward(name: str) -> None:
    bijection = perturbed(BIJECTIONS[name]()).double()
    x = picture(3, 8, 4, torch.float64)
    z, log_det = bijection.forward_and_log_det(x)
    assert torch.equal(z, bijection(x))
    assert log_det.shape == (3,)


@pytest.mark.parametrize("name", BIJECTIONS)
def test_log_det_equals_the_jacobians(name: str) -> None:
    bijection = perturbed(BIJECTIONS[name]()).double()
    x = picture(2, 4, 8, torch.float64)
    _, log_det = bijection.forward_and_log_det(x)
    for sample, claimed in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat: bijection(flat.reshape(1, CHANNELS, 4, 8)).flatten(), sample.flatten()
        )
        assert claimed.item() == pytest.approx(
            torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8
        )


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
@pytest.mark.parametrize("name", [name for name in BIJECTIONS if not name.startswith("glow")])
def test_rebuild_recovers_the_input_and_the_graph(name: str, inverse: bool) -> None:
    bijection = perturbed(BIJECTIONS[name]()).double()
    x = picture(3, 8, 12, torch.float64)
    given = (bijection(x).detach() if inverse else x).requires_grad_()
    output = bijection.inverse(given) if inverse else bijection(given)
    weight = picture(*output.shape[:1], *output.shape[2:], torch.float64, output.shape[1])
    wanted = list(bijection.parameters())
    expected = torch.autograd.grad(output, [given, *wanted], weight)

    parts, again = bijection.rebuild(output.detach(), inverse=inverse)
    assert (torch.cat(parts, 1) - given).abs().max() <= 1e-9
    assert (torch.cat(again, 1) - output).abs().max() <= 1e-9
    found = torch.autograd.grad(again, [*parts, *wanted], weight.chunk(len(again), 1))
    joined = [torch.cat(found[: len(parts)], 1), *found[len(parts) :]]
    assert all(torch.allclose(a, b, atol=1e-8) for a, b in zip(joined, expected, strict=True))


@pytest.mark.parametrize("name", CONDITIONAL)
def test_conditional_maps_invert_and_use_their_condition(name: str) -> None:
    bijection = perturbed(CONDITIONAL[name]()).double()
    x = picture(3, 8, 12, torch.float64)
    mask = (picture(3, 8, 12, torch.float64, 1) > 0).double()
    z = bijection(x, mask)
    assert not torch.equal(z, bijection(x, 1 - mask))
    assert (bijection.inverse(z, mask) - x).abs().max() <= 1e-9


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 1000),
    levels=st.integers(1, 3),
)
def test_any_small_flow_round_trips(
    batch: int, height: int, width: int, seed: int, levels: int
) -> None:
    torch.manual_seed(seed)
    flow = Glow(channels=3, width=5, depth=2, levels=levels)
    for module in flow.modules():
        if isinstance(module, Bijection):
            perturbed(module, seed)
    multiple = flow.size_multiple
    x = picture(batch, height * multiple, width * multiple, torch.float32, 3)
    assert (flow.inverse(flow(x)) - x).abs().max() <= 1e-4


@pytest.mark.parametrize("channels", [0, 1])
def test_full_depth_round_trip(channels: int) -> None:
    torch.manual_seed(1)
    network = IRAE(**PRESETS["paper"], condition_channels=channels)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    for dtype, error in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        x = picture(3, 32, 48, dtype, 3) + 0.5
        condition = condition_for(network, mask=x[:, :1] > 0.7, filled=x)
        with torch.no_grad():
            restored = network.to(dtype)(x, condition)
            assert (network.inverse(restored, condition) - x).abs().max() <= error


def test_irae_log_det_equals_the_jacobians() -> None:
    torch.manual_seed(2)
    network = IRAE(width=5, depth=1, levels=1, coupling="affine", mixing="dense").double()
    perturbed(network)
    x = picture(1, 4, 4, torch.float64, 3) + 0.5
    restored, log_det = network.forward_and_log_det(x)
    assert torch.allclose(restored, network(x))
    jacobian = torch.autograd.functional.jacobian(
        lambda flat: network(flat.reshape(1, 3, 4, 4)).flatten(), x.flatten()
    )
    assert log_det.item() == pytest.approx(
        torch.linalg.slogdet(jacobian).logabsdet.item(), abs=1e-8
    )


def test_identity_start_is_the_identity() -> None:
    network = IRAE(width=16, depth=4, levels=2)
    x = picture(2, 16, 24, torch.float32, 3) + 0.5
    with torch.no_grad():
        assert (network(x) - x).abs().max() <= 1e-5


def test_identity_start_survives_actnorm_initialisation() -> None:
    network = IRAE(width=8, depth=2, levels=2, actnorm=True)
    x = picture(4, 16, 16, torch.float32, 3) + 0.5
    network.initialise(x)
    assert (network(x) - x).abs().max() <= 1e-4


def test_actnorm_initialisation_normalises_every_layer_and_forward_never_does() -> None:
    flow = Glow(channels=3, width=8, depth=2, levels=2, actnorm=True, network="actnorm")
    x = picture(8, 16, 16, torch.float32, 3) * 3 + 1
    before = {k: v.clone() for k, v in flow.state_dict().items()}
    flow(x)
    assert all(torch.equal(v, before[k]) for k, v in flow.state_dict().items())
    initialise_actnorm(flow, x)
    statistics: list[Tensor] = []

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, ActNorm):
            statistics.extend([output.mean((0, 2, 3)).abs(), output.std((0, 2, 3)) - 1])

    for module in flow.modules():
        module.register_forward_hook(after)
    flow(x)
    # A channel that is constant before its ActNorm (a dead ReLU's) has deviation 0, not 1.
    moved = torch.cat(statistics).abs()
    assert moved.median() < 1e-2
    assert moved[moved < 0.9].max() < 2e-2


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(-50, 50), seed=st.integers(0, 100), bound=st.floats(0.1, 2))
def test_bounded_mixing_keeps_its_bound(scale: float, seed: int, bound: float) -> None:
    torch.manual_seed(seed)
    mixing = BoundedMixing(12, bound).double()
    with torch.no_grad():
        for parameter in mixing.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    limit = torch.tensor(2 * bound).exp().item()
    # Huge skew matrices make the Cayley solve itself inexact, in float64 by far less than this.
    assert torch.linalg.cond(mixing.matrix()).item() <= limit * (1 + 1e-6)


def test_haar_is_orthonormal_and_its_first_band_the_average() -> None:
    x = picture(2, 6, 4, torch.float64, 1)
    z = HaarSqueeze().double()(x)
    assert z.square().sum().item() == pytest.approx(x.square().sum().item())
    average = nn.functional.avg_pool2d(x, 2)
    assert torch.allclose(z[:, :1], 2 * average)


def test_bf16_networks_keep_a_float32_state() -> None:
    network = IRAE(width=16, depth=2, levels=1)
    perturbed(network)
    x = picture(2, 16, 16, torch.float32, 3) + 0.5
    plain = network(x)
    set_network_dtype(network, torch.bfloat16)
    mixed = network(x)
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - plain).abs().max() < 0.05 * plain.abs().max()


def test_the_ring_of_the_padded_1x1_convolution_is_not_zero() -> None:
    """Were the ring that the padding adds zero, the corner would see 4 taps of 9, not all."""
    network = ActNormNetwork(2, 2, 4)
    with torch.no_grad():
        network.actnorm2.bias.fill_(-1.0)
        network.conv3.weight.fill_(1.0)
        network.conv1.weight.zero_()
    out = network(torch.zeros(1, 2, 6, 6))
    # relu(ActNorm(0)) = 1 everywhere, ring included: 4 channels × 9 taps at corner and centre.
    assert torch.allclose(out, torch.full_like(out, 36.0))
