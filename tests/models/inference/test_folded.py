"""The restoring form: the same numbers as the plain one, however it is cut into strips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from irae.models.call import condition_for
from irae.models.checkpoints.model_file import load_model, packaged_models
from irae.models.inference.folded import FoldedIRAE
from irae.models.inference.restoring_form import restoring_form
from irae.models.networks.irae import IRAE, PRESETS

FORMS: dict[str, dict[str, Any]] = {
    "paper": {**PRESETS["paper"], "width": 16, "depth": 3},
    "paper, three levels": {**PRESETS["paper"], "width": 8, "depth": 2, "levels": 3},
    "one large kernel": {
        "width": 16,
        "depth": 4,
        "levels": 1,
        "coupling": "bounded",
        "kernels": [1, 1, 1, 3],
    },
    "two levels": {"width": 16, "depth": 3, "levels": 2},
    "large kernels": {"width": 8, "depth": 2, "kernels": [5, 3]},
    "one level": {"width": 16, "depth": 2, "levels": 1},
    "a mask": {"width": 16, "depth": 2, "levels": 3, "condition_channels": 1},
    "affine with a mask": {**PRESETS["paper"], "width": 8, "depth": 2, "condition_channels": 1},
    "bounded": {"width": 8, "depth": 2, "coupling": ["bounded", "additive"]},
    "mixed": {"width": 8, "depth": 2, "actnorm": True, "coupling": "affine", "squeeze": "pixel"},
}


def perturbed(options: dict[str, Any]) -> IRAE:
    """A network none of whose parts is the identity."""
    network = IRAE(**options).eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter += 0.03 * torch.randn(parameter.shape, generator=rng)
    return network


def inputs(options: dict[str, Any], batch: int = 2) -> tuple[Tensor, Tensor | None]:
    rng = torch.Generator().manual_seed(2)
    x = torch.rand(batch, 3, 32, 48, generator=rng)
    if not options.get("condition_channels"):
        return x, None
    mask = (torch.rand(batch, 1, 32, 48, generator=rng) > 0.5).float()
    return x, mask


@pytest.mark.parametrize("strip_bytes", [None, 1, 4_000, 40_000])
@pytest.mark.parametrize("form", FORMS)
def test_same_numbers_as_the_plain_form(form: str, strip_bytes: int | None) -> None:
    network = perturbed(FORMS[form])
    x, condition = inputs(FORMS[form])
    with torch.inference_mode():
        plain = network(x, condition)
    assert (plain - x).abs().max() > 0.01
    folded = FoldedIRAE(network, strip_bytes=strip_bytes)
    torch.testing.assert_close(folded(x, condition), plain, atol=1e-4, rtol=1e-5)


def test_a_last_strip_of_one_row() -> None:
    """What lies beyond the picture is seen from the strip before the last one, too."""
    network = perturbed({"width": 8, "depth": 2, "levels": 1, "kernels": [1, 3]})
    folded = FoldedIRAE(network, strip_bytes=1)
    x = torch.rand(1, 3, 26, 16, generator=torch.Generator().manual_seed(0))
    rows = [r for _, r in folded._strips(folded.levels[0].encoder[0][0], torch.zeros(1, 13, 8, 12))]
    assert rows[-1] == slice(12, 13)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), network(x), atol=1e-4, rtol=1e-5)


def test_strips_are_really_used() -> None:
    network = perturbed(FORMS["one large kernel"])
    folded = FoldedIRAE(network, strip_bytes=4_000)
    state = torch.zeros(2, 20, 24, 12)
    strips = list(folded._strips(folded.levels[0].encoder[0][0], state))
    assert len(strips) == 2 * 5
    rows = [rows for samples, rows in strips if samples.start == 1]
    assert [r.start for r in rows] == [0, 4, 8, 12, 16] and rows[-1].stop == 20


def test_networks_in_bfloat16_keep_the_state_in_float32() -> None:
    network = perturbed({"width": 16, "depth": 2, "levels": 2})
    x, _ = inputs({})
    with torch.inference_mode():
        plain = network(x)
    rounded = FoldedIRAE(network, dtype=torch.bfloat16)(x)
    assert rounded.dtype == torch.float32
    error = (rounded - plain).abs().max()
    assert 0 < error < 0.02 * (plain - x).abs().max()


def test_a_lone_identity_start_returns_its_input() -> None:
    x, _ = inputs({})
    folded = FoldedIRAE(IRAE(width=8, depth=2))
    torch.testing.assert_close(folded(x), x, atol=1e-5, rtol=0)


def test_the_weights_are_copied() -> None:
    network = perturbed(FORMS["one large kernel"])
    x, _ = inputs({})
    folded = FoldedIRAE(network)
    before = folded(x)
    for parameter in network.parameters():
        parameter.zero_()
    assert torch.equal(folded(x), before)


@pytest.mark.parametrize("name", sorted(packaged_models()))
def test_packaged_models_give_the_same_numbers(name: str, shared: Path) -> None:
    from irae.imaging.io.files import read_picture
    from irae.imaging.io.find import find_pictures

    model = load_model(name)
    path = sorted(find_pictures([str(shared / "data/testsets/CBSD68")]))[0]
    x = read_picture(path).pixels[None, :, :144, :208]
    mask = torch.zeros(1, 1, 144, 208, dtype=torch.bool) if model.takes_mask else None
    if mask is not None:
        mask[..., 40:80, 50:99] = True
        x = model.fill(x, mask)
    condition = condition_for(model.network, mask=mask, filled=x)
    with torch.inference_mode():
        plain = model.network(x, condition)
    form = restoring_form(model.network, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(form(x, condition), plain, atol=1e-4, rtol=0)
