"""What the papers fix about their networks for holes: attention, shifts, and added losses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from irae.models.networks.denoising.gradnet import GRADIENT_WEIGHT, GradNet, sobel
from irae.models.networks.inpainting.contextual_attention import (
    COARSE_WEIGHT,
    ContextualAttention,
    ContextualAttentionNetwork,
    discount,
    paste,
    patches,
    propagate,
)
from irae.models.networks.inpainting.csa import (
    CONSISTENCY_WEIGHT,
    CSANetwork,
    coherent_attention,
)
from irae.models.networks.inpainting.feature_mask import THRESHOLD, feature_mask
from irae.models.networks.inpainting.shift_net import GUIDANCE_WEIGHT, ShiftNet, shift


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99)
)
def test_patches_and_their_transpose(
    batch: int, channels: int, height: int, width: int, seed: int
) -> None:
    """As `torch.nn.functional.unfold` cuts and `fold` pastes them."""
    rng = torch.Generator().manual_seed(seed)
    for side, stride in ((3, 1), (4, 2)):
        x = torch.rand(batch, channels, stride * height, stride * width, generator=rng)
        padding = (side - stride + 1) // 2
        cut = patches(x, side, stride)
        expected = F.unfold(x, side, padding=padding, stride=stride)
        assert torch.equal(cut.flatten(2), expected)
        size = (stride * height, stride * width)
        folded = F.fold(expected, size, side, padding=padding, stride=stride)
        torch.testing.assert_close(paste(cut, side, stride), folded)


def test_similarities_are_propagated_along_equal_shifts() -> None:
    similarity = torch.rand(1, 3, 4, 3, 4)
    found = propagate(similarity)
    for y, x, v, u in ((0, 1, 2, 2), (1, 0, 1, 3), (2, 3, 0, 0)):
        total = sum(
            similarity[0, y, x + i, v, u + i]
            for i in (-1, 0, 1)
            if 0 <= x + i < 4 and 0 <= u + i < 4
        )
        assert float(found[0, y, x, v, u]) == pytest.approx(float(total))


def test_attention_repeats_a_pattern_in_the_hole() -> None:
    """A hole in stripes is filled with stripes; features in the hole are as good as unknown."""
    stripes = torch.zeros(1, 4, 32, 32)
    stripes[:, 0, :, ::8] = stripes[:, 1, :, 1::8] = 5.0
    stripes[:, 2, :, 4::8] = stripes[:, 3, :, 2::8] = 5.0
    mask = torch.zeros(1, 1, 32, 32)
    mask[:, :, 14:18, 14:18] = 1
    composed = ContextualAttention()(stripes, mask)
    inner = (slice(None), slice(None), slice(13, 19), slice(13, 19))
    assert (composed - stripes)[inner].abs().mean() < 0.25 * stripes[inner].abs().mean()
    everything = ContextualAttention()(stripes, torch.ones_like(mask))
    assert torch.equal(everything, torch.zeros_like(stripes))


def test_the_weight_falls_towards_the_middle_of_a_hole() -> None:
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 2:7, 2:7] = 1
    weight = discount(mask)[0, 0]
    assert weight[0, 0] == 1
    for place, steps in ((2, 1), (3, 2), (4, 3)):
        assert float(weight[place, 4]) == pytest.approx(0.9**steps)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(2, 4), st.integers(2, 4), st.integers(0, 99))
def test_the_mask_of_features_is_that_of_convolutions(
    halvings: int, height: int, width: int, seed: int
) -> None:
    """Convolutions whose weights are all 1/16, as both papers' codes do it; in bfloat16 too."""
    rng = torch.Generator().manual_seed(seed)
    size = (2, 1, height * 2**halvings, width * 2**halvings)
    mask = (torch.rand(size, generator=rng) < torch.rand((), generator=rng)).float()
    share = mask
    for _ in range(halvings):
        share = F.conv2d(share, torch.full((1, 1, 4, 4), 1 / 16), stride=2, padding=1)
    assert torch.equal(feature_mask(mask, halvings), (share > THRESHOLD).float())
    assert torch.equal(feature_mask(mask.bfloat16(), halvings).float(), (share > THRESHOLD).float())
    assert feature_mask(torch.ones_like(mask), halvings).all()


def test_places_beside_a_thin_hole_are_known() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:50, 8:32] = 1  # What is wide enough is a hole at every size.
    mask[..., 48] = 1  # One column is an eighth of what is 8 pixels wide.
    small = feature_mask(mask, 3)
    assert small[..., 3:6, 1:4].all()
    assert not small[..., 5:].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 99))
def test_a_shift_moves_the_most_similar_known_feature(height: int, width: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    decoded, encoded = torch.randn(2, 2, 5, height, width, generator=rng)
    mask = (torch.rand(2, 1, height, width, generator=rng) < 0.5).float()
    moved = shift(decoded, encoded, mask)
    for b in range(2):
        known = [p for p in range(height * width) if mask[b].flatten()[p] == 0]
        for p in range(height * width):
            wanted = torch.zeros(5)
            if p not in known and known:
                query = decoded[b].flatten(1)[:, p]
                keys = encoded[b].flatten(1)[:, known]
                wanted = keys[:, F.cosine_similarity(query[:, None], keys, dim=0).argmax()]
            torch.testing.assert_close(moved[b].flatten(1)[:, p], wanted)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(2, 5), st.floats(0, 1), st.integers(0, 99))
