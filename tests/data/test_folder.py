from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torchvision import transforms

from irae.data import PictureSet, open_data
from irae.data.folder import WorkingSize, find_in_folder
from irae.errors import DataError
from irae.imaging.io.files import read_picture, write_picture


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def noise(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def load(path: Path) -> torch.Tensor:
    return PictureSet("one", [path]).load(0)


def test_folder_is_recursive_sorted_and_leaves_out_what_is_no_picture(tmp_path: Path) -> None:
    image = Image.fromarray(noise(4, 5, 3))
    for name in ("b.PNG", "a/z.jpg", "a/b/c.bmp", "a.tif", ".hidden.png", ".trash/x.png"):
        save(tmp_path / name, image)
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = open_data(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in pictures.paths]
    assert names == ["a.tif", "a/b/c.bmp", "a/z.jpg", "b.PNG"]
    assert pictures.name == tmp_path.name
    assert len(pictures) == 4


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    save(tmp_path / "real/a.png", Image.fromarray(noise(4, 4, 3)))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/link").symlink_to(tmp_path / "real")
    (tmp_path / "real/loop").symlink_to(tmp_path / "real")
    assert find_in_folder(tmp_path / "set") == [tmp_path / "set/link/a.png"]


def test_folder_has_the_same_pictures_in_every_split(tmp_path: Path) -> None:
    save(tmp_path / "a.png", Image.fromarray(noise(4, 4, 3)))
    assert open_data(tmp_path).paths == open_data(str(tmp_path), split="test").paths


def test_folder_below_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "photos/a.png", Image.fromarray(noise(4, 4, 3)))
    assert len(open_data("photos", root=tmp_path)) == 1
    monkeypatch.setenv("IRAE_DATA", str(tmp_path))
    assert len(open_data("photos")) == 1


def test_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no pictures"):
        open_data(tmp_path)


def test_neither_name_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'oil' is neither .*celeba, flowers, birds") as caught:
        open_data("oil", root=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither"):
        open_data(save(tmp_path / "a.png", Image.fromarray(noise(4, 4, 3))))


@pytest.mark.parametrize("words", [{"split": "training"}, {"protocol": "author"}])
def test_unknown_split_and_protocol(tmp_path: Path, words: dict[str, str]) -> None:
    with pytest.raises(DataError, match="is unknown; use one of"):
        open_data(tmp_path, **words)  # type: ignore[arg-type]


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    pixels = noise(6, 9, 3)
    loaded = load(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert loaded.dtype == torch.uint8
    assert loaded.shape == (3, 6, 9)
    assert loaded.is_contiguous()
    assert np.array_equal(loaded.permute(1, 2, 0).numpy(), pixels)


def test_gray_is_repeated(tmp_path: Path) -> None:
    pixels = noise(6, 9, 1)
    loaded = load(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert all(np.array_equal(channel.numpy(), pixels) for channel in loaded)


def test_alpha_is_dropped_and_the_colours_under_it_kept(tmp_path: Path) -> None:
    pixels = noise(6, 9, 4)
    pixels[:3, :, 3] = 0
    loaded = load(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert np.array_equal(loaded.permute(1, 2, 0).numpy(), pixels[..., :3])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path, suffix: str) -> None:
    samples = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], dtype=np.uint16)
    loaded = load(save(tmp_path / f"a.{suffix}", Image.fromarray(samples)))
    assert loaded[0, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK"])
def test_other_modes(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(noise(6, 9, 3)).convert(mode)
    loaded = load(save(tmp_path / "a.tif", image))
    assert loaded.shape == (3, 6, 9)
    assert np.array_equal(loaded.permute(1, 2, 0).numpy(), np.array(image.convert("RGB")))


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", Image.fromarray(noise(6, 9, 3)), exif=exif)
    assert load(path).shape == (3, 9, 6)


def as_restored(path: Path) -> torch.Tensor:
    """What ``irae restore`` reads, in 8 bits."""
    pixels = read_picture(path).pixels.expand(3, -1, -1)
    return (pixels * 255).round().to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.float32, np.uint16])
def test_deep_pictures_are_read_as_they_are_restored(
    tmp_path: Path, kind: type, channels: int
) -> None:
    shares = np.random.default_rng(1).random((6, 9, channels))
    samples = (shares * (65535 if kind == np.uint16 else 1)).astype(kind).squeeze()
    path = tmp_path / "a.tif"
    colour = "minisblack" if channels == 1 else "rgb"
    extra = ["unassalpha"] if channels == 4 else None
    tifffile.imwrite(path, samples, photometric=colour, extrasamples=extra)
    pictures = open_data(tmp_path)
    assert torch.equal(pictures.load(0), as_restored(path))
    assert pictures.load(0).is_contiguous()


def test_sixteen_bit_colours_of_a_png_are_rounded_and_not_cut(tmp_path: Path) -> None:
    samples = np.full((6, 9, 3), 256 * 10 + 250, dtype=np.uint16)
    path = tmp_path / "a.png"
    picture = read_picture(save(tmp_path / "b.png", Image.fromarray(noise(6, 9, 3))))
    pixels = torch.from_numpy(samples.astype(np.float32) / 65535).permute(2, 0, 1)
    layout = replace(picture.layout, mode="RGB;16", depth=16)
    write_picture(path, replace(picture, pixels=pixels, layout=layout))
    assert load(path).unique().tolist() == [11]


@pytest.mark.parametrize("suffix", ["mpo", "jpg"])
def test_the_first_picture_of_an_mpo_is_read(tmp_path: Path, suffix: str) -> None:
    first, second = (Image.fromarray(noise(40, 60, 3, seed)) for seed in (0, 1))
    path = tmp_path / f"a.{suffix}"
    first.save(path, format="MPO", save_all=True, append_images=[second.resize((20, 10))])
    (found,) = open_data(tmp_path).paths
    assert torch.equal(load(found), as_restored(path))


def test_floats_without_a_known_range_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.full((4, 4), 7, dtype=np.float32)))
    with pytest.raises(DataError, match=r"a\.tif cannot be read .*lie outside 0 to 1"):
        load(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_a_truncated_picture_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(noise(64, 64, 3)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=rf"a\.{suffix} cannot be read") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_vanished_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        load(tmp_path / "gone.png")


@pytest.mark.parametrize("size", [(178, 218), (89, 109), (64, 64), (100, 70), (70, 101), (30, 20)])
def test_working_size_is_torchvisions(size: tuple[int, int]) -> None:
    image = Image.fromarray(noise(size[1], size[0], 3))
    chain = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(64)])
    assert np.array_equal(np.array(WorkingSize(64)(image)), np.array(chain(image)))
    crop = round(min(size) * 148 / 178)
    chain = transforms.Compose([transforms.CenterCrop(crop), chain])
    ours = WorkingSize(64, crop=148 / 178)(image)
    assert np.array_equal(np.array(ours), np.array(chain(image)))


def test_a_set_travels_to_workers(tmp_path: Path) -> None:
    save(tmp_path / "a.png", Image.fromarray(noise(8, 8, 3)))
    pictures = open_data(tmp_path)
    again = pickle.loads(pickle.dumps(pictures))
    assert torch.equal(again.load(0), pictures.load(0))
