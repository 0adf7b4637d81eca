"""The commands on the pages: each can be given, and those of the tutorials run as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import yaml
from pages import COMMANDS, DOCS, PAGES, REPOSITORY, command_lines, fences
from PIL import Image

from irae.config import load_config
from irae.data.idx import IDX_SETS
from irae.evaluation.benchmark.config import load_benchmark


def parse(line: str) -> None:
    """Fail if the program does not know such a command, or an option of it."""
    words = shlex.split(line, comments=True)
    words = words[words.index("irae") + 1 :]
    if words[:1] in (["--version"], ["--help"]):
        return
    for count in (1, 2):
        name = tuple(words[:count])
        if name in COMMANDS:
            COMMANDS[name].make_context(" ".join(name), words[count:])  # type: ignore[attr-defined]
            return
    pytest.fail(f"there is no such command: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_on_a_page_can_be_given(page: Path) -> None:
    for line in command_lines(page):
        try:
            parse(line)
        except Exception as error:
            pytest.fail(f"{line}: {error}")


def test_a_wrong_option_would_be_found() -> None:
    parse("irae restore noisy.png -o out.png")
    with pytest.raises(Exception, match="strenth"):
        parse("irae restore noisy.png --strenth 0.5")
    with pytest.raises(Exception, match="denoize"):
        parse("irae restore noisy.png --task denoize")


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_a_command_is_explained_with_an_example_that_can_be_given(name: tuple[str, ...]) -> None:
    said = getattr(COMMANDS[name], "help", None) or ""
    examples = re.findall(r"^Example: (irae .*)$", said, re.MULTILINE)
    assert examples, f"the help of irae {' '.join(name)} has no line 'Example: irae ...'"
    for example in examples:
        assert example.split()[1 : 1 + len(name)] == list(name)
        parse(example)


def test_every_command_is_used_on_some_page() -> None:
    text = "\n".join(line for page in PAGES for line in command_lines(page))
    unused = [name for name in COMMANDS if f"irae {' '.join(name)}" not in text]
    assert not unused


def test_configs_on_pages_are_valid(tmp_path: Path) -> None:
    checked = 0
    for page in PAGES:
        for language, text in fences(page):
            if language != "yaml":
                continue
            path = tmp_path / f"{checked}.yaml"
            path.write_text(text, encoding="utf-8")
            (load_benchmark if "datasets" in yaml.safe_load(text) else load_config)(path)
            checked += 1
    assert checked >= 2


# Commands that other tests run, because they need a browser, a cluster, the network or minutes.
# A shell passes what follows < and > itself; what this does has tests of its own.
ELSEWHERE = re.compile(
    r"irae (ui|speed|information|doctor|data download)\b|torchrun|--engine ray| < "
)
# Commands that need Debian's package dataset-fashion-mnist.
NEEDS_FASHION = re.compile("--data fashion|density/fashion")
HAS_FASHION = (IDX_SETS["fashion"].installed or Path("nowhere")).is_dir()
# Small trainings in place of long ones; all else on the pages runs as it stands.
SHORT = ["--device", "cpu", "--set", "training.threads=1", "--set", "training.batch=2"]
SHORT += ["--set", "data.patch=32", "--set", "training.steps=2"]
# What a command is there to fail on: a damaged picture among others, and a missing sidecar.
FAILS = {("restore", "scans/"): 3, ("undo", "restored.png"): 1}
TUTORIALS = [REPOSITORY / "README.md", *sorted((DOCS / "tutorials").glob("*.md"))]


def noisy(picture: np.ndarray, sigma: float = 25.0) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, sigma, picture.shape)
    return Image.fromarray((picture + noise).clip(0, 255).round().astype(np.uint8))


def scratched(picture: np.ndarray) -> Image.Image:
    """The picture with white scratches from edge to edge."""
    old = picture.copy()
    old[:, 40:43] = old[:, 101:104] = 255
    return Image.fromarray(old)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all files that the tutorials name, to work in."""
    portrait = pytest.importorskip("skimage.data", reason="pip install scikit-image").astronaut()
    face = portrait[20:148, 150:310]
    Image.fromarray(face).save(tmp_path / "photo.png")
    noisy(face).save(tmp_path / "noisy.png")
    for folder in ("photos", "held-out", "scans/1974", "torn", "masks", "pairs", "pairs-held-out"):
        (tmp_path / folder).mkdir(parents=True)
    for index in range(16):
        part = portrait[24 * index :, 64 * (index % 5) :][:80, :80]
        Image.fromarray(part).save(tmp_path / f"photos/{index}.png")
        if index < 2:
            Image.fromarray(part).save(tmp_path / f"held-out/{index}.png")
            for pairs in ("pairs", "pairs-held-out"):
                Image.fromarray(part).save(tmp_path / pairs / f"{index}_clean.png")
                noisy(part).save(tmp_path / pairs / f"{index}_noisy.jpg", quality=90)
    noisy(face).save(tmp_path / "scans/a.png")
    Image.fromarray(face).save(tmp_path / "scans/1974/b.jpg", quality=10)
    # A phone's picture: a second one lies behind it, which makes it brighter.
    gain = b'<x xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
    Image.fromarray(face).save(tmp_path / "IMG_2041.jpg", xmp=gain)
    whole = (tmp_path / "IMG_2041.jpg").read_bytes()
    (tmp_path / "IMG_2041.jpg").write_bytes(whole + whole)
    (tmp_path / "scans/broken.png").write_bytes((tmp_path / "photo.png").read_bytes()[:5000])
    holes = np.zeros(face.shape[:2], np.uint8)
    holes[40:60, 50:90] = 255
    for picture, mask in (("torn.png", "holes.png"), ("torn/a.png", "masks/a.png")):
        Image.fromarray(face * (holes == 0)[:, :, None]).save(tmp_path / picture)
        Image.fromarray(holes).save(tmp_path / mask)
    Image.fromarray(holes).save(tmp_path / "hair.png")
    scratched(face).save(tmp_path / "old.jpg", quality=95)
    (tmp_path / "film").mkdir()
    for number in range(6):
        overlay = Image.new("RGBA", (64, 64))
        overlay.paste((0, 0, 0, 255), (8 * number, 0, 8 * number + 2, 64))
        overlay.save(tmp_path / f"film/scratch_{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_the_commands_of_a_tutorial_run(
    page: Path,
    desk: Path,
    shared: Path,
    irae: Callable[..., CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IRAE_DATA", str(shared / "data"))
    for language, text in fences(page):
        if language == "yaml" and "datasets" in yaml.safe_load(text):
            content = text.replace("{minutes: 1}", "{steps: 2}")
            (desk / "mini.yaml").write_text(content, encoding="utf-8")
    shutil.copy(shared / "peers" / "ffdnet_color.pth", desk)
    (desk / "data").symlink_to(shared / "data")
    ran = 0
    for line in command_lines(page):
        if ELSEWHERE.search(line) or (NEEDS_FASHION.search(line) and not HAS_FASHION):
            continue
        words = shlex.split(line, comments=True)[1:]
        code = FAILS.get(tuple(words[:2]), 0)
        if words[0] == "train":
            if "--minutes" in words:
                at = words.index("--minutes")
                del words[at : at + 2]
            words += [] if "--resume" in words else SHORT
            if "-o" in words:  # A page may show one command with and without `--minutes`.
                shutil.rmtree(words[words.index("-o") + 1], ignore_errors=True)
        if words[0] == "degrade":  # Readers of a page make what others find on the desk.
            (desk / words[words.index("-o") + 1]).unlink(missing_ok=True)
        if words[0] == "restore" and "-o" not in words:
            (desk / words[1]).with_suffix(".restored.png").unlink(missing_ok=True)
        if words[0] == "anomalies":
            words += ["--max-images", "50"]
        if words[0] == "eval" and "celeba" in words:
            words += ["--max-images", "100"]
        done = irae(*words)
        # A shard fails on the broken picture only where it has it.
        codes = {code, 0} if "--shard" in words else {code}
        assert done.returncode in codes, f"{line}\n{done.stderr}"
        ran += 1
    assert ran
