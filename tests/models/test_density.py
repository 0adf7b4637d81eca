"""Densities: they integrate to one, reach known entropies, and lose nothing on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irae.errors import ModelError, UsageError
from irae.flow.actnorm import ActNorm
from irae.flow.bijection import Bijection, Chain
from irae.flow.density.elementwise import ElementScale, Logit
from irae.flow.density.prior import standard_normal_log_prob
from irae.flow.mixing import LUMixing
from irae.flow.reversible import set_reversible
from irae.flow.squeeze import Squeeze
from irae.flow.subnets import set_network_dtype
from irae.models.checkpoints.model_file import is_density, load_density, load_model, save_model
from irae.models.density import Density, Latents
from irae.models.loaded import ModelSpec
from irae.models.loaded_density import LoadedDensity
from irae.models.networks.registry import DENSITIES, build_network, resolve_options
from irae.runtime import generator

SMALL: dict[str, dict[str, Any]] = {
    "density": {"couplings": [2, 2], "widths": [6, 6], "blocks": 1},
    "glow": {"depth": 2, "width": 6},
    "nice": {"width": 12, "layers": 2},
    "realnvp": {"width": 4, "blocks": 1},
}


def small(name: str, *, strength: float = 0.05, **options: Any) -> Density:
    """A small density whose weights are moved off their start."""
    chosen = {"size": 4, **SMALL[name], **options}
    torch.manual_seed(3)
    network = build_network(name, resolve_options(name, "default", chosen))
    assert isinstance(network, Density)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += strength * torch.randn(parameter.shape, generator=random)
    return network


def pictures(count: int, channels: int = 1, size: int = 4, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    shape = (count, channels, size, size)
    return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)


def recomputes(output: Tensor) -> bool:
    """Whether the graph of ``output`` holds a reversible step."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return any("_Reversible" in node.name() for node in seen)


def test_every_density_is_tested_and_has_a_default() -> None:
    assert set(SMALL) == set(DENSITIES)
    for name, kind in DENSITIES.items():
        assert "default" in kind.presets, name


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_log_prob_is_the_prior_and_the_jacobian(name: str, channels: int) -> None:
    network = small(name, channels=channels).double()
    y = network.dequantise(pictures(2, channels), generator(0)).double()
    claimed = network.log_prob(y)
    for row, log_prob in zip(y, claimed, strict=True):

        def mapped(flat: Tensor) -> Tensor:
            levels = network.latents(flat.reshape(1, *network.shape)).levels
            return torch.cat([level.flatten() for level in levels])

        jacobian = torch.autograd.functional.jacobian(mapped, row.flatten())
        z = mapped(row.flatten())[None].detach()
        expected = standard_normal_log_prob(z)[0] + torch.linalg.slogdet(jacobian).logabsdet
        assert float((log_prob.detach() - expected).abs()) < 1e-8


