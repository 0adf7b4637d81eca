"""`Restorer`: what goes in comes out, in kind, dtype, mode and size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from irae.errors import IraeError, ModelError, UsageError
from irae.imaging.io.pillow import picture_from_pil
from irae.imaging.metrics import psnr
from irae.models.loaded import LoadedModel
from irae.restoring.restorer import Restorer
from irae.runtime import generator


def _array(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(seed).random(shape)
    peak = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    return (values * peak).astype(dtype)


@pytest.fixture
def restorer(denoiser: LoadedModel) -> Restorer:
    return Restorer(denoiser, device="cpu")


@pytest.fixture
def filler(inpainter: LoadedModel) -> Restorer:
    return Restorer(inpainter, device="cpu")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 2), (9, 7, 3), (9, 7, 4)])
def test_arrays_keep_shape_dtype_and_alpha(
    restorer: Restorer, shape: tuple[int, ...], dtype: Any
) -> None:
    image = _array(shape, dtype)
    before = image.copy()
    restored = restorer.restore(image)
    assert restored.shape == image.shape
    assert restored.dtype == image.dtype
    assert np.array_equal(image, before)
    assert not np.array_equal(restored, image)
    if image.ndim == 3 and image.shape[2] in (2, 4):
        assert np.array_equal(restored[:, :, -1], image[:, :, -1])


@pytest.mark.parametrize("shape", [(1, 8, 6), (3, 8, 6), (4, 8, 6), (2, 3, 8, 6), (3, 1, 5, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_keep_shape_and_dtype(
    restorer: Restorer, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    restored = restorer.restore(image)
    assert restored.shape == image.shape
    assert restored.dtype == dtype
    assert not restored.is_inference()
    assert not torch.equal(restored, image)
    if shape[-3] == 4:
        assert torch.equal(restored[-1], image[-1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pil_images_keep_mode_and_size(restorer: Restorer, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(_array((10, 13), np.uint16))
    else:
        image = Image.fromarray(_array((10, 13, 4), np.uint8), "RGBA")
        image = (
            image.convert("RGB").convert(mode)
            if mode in ("P", "CMYK", "1")
            else image.convert(mode)
        )
    restored = restorer.restore(image)
    assert isinstance(restored, Image.Image)
    assert restored.size == image.size
    assert restored.mode == image.mode
    if "A" in mode:
        assert restored.getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_a_batch_is_each_picture_alone(restorer: Restorer) -> None:
    batch = torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(2))
    together = restorer.restore(batch)
    for index in range(3):
        assert torch.equal(together[index], restorer.restore(batch[index]))


def test_kinds_agree(restorer: Restorer) -> None:
    array = _array((16, 20, 3), np.uint8)
    from_array = restorer.restore(array)
    from_pil = restorer.restore(Image.fromarray(array))
    from_tensor = restorer.restore(torch.from_numpy(array).movedim(2, 0) / 255)
    assert np.array_equal(from_array, np.asarray(from_pil))
    rounded = (from_tensor * 255 + 0.5).floor().to(torch.uint8).movedim(0, 2).numpy()
    assert np.array_equal(from_array, rounded)


def test_gray_is_the_mean_of_three_equal_channels(
    restorer: Restorer, denoiser: LoadedModel
) -> None:
    gray = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = denoiser.restore(gray.expand(1, 3, 8, 8))[0].mean(0, keepdim=True).clamp(0, 1)
    assert torch.equal(restorer.restore(gray), expected)


def test_cmyk_black_is_restored_as_gray(restorer: Restorer) -> None:
    inks = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(4))
    restored = restorer.restore_pixels(inks)
    assert torch.equal(restored[:3], restorer.restore(inks[:3]))
    assert torch.equal(restored[3:], restorer.restore(inks[3:]))


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("width", [1, 2, 7, 9])
def test_any_size(restorer: Restorer, filler: Restorer, height: int, width: int) -> None:
    image = _array((height, width, 3), np.uint8)
    assert restorer.restore(image).shape == image.shape
    mask = np.ones((height, width), bool)
    mask[-1, -1] = False
    assert filler.restore(image, mask).shape == image.shape


def test_a_mask_without_known_pixels_is_refused(filler: Restorer) -> None:
    image, mask = torch.rand(2, 3, 9, 12), torch.zeros(2, 1, 9, 12, dtype=torch.bool)
    mask[1] = True
    for given, hole in ((image, mask), (image[1], mask[1])):
        with pytest.raises(UsageError, match="marks the whole picture") as caught:
            filler.restore(given, hole)
        assert "\n" not in str(caught.value)
    assert filler.restore(image[0], mask[0]).shape == (3, 9, 12)


@pytest.mark.parametrize("tile", [16, 24, 64])
def test_a_mask_that_covers_whole_tiles_is_filled(inpainter: LoadedModel, tile: int) -> None:
    """A crop may hold no known pixel at all: it was filled with the whole picture in view."""
    image = torch.rand(3, 100, 90, generator=torch.Generator().manual_seed(5))
    mask = torch.ones(1, 100, 90, dtype=torch.bool)
    mask[:, 97, 3] = False
    restored = Restorer(inpainter, device="cpu", tile=tile, overlap=4).restore(image, mask)
    assert restored.isfinite().all()
    assert torch.equal(restored[:, 97, 3], image[:, 97, 3])
    colour = image[:, 97, 3][:, None, None].expand(3, 100, 90)
    filled = inpainter.fill(image[None], mask[None])[0]
    torch.testing.assert_close(filled, colour, atol=1e-4, rtol=0)


def test_a_network_sees_as_much_around_a_hole_as_it_declares(
    inpainter: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(3, 200, 200, generator=torch.Generator().manual_seed(5))
    mask = torch.zeros(1, 200, 200, dtype=torch.bool)
    mask[:, 96:104, 96:104] = True
    sizes = []
    for context in (0, 40):
        restorer = Restorer(inpainter, device="cpu", tile=160, overlap=16)
        monkeypatch.setattr(restorer.model.network, "context", context, raising=False)
        whole = restorer.model.restore

        def restore(pixels: Tensor, hole: Tensor, whole: Any = whole, **options: Any) -> Tensor:
            sizes.append(tuple(pixels.shape[2:]))
            return whole(pixels, hole, **options)

        monkeypatch.setattr(restorer.model, "restore", restore)
        restorer.restore(image, mask)
    assert sizes == [(8 + 2 * 16,) * 2, (8 + 2 * 40,) * 2]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("tile", [0, 16])
def test_known_values_of_an_inpainted_array_are_bit_equal(
    inpainter: LoadedModel, dtype: Any, tile: int
) -> None:
    image = _array((40, 33, 4), dtype)
    mask = np.zeros((40, 33), bool)
    mask[10:20, 5:25] = True
    restored = Restorer(inpainter, device="cpu", tile=tile, overlap=4).restore(image, mask)
    assert np.array_equal(restored[~mask], image[~mask])
    assert np.array_equal(restored[:, :, 3], image[:, :, 3])
    assert not np.array_equal(restored[mask], image[mask])


def test_what_a_hole_holds_is_not_looked_at(filler: Restorer) -> None:
    image = _array((24, 24, 3), np.uint8)
    mask = np.zeros((24, 24), bool)
    mask[4:12, 8:20] = True
    other = image.copy()
    other[mask] = 255
    assert np.array_equal(filler.restore(image, mask), filler.restore(other, mask))


def test_a_hole_across_tiles_is_filled_as_a_whole(inpainter: LoadedModel) -> None:
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, 150), torch.linspace(0, 1, 170), indexing="ij"
    )
    image = torch.stack((rows, columns, (rows * 9).sin().abs()))
    mask = torch.zeros(1, 150, 170, dtype=torch.bool)
    mask[:, 30:130, 30:140] = True
    whole = Restorer(inpainter, device="cpu", tile=0).restore(image, mask)
    tiled = Restorer(inpainter, device="cpu", tile=120, overlap=40).restore(image, mask)
    torch.testing.assert_close(tiled, whole, atol=0.5 / 255, rtol=0)


MASK = np.zeros((6, 5), bool)
MASK[2:4, 1:3] = True
MASKS: list[Any] = [
    MASK,
    MASK[:, :, None],
    MASK.astype(np.uint8) * 255,
    MASK.astype(np.uint16) * 65535,
    MASK.astype(np.float32),
    MASK.astype(np.uint8),
    MASK.astype(np.int64),
    MASK * 255.0,
    torch.from_numpy(MASK).long(),
    Image.fromarray(MASK.astype(np.uint8)),
    Image.merge("LA", [Image.new("L", (5, 6)), Image.fromarray(MASK.astype(np.uint8) * 255)]),
    Image.fromarray(MASK[:, :, None] * np.array([255, 0, 0], np.uint8)),
    Image.fromarray(MASK),
    Image.fromarray(MASK.astype(np.uint8) * 255),
    torch.from_numpy(MASK),
    torch.from_numpy(MASK)[None].float(),
    torch.from_numpy(MASK)[None, None].to(torch.uint8) * 255,
]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: type(mask).__name__)
def test_masks_of_every_kind_mean_the_same(filler: Restorer, mask: Any) -> None:
    image = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    expected = filler.restore(image, torch.from_numpy(MASK).expand(2, 1, 6, 5))
    assert torch.equal(filler.restore(image, mask), expected)


BAD_IMAGES: list[tuple[Any, str]] = [
    (np.zeros((4,), np.uint8), "H W"),
    (np.zeros((4, 4, 5), np.uint8), "H W"),
    (np.zeros((0, 4, 3), np.uint8), "empty"),
    (np.zeros((4, 4, 3), np.int32), "int32"),
    (np.zeros((4, 4, 3), bool), "bool"),
    (np.full((4, 4, 3), 200.0, np.float32), "divide by 255"),
    (np.full((4, 4, 3), np.nan, np.float32), r"\[0, 1\]"),
    (torch.zeros(4, 4), "C H W"),
    (torch.zeros(4, 4, 3, 2, 2), "C H W"),
    (torch.zeros(16, 16, 3)[:, :, :], "C H W"),
    (torch.zeros(3, 4, 4, dtype=torch.uint8), "255"),
    (torch.zeros(3, 0, 4), "empty"),
    ("noisy.png", "str"),
]


@pytest.mark.parametrize(("image", "words"), BAD_IMAGES)
def test_wrong_images_are_refused_in_one_line(restorer: Restorer, image: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        restorer.restore(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "mask", [np.zeros((5, 6), bool), torch.zeros(2, 6, 5), torch.zeros(3, 1, 6, 5), "mask.png"]
)
def test_wrong_masks_are_refused(filler: Restorer, mask: Any) -> None:
    with pytest.raises(UsageError, match="mask"):
        filler.restore(np.zeros((6, 5, 3), np.uint8), mask)


def test_a_mask_is_wanted_by_inpainting_alone(restorer: Restorer, filler: Restorer) -> None:
    image = np.zeros((6, 5, 3), np.uint8)
    with pytest.raises(UsageError, match="takes no mask"):
        restorer.restore(image, MASK)
    with pytest.raises(UsageError, match="mask"):
        filler.restore(image)


def test_options_are_checked(denoiser: LoadedModel) -> None:
    with pytest.raises(UsageError, match="tile 1 is too small"):
        Restorer(denoiser, tile=1)
    with pytest.raises(UsageError, match="overlap"):
        Restorer(denoiser, overlap=-1)
    with pytest.raises(UsageError, match="precision"):
        Restorer(denoiser, precision="fp16")
    with pytest.raises(UsageError, match="device"):
        Restorer(denoiser, device="abacus")
    with pytest.raises(ModelError, match="blur"):
        Restorer("blur")


def test_tiles_starting_on_the_grid_leave_only_seams(denoiser: LoadedModel) -> None:
    image = torch.rand(3, 150, 131, generator=torch.Generator().manual_seed(6))
    whole = Restorer(denoiser, device="cpu", tile=0).restore(image)
    # The overlap covers the whole receptive field of this small network, so nothing is left.
    tiled = Restorer(denoiser, device="cpu", tile=127, overlap=42).restore(image)
    torch.testing.assert_close(tiled, whole, atol=0.5 / 255, rtol=0)


def test_large_pictures_are_tiled_by_themselves(
    denoiser: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irae.restoring.restorer.AUTOMATIC_TILE", 32)
    sides: list[int] = []
    restorer = Restorer(denoiser, device="cpu", overlap=8)
    restore = restorer.model.restore

    def spy(part: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        sides.append(max(part.shape[-2:]))
        return restore(part, mask, **options)

    monkeypatch.setattr(restorer.model, "restore", spy)
    restorer.restore(torch.rand(3, 32, 32))
    assert sides == [32]
    restorer.restore(torch.rand(3, 33, 70))
    assert len(sides) > 2
    assert max(sides) <= 32


def test_out_of_memory_is_told_once_and_remembered(
    denoiser: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    restorer = Restorer(denoiser, device="cpu", notify=notes.append)
    restore = restorer.model.restore

    def small_memory(part: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        if part.shape[-2] * part.shape[-1] > 70 * 70:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return restore(part, mask, **options)

    monkeypatch.setattr(restorer.model, "restore", small_memory)
    image = torch.rand(3, 130, 100, generator=torch.Generator().manual_seed(7))
    first = restorer.restore(image)
    assert notes == ["out of memory; going on in tiles of 65 pixels"]
    assert torch.equal(restorer.restore(image), first)
    assert len(notes) == 1
    assert restorer.restore(torch.rand(3, 20, 20)).shape == (3, 20, 20)


def test_no_memory_at_all_is_one_line(
    denoiser: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(part: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        raise MemoryError

    restorer = Restorer(denoiser, device="cpu", notify=lambda line: None)
    monkeypatch.setattr(restorer.model, "restore", no_memory)
    with pytest.raises(IraeError, match="out of memory even in tiles of"):
        restorer.restore(torch.rand(3, 200, 200))


def test_models_that_must_be_told_the_noise_level() -> None:
    with pytest.raises(UsageError, match="give `sigma`"):
        Restorer("nlm")
    with pytest.raises(UsageError, match="drop `sigma`"):
        Restorer("denoise", sigma=25)


def test_the_noise_level_is_handed_on() -> None:
    pytest.importorskip("skimage", reason="the extra peers is not installed")
    rng = torch.Generator().manual_seed(0)
    noisy = 0.5 + 0.1 * torch.randn(1, 40, 48, generator=rng)
    weak, strong = (
        Restorer("nlm", sigma=sigma).restore_pixels(noisy.clamp(0, 1)) for sigma in (2, 40)
    )
    assert strong.shape == noisy.shape
    assert strong.std() < 0.5 * weak.std()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_no_strength_gives_the_picture_back(denoiser: LoadedModel, dtype: Any) -> None:
    image = _array((9, 7, 4), dtype)
    restored = Restorer(denoiser, device="cpu", strength=0).restore(image)
    assert restored is not image
    assert restored.dtype == dtype
    assert np.array_equal(restored, image)


def test_no_strength_gives_pil_images_and_tensors_back(denoiser: LoadedModel) -> None:
    restorer = Restorer(denoiser, device="cpu", strength=0)
    palette = Image.fromarray(_array((9, 7, 3), np.uint8)).convert("P")
    assert restorer.restore(palette).mode == "P"
    assert restorer.restore(palette).tobytes() == palette.tobytes()
    tensor = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.1
    assert torch.equal(restorer.restore(tensor), tensor)


def test_strength_goes_from_the_picture_to_the_restored_one(denoiser: LoadedModel) -> None:
    image = _array((24, 20, 3), np.uint8)
    full = Restorer(denoiser, device="cpu").restore(image)
    distances = []
    for strength in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0):
        blended = Restorer(denoiser, device="cpu", strength=strength).restore(image)
        distances.append(np.square(blended.astype(float) - image).mean())
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[1] < distances[-1]
    assert np.array_equal(blended, full)
    half = Restorer(denoiser, device="cpu", strength=0.5).restore(image).astype(float)
    assert np.abs(half - (image.astype(float) + full) / 2).max() <= 1


def test_strength_is_that_of_a_batch_too(denoiser: LoadedModel) -> None:
    pictures = [
        picture_from_pil(Image.fromarray(_array((12, 10, 3), np.uint8, seed))) for seed in range(3)
    ]
    for strength in (0.0, 0.4):
        restorer = Restorer(denoiser, device="cpu", strength=strength)
        together = restorer.restore_pictures(pictures)
        for one, picture in zip(together, pictures, strict=True):
            torch.testing.assert_close(one.pixels, restorer.restore_picture(picture).pixels)
            assert torch.equal(one.pixels, picture.pixels) == (strength == 0)


def test_an_ensemble_is_that_of_a_batch_and_of_tiles_too(denoiser: LoadedModel) -> None:
    pictures = [
        picture_from_pil(Image.fromarray(_array((20, 14, 3), np.uint8, seed))) for seed in range(2)
    ]
    plain = Restorer(denoiser, device="cpu").restore_picture(pictures[0])
    restorer = Restorer(denoiser, device="cpu", ensemble=True)
    together = restorer.restore_pictures(pictures)
    for one, picture in zip(together, pictures, strict=True):
        torch.testing.assert_close(one.pixels, restorer.restore_picture(picture).pixels)
    assert not torch.equal(together[0].pixels, plain.pixels)
    tiled = Restorer(denoiser, device="cpu", ensemble=True, tile=16).restore_picture(pictures[0])
    assert tiled.pixels.shape == plain.pixels.shape


def test_strength_is_checked(denoiser: LoadedModel, inpainter: LoadedModel) -> None:
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="strength"):
            Restorer(denoiser, strength=strength)
    with pytest.raises(UsageError, match="fills holes"):
        Restorer(inpainter, strength=0.5)
    with pytest.raises(UsageError, match="takes no mask"):
        Restorer(denoiser, strength=0).restore(np.zeros((6, 5, 3), np.uint8), MASK)


def _toned_and_noisy() -> tuple[torch.Tensor, torch.Tensor]:
    """A sepia ramp with waves, and the same with grain that all channels share."""
    waves = 0.5 + 0.3 * torch.sin(torch.linspace(0, 9, 96))[:, None] * torch.linspace(0, 1, 96)
    clean = waves * torch.tensor([1.0, 0.85, 0.6])[:, None, None] + 0.05
    grain = torch.randn(1, 96, 96, generator=generator(0)) * (14 / 255)
    return clean, ((clean + grain).clamp(0, 1) * 255).round() / 255


def test_a_toned_picture_keeps_its_tint() -> None:
    clean, noisy = _toned_and_noisy()
    restored = Restorer("photo", device="cpu").restore_pixels(noisy)
    error = (restored - clean).square().mean()
    assert float(error) < 0.3 * float((noisy - clean).square().mean())
    # Red and blue still follow from the brightness.
    tint = 255 * (restored[0] - restored[2])
    assert float((tint - 255 * (clean[0] - clean[2])).abs().mean()) < 4
    assert float((tint - tint.mean()).abs().mean()) > 5
    # In a batch with others, too.
    pair = Restorer("photo", device="cpu").restore(torch.stack([noisy, noisy.flip(0)]))
    torch.testing.assert_close(pair[0], restored, atol=1e-5, rtol=0)


def test_salt_and_pepper_is_filled_before_the_network() -> None:
    clean, _ = _toned_and_noisy()
    hit = torch.rand(3, 96, 96, generator=generator(1)) < 0.05
    salt = (torch.rand(3, 96, 96, generator=generator(2)) < 0.5).float()
    noisy = torch.where(hit, salt, clean)
    restorer = Restorer("photo", device="cpu")
    restored = restorer.restore_pixels(noisy)
    assert psnr(restored[None], clean[None]).item() > 29
    half = Restorer("photo", device="cpu", strength=0.5).restore_pixels(noisy)
    torch.testing.assert_close(half, (restored + noisy) / 2, atol=1e-5, rtol=0)


def test_progress_is_told_over_both_passes_of_cmyk(denoiser: LoadedModel) -> None:
    restorer = Restorer(denoiser, tile=32, overlap=8)
    for channels, passes in ((3, 1), (4, 2)):
        pixels, told = torch.rand(channels, 40, 60), []
        assert torch.equal(
            restorer.restore_pixels(pixels, progress=told.append), restorer.restore_pixels(pixels)
        )
        count = len(told)
        assert count % passes == 0
        assert count // passes > 2
        assert told == pytest.approx([step / count for step in range(1, count + 1)])