def test_coherent_attention_goes_from_place_to_place(
    height: int, width: int, share: float, seed: int
) -> None:
    """The paper's two steps, search and generation, written for one place after the other."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 6, height, width, generator=rng) + 0.5
    mask = (torch.rand(2, 1, height, width, generator=rng) < share).float()
    found = coherent_attention(x, mask)
    for b in range(2):
        features, hole = x[b].flatten(1), mask[b].flatten()
        known = features[:, hole == 0]
        before = None
        for place in range(height * width):
            own = features[:, place]
            wanted = own
            if hole[place] and known.shape[1]:
                cosines = F.cosine_similarity(own[:, None], known, dim=0)
                most = cosines.max().clamp_min(1e-4)
                wanted = known[:, cosines.argmax()]
                if before is not None:
                    adjacent = F.cosine_similarity(own, before, dim=0).clamp_min(0)
                    wanted = (adjacent * before + most * wanted) / (adjacent + most)
                before = wanted
            torch.testing.assert_close(found[b].flatten(1)[:, place], wanted, atol=1e-4, rtol=1e-4)


def test_the_losses_that_the_papers_add() -> None:
    torch.manual_seed(0)
    clean = torch.rand(1, 3, 64, 64)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:40, 20:40] = 1
    attention = ContextualAttentionNetwork(width=4).eval()
    coarse, refined = attention.both(clean, mask)
    restored, added = attention.forward_with_loss(clean, mask, clean)
    assert torch.equal(restored, refined)
    error = (coarse - clean).abs() * discount(mask)
    torch.testing.assert_close(added, COARSE_WEIGHT * error.mean())

    shifting = ShiftNet(width=4, depth=3, shift_level=2)
    restored, added = shifting.forward_with_loss(clean, mask, clean)
    assert torch.equal(restored, shifting(clean, mask))
    _, guided, small = shifting.features(clean, mask)
    assert guided.min() >= 0
    wanted = shifting.encode(2 * clean - 1, 2)[-1].relu()
    hole = small.expand_as(guided) > 0
    mean = (guided - wanted)[hole].square().mean()
    torch.testing.assert_close(added, GUIDANCE_WEIGHT * mean)
    torch.autograd.backward(added)
    # The clean picture's features are a target: no gradient goes through them.
    assert all(layer.weight.grad is None for layer in list(shifting.decoder)[-1:])

    coherent = CSANetwork(width=4, depth=3, attention_level=2).eval()
    restored, added = coherent.forward_with_loss(clean, mask, clean)
    rough, refined, attended, decoded, small = coherent._all(clean, mask)
    assert torch.equal(restored, refined)
    assert attended.shape == decoded.shape == (1, 16, 16, 16)
    whole = torch.cat((2 * clean - 1,) * 2, 1)
    wanted = coherent.refinement.encode(whole)
    hole = small.expand_as(wanted) > 0
    mean = sum((each - wanted)[hole].square().mean() for each in (attended, decoded))
    torch.testing.assert_close(added, (rough - clean).abs().mean() + CONSISTENCY_WEIGHT * mean)

    denoiser = GradNet(width=8, units=1, blocks=1).eval()
    noisy = clean + 0.1 * torch.randn_like(clean)
    restored, added = denoiser.forward_with_loss(noisy, None, clean)
    errors = [(a - b).abs().mean() for a, b in zip(sobel(restored), sobel(clean), strict=True)]
    torch.testing.assert_close(added, GRADIENT_WEIGHT * sum(errors))


def test_sobel_measures_slopes() -> None:
    ramp = torch.arange(8.0).expand(1, 2, 6, 8)
    horizontal, vertical = sobel(ramp)
    assert torch.equal(horizontal[..., 1:-1], torch.full((1, 2, 6, 6), 8.0))
    assert torch.equal(vertical, torch.zeros_like(ramp))


@pytest.mark.parametrize("options", [{"width": 1}, {"width": 3}])
def test_contextual_attention_needs_an_even_width(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="even"):
        ContextualAttentionNetwork(**options)


@pytest.mark.parametrize(("depth", "level"), [(2, 1), (3, 3), (3, 0)])
def test_csa_needs_a_level_inside_its_depth(depth: int, level: int) -> None:
    with pytest.raises(ValueError, match="attention_level"):
        CSANetwork(width=4, depth=depth, attention_level=level)


@pytest.mark.parametrize(("depth", "level"), [(1, 1), (3, 3), (3, 0)])
def test_shift_net_needs_a_level_inside_its_depth(depth: int, level: int) -> None:
    with pytest.raises(ValueError, match="shift_level"):
        ShiftNet(width=4, depth=depth, shift_level=level)