@pytest.mark.parametrize("name", SMALL)
def test_round_trips(name: str) -> None:
    network = small(name)
    y = network.dequantise(pictures(5), generator(2))
    latents = network.latents(y)
    assert sum(level[0].numel() for level in latents.levels) == network.dimensions
    assert float((network.from_latents(latents) - y).detach().abs().max()) < 0.5 / 255
    # Samples come from their latents, and give them back.
    drawn = network.draw(4, generator(5), 0.7)
    again = network.latents(network.from_latents(drawn))
    for ours, theirs in zip(drawn.levels, again.levels, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_reversible_training_has_the_same_gradients(name: str) -> None:
    network = small(name).double()
    y = network.dequantise(pictures(3), generator(0)).double()

    def gradients() -> list[Tensor]:
        network.zero_grad()
        (-network.log_prob(y).mean()).backward()
        return [p.grad.clone() for p in network.parameters() if p.grad is not None]

    plain = gradients()
    set_reversible(network, True)
    assert recomputes(network.log_prob(y))
    for ours, theirs in zip(plain, gradients(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("density", lambda depth: {"couplings": [depth], "widths": [16]}),
        ("glow", lambda depth: {"levels": 1, "depth": depth, "width": 16}),
        ("nice", lambda depth: {"couplings": depth, "width": 256}),
    ],
)
def test_reversible_training_keeps_the_same_memory_at_any_depth(
    name: str, options: Callable[[int], dict[str, Any]]
) -> None:
    from irae.training.efficiency.activation_memory import activation_bytes

    def kept(depth: int, reversible: bool) -> int:
        network = small(name, size=16, **options(depth))
        set_reversible(network, reversible)
        return activation_bytes(network, network.dequantise(pictures(4, 1, 16)), None)

    assert kept(64, False) > 6 * kept(8, False)
    assert kept(64, True) <= 1.15 * kept(8, True)


def train(network: Density, data: Tensor, steps: int, rate: float = 0.01) -> None:
    """Train on dequantised pictures with a falling rate."""
    optimizer = torch.optim.Adam(network.parameters(), rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        random = generator(9, step)
        rows = torch.randint(0, len(data), (64,), generator=random)
        y = network.dequantise(data[rows], random)
        optimizer.zero_grad()
        network.to_bits_per_dim(network.log_prob(y)).mean().backward()
        optimizer.step()


def two_bit_pictures(count: int) -> Tensor:
    """Pictures of 2×2 pixels with 2 bits, whose neighbours are alike."""
    random = torch.Generator().manual_seed(0)
    common = torch.randn(count, 1, 1, 1, generator=random)
    own = torch.randn(count, 1, 2, 2, generator=random)
    levels = (2.0 + 0.2 * common + 0.15 * own).floor().clamp(0, 3)
    return (levels * 64).to(torch.uint8)


def total_probability(network: Density, count: int) -> float:
    """Sum the probabilities of all pictures of 2×2 pixels with 2 bits.

    Each is the integral of the density over the picture's dequantisation, by ``count`` nodes for
    the interval of every pixel.
    """
    nodes, weights = np.polynomial.legendre.leggauss(count)
    places = np.concatenate([(level + (nodes + 1) / 2) / 4 for level in range(4)])
    y = torch.tensor(list(itertools.product(places, repeat=4))).reshape(-1, 1, 2, 2)
    heights = torch.tensor(np.tile(weights / 8, 4))
    volume = torch.einsum("a,b,c,d->abcd", heights, heights, heights, heights).flatten()
    with torch.no_grad():
        return float((network.double().log_prob(y).exp() * volume).sum())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_all_pictures_together_have_probability_one(name: str) -> None:
    """The 256 pictures of 2×2 pixels with 2 bits, dequantised by Gauss-Legendre quadrature."""
    # Splines of more bins have more kinks than this quadrature can follow.
    own: dict[str, Any] = {"couplings": [4], "widths": [8], "bins": 2}
    options = {"density": own, "glow": {"levels": 1, "depth": 4}}
    steps, rate, count = {"density": (150, 0.005, 6), "glow": (300, 0.01, 4)}.get(
        name, (150, 0.01, 4)
    )
    network = small(name, size=2, bits=2, **options.get(name, {}))
    given_pictures = two_bit_pictures(4000)
    network.initialise(network.dequantise(given_pictures[:500], generator(0)))
    train(network, given_pictures, steps, rate)
    # What is missing lies outside [0, 1]; nothing was ever there.
    assert total_probability(network, count) == pytest.approx(1, abs=1e-3)


def test_the_sum_of_probabilities_is_exact_and_notices_a_wrong_log_determinant() -> None:
    class Wrong(ElementScale):
        def forward_and_log_det(
            self, x: Tensor, condition: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            z, log_det = super().forward_and_log_det(x)
            return z, log_det + 0.01

    def total(step: Bijection) -> float:
        return total_probability(Density([Chain([step])], channels=1, size=2, bits=2), 4)

    # Four standard normal numbers between 0 and 1.
    expected = (math.erf(1 / math.sqrt(2)) / 2) ** 4
    assert total(ElementScale(1, 2, 2)) == pytest.approx(expected, rel=1e-8)
    assert total(Wrong(1, 2, 2)) == pytest.approx(expected * math.exp(0.01), rel=1e-6)


@pytest.mark.slow
def test_a_linear_flow_reaches_the_entropy_of_correlated_gaussians() -> None:
    """ActNorm and 1×1 convolutions on four channels: the optimum is the Gaussian itself."""
    torch.manual_seed(0)
    factor = torch.tensor(
        [[0.10, 0, 0, 0], [0.06, 0.05, 0, 0], [-0.03, 0.04, 0.06, 0], [0.02, 0.03, -0.05, 0.04]]
    )
    bits = math.log2(2 * math.pi * math.e) / 2 + float(factor.diagonal().log2().mean())
    network = Density([Chain([Squeeze(), ActNorm(4), LUMixing(4)])], channels=1, size=2, bits=8)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)

    def drawn(count: int, seed: int) -> Tensor:
        z = torch.randn(count, 4, generator=generator(seed))
        return (0.5 + z @ factor.T).reshape(-1, 1, 2, 2)

    def bits_of_fresh_draws() -> float:
        with torch.no_grad():
            return float(-network.log_prob(drawn(200_000, 10_000)).mean()) / (4 * math.log(2))

    network.initialise(drawn(4096, 0))
    assert bits_of_fresh_draws() > bits + 0.1  # Not before the correlations are learnt.
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 300)
        optimizer.zero_grad()
        (-network.log_prob(drawn(2048, 1 + step)).mean()).backward()
        optimizer.step()
    assert bits_of_fresh_draws() == pytest.approx(bits, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_trained_density_gives_every_picture_back(name: str) -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
    digits = torch.from_numpy(sklearn.load_digits().images).to(torch.uint8)[:, None] * 15
    network = small(name, size=8, bits=8, strength=0.0)
    network.initialise(network.dequantise(digits[:256], generator(0)))
    before = float(network.bits_per_dim(digits[:500], generator(4)).mean())
    train(network, digits, 120, 0.003)
    model = LoadedDensity(network, ModelSpec(name, {}, ""), "digits")
    after = float(model.bits_per_dim(digits[:500]).mean())
    assert after < before - 0.2
    assert model.round_trip(digits[:500]) <= 0.5
    # To the last bit, through latents of the middles of the intervals.
    assert torch.equal(model.pictures(model.latents(digits[:50])), digits[:50])
    # A sample's latents are those from which it was drawn.
    with torch.no_grad():
        drawn = network.draw(32, generator(6), 1.0)
        again = network.latents(network.from_latents(drawn))
    errors = [(a - b).abs().max() for a, b in zip(drawn.levels, again.levels, strict=True)]
    assert float(max(errors)) < 2e-3


@given(margin=st.floats(1e-3, 0.4), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_logit_inverts_and_has_the_slope_of_autograd(margin: float, seed: int) -> None:
    layer = Logit(margin)
    x = torch.rand(2, 1, 2, 2, generator=generator(seed), dtype=torch.float64)
    z, log_det = layer.forward_and_log_det(x)
    assert torch.allclose(layer.inverse(z), x, atol=1e-12)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(layer(leaf).sum(), leaf)
    assert torch.allclose(slope.log().flatten(1).sum(1), log_det, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_dequantisation_keeps_the_level_and_its_middle_comes_back(bits: int) -> None:
    network = small("nice", bits=bits)
    given_pictures = pictures(20)
    levels = network.quantise(given_pictures)
    y = network.dequantise(given_pictures, generator(0))
    assert torch.equal((y * 2**bits).floor().to(torch.uint8), levels)
    assert float(y.min()) >= 0 and float(y.max()) < 1
    shown = network.to_pictures(network.dequantise(given_pictures))
    assert torch.equal(shown, (levels * (255 / (2**bits - 1))).round().to(torch.uint8))
    if bits == 8:
        assert torch.equal(shown, given_pictures)


def test_bits_of_a_uniform_density_are_its_bits() -> None:
    network = small("nice", bits=5)
    log_prob = torch.zeros(3)
    assert torch.equal(network.to_bits_per_dim(log_prob), torch.full((3,), 5.0))


def test_latents_are_one_object() -> None:
    latents = Latents((torch.ones(2, 1, 4, 4), torch.full((2, 3, 2, 2), 2.0)))
    assert len(latents) == 2
    assert [float(s[0]) for s in latents.squares()] == [16, 48]
    mixed = latents * 0.25 + latents * 0.75
    assert torch.equal(mixed.levels[1], latents.levels[1])
    changed = latents.replaced(0, torch.zeros(2, 1, 4, 4))
    assert float(changed.levels[0].sum()) == 0 and changed.levels[1] is latents.levels[1]
    assert len(latents[:1]) == 1


def test_bfloat16_subnets_change_the_density_little() -> None:
    network = small("density")
    given_pictures = pictures(8)
    exact = network.bits_per_dim(given_pictures, generator(0))
    set_network_dtype(network, torch.bfloat16)
    assert torch.allclose(exact, network.bits_per_dim(given_pictures, generator(0)), atol=0.1)


def test_numbers_do_not_depend_on_the_chunk(tmp_path: Path) -> None:
    network = small("realnvp")
    model = LoadedDensity(network, ModelSpec("realnvp", {}, ""), "x")
    assert len(model.bits_per_dim(pictures(0))) == 0
    one = model.bits_per_dim(pictures(300), seed=3)
    assert torch.equal(one, model.bits_per_dim(pictures(300), seed=3))
    assert not torch.equal(one, model.bits_per_dim(pictures(300), seed=4))
    assert torch.equal(model.sample(3, seed=1), model.sample(3, seed=1))
    assert not torch.equal(model.sample(3, seed=1), model.sample(3, seed=2))


@pytest.mark.parametrize("name", SMALL)
def test_files(name: str, tmp_path: Path, model_files: dict[str, Path]) -> None:
    options = resolve_options(name, "default", {"size": 4, **SMALL[name]})
    network = small(name)
    path = tmp_path / "d.safetensors"
    save_model(path, network, ModelSpec(name, options, ""))
    assert is_density(path) and not is_density(model_files["denoise"])
    again = load_density(path)
    given_pictures = pictures(3)
    y = network.dequantise(given_pictures)
    assert torch.equal(again.network.log_prob(y), network.log_prob(y))
    with pytest.raises(ModelError, match="is a density and restores nothing"):
        load_model(path)
    for restoring in (model_files["denoise"], "denoise"):
        with pytest.raises(ModelError, match="restores pictures and is no density"):
            load_density(restoring)


@pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
def test_bad_temperatures(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature"):
        small("nice").sample(1, temperature)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("density", {"size": 6}),
        ("density", {"couplings": [2]}),
        ("density", {"coupling": "cubic"}),
        ("density", {"channels": 2}),
        ("glow", {"size": 30}),
        ("nice", {"size": 3}),
        ("nice", {"bits": 9}),
        ("realnvp", {"size": 5}),
        ("realnvp", {"margin": 0.5}),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="cannot be built"):
        build_network(name, resolve_options(name, "default", {**SMALL[name], **options}))


def test_numbers_that_are_not_finite_are_an_error() -> None:
    network = small("density")
    far = network.draw(1, generator(0), 1.0) * math.inf
    with pytest.raises(ModelError, match="not finite"):
        network.from_latents(far)
