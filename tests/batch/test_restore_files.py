"""A batch of files as a whole: resumed, shared, and with everything going wrong on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.output import STAGING, LocalFolder
from irae.batch.parallel import read_ahead
from irae.batch.remote import Files
from irae.batch.restore_files import Request, parse_part, restore_files
from irae.batch.summary import Summary
from irae.cli.app import one_line
from irae.errors import UsageError
from irae.restoring.options import RestoreOptions

NAMES = ("a.png", "b.png", "sub/c.png", "sub/d.png")


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (24, 16)) -> Path:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


@dataclass
class Batch:
    """A folder of pictures, the folder they are restored to, and what was said of each."""

    root: Path
    model: Path
    out: str | None = None
    told: dict[str, Outcome] = field(default_factory=dict)
    each: Callable[[Outcome], None] | None = None

    @property
    def output(self) -> Path:
        return Path(self.out) if self.out else self.root / "out"

    def run(self, options: RestoreOptions | None = None, **request: object) -> Summary:
        options = options or RestoreOptions(model=str(self.model), device="cpu")
        asked = Request(
            (str(self.root / "in"),), self.out or str(self.root / "out"), recursive=True
        )
        self.told = {}
        return restore_files(replace(asked, **request), ModelPool(options), self.tell)  # type: ignore[arg-type]

    def tell(self, outcome: Outcome) -> None:
        self.told[Path(outcome.input).name] = outcome
        if self.each is not None:
            self.each(outcome)

    def status(self) -> str:
        """D(one), S(kipped) or F(ailed), by name."""
        return "".join(self.told[name].status[0].upper() for name in sorted(self.told))

    def lines(self, label: str = "") -> list[dict[str, object]]:
        text = (self.output / f"irae-manifest{label}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def batch(tmp_path: Path, model_files: dict[str, Path]) -> Batch:
    for seed, name in enumerate(NAMES):
        draw(tmp_path / "in" / name, seed)
    return Batch(tmp_path, model_files["denoise"])


def test_a_manifest_line_says_what_was_made_of_what(batch: Batch) -> None:
    summary = batch.run()
    assert (summary.done, summary.skipped, summary.failed) == (4, 0, 0)
    lines = {str(line["output"]): line for line in batch.lines()}
    assert set(lines) == set(NAMES)
    for name, line in lines.items():
        assert line["input"] == f"../in/{name}"
        for key, path in (("sha256", batch.root / "in"), ("output_sha256", batch.output)):
            done = subprocess.run(["sha256sum", path / name], capture_output=True, text=True)
            assert line[key] == done.stdout.split()[0]
        assert line["task"] == "denoise" and line["error"] is None
        assert line["model"] == str(batch.model) and len(str(line["weights"])) == 64
        assert (line["width"], line["height"]) == (24, 16) and float(str(line["seconds"])) >= 0
    assert not list(batch.output.rglob(".irae*"))


def test_only_what_is_missing_or_changed_is_done_again(batch: Batch) -> None:
    batch.run()
    before = {name: (batch.output / name).stat().st_mtime_ns for name in NAMES}
    (batch.output / "a.png").unlink()
    draw(batch.root / "in" / "b.png", seed=77)
    draw(batch.root / "in" / "e.png", seed=5)
    os.utime(batch.root / "in" / "sub" / "c.png")  # Its bytes stay.
    batch.run()
    assert batch.status() == "DDSSD"
    for name in ("sub/c.png", "sub/d.png"):
        assert (batch.output / name).stat().st_mtime_ns == before[name]
    assert len(batch.lines()) == 5
    assert batch.run().skipped == 5


def test_a_copied_archive_is_known_by_its_checksums(batch: Batch, tmp_path: Path) -> None:
    batch.run()
    for folder in ("in", "out"):
        shutil.copytree(batch.root / folder, tmp_path / "copy" / folder)
    copy = Batch(tmp_path / "copy", batch.model)
    assert copy.run().skipped == 4


def test_an_output_that_was_changed_is_not_replaced_unasked(batch: Batch) -> None:
    batch.run()
    painted = draw(batch.output / "a.png", seed=9)
    kept = painted.read_bytes()
    assert batch.run().failed == 1 and painted.read_bytes() == kept
    error = str(batch.told["a.png"].error)
    assert error.startswith(f"{painted}: was changed since") and "--overwrite" in error
    batch.run(overwrite=True)
    assert batch.status() == "DSSS" and painted.read_bytes() != kept


def test_an_output_of_unknown_origin_is_not_replaced_unasked(batch: Batch) -> None:
    kept = draw(batch.output / "a.png", seed=9).read_bytes()
    batch.run()
    assert batch.status() == "FDDD"
    assert "exists already" in str(batch.told["a.png"].error)
    assert (batch.output / "a.png").read_bytes() == kept


def test_other_options_are_not_mixed_unasked(batch: Batch, model_files: dict[str, Path]) -> None:
    batch.run()
    exact = RestoreOptions(model=str(batch.model), device="cpu", precision="fp32")
    assert batch.run(exact).failed == 4
    error = str(batch.told["a.png"].error)
    assert "precision auto, now fp32" in error and "--overwrite" in error
    assert batch.run(exact, overwrite=True).done == 4
    assert batch.run(exact).skipped == 4
    jpeg = RestoreOptions(model=str(model_files["jpeg"]), device="cpu", precision="fp32")
    assert batch.run(jpeg).failed == 4
    assert f"model {batch.model}" in str(batch.told["a.png"].error)


def test_another_picture_of_the_same_name_is_refused(batch: Batch) -> None:
    batch.run()
    other = draw(batch.root / "other" / "a.png", seed=8)
    batch.run(inputs=(str(other),))
    assert "was made of another picture, ../in/a.png" in str(batch.told["a.png"].error)


def test_a_changed_mask_is_a_changed_input(batch: Batch, model_files: dict[str, Path]) -> None:
    for name in NAMES:
        mask = batch.root / "masks" / name
        mask.parent.mkdir(parents=True, exist_ok=True)
        hole = Image.new("L", (24, 16), 0)
        hole.paste(255, (4, 4, 12, 12))
        hole.save(mask)
    options = RestoreOptions(model=str(model_files["inpaint"]), device="cpu")
    assert batch.run(options, mask=batch.root / "masks").done == 4
    Image.new("L", (24, 16), 0).save(batch.root / "masks" / "a.png")
    batch.run(options, mask=batch.root / "masks")
    assert batch.status() == "DSSS"


def test_what_failed_is_tried_again(batch: Batch) -> None:
    (batch.root / "in" / "a.png").write_bytes(b"no picture")
    for _ in range(2):
        assert batch.run().failures == (str(batch.root / "in" / "a.png"),)
        errors = [line for line in batch.lines() if line["error"]]
        assert len(errors) == 1 and "not a picture" in str(errors[0]["error"])
    draw(batch.root / "in" / "a.png")
    batch.run()
    assert batch.status() == "DSSS"
    assert len(batch.lines()) == 4 and not any(line["error"] for line in batch.lines())


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_a_line_that_was_cut_short_is_mended(
    batch: Batch, capsys: pytest.CaptureFixture[str], kept: float
) -> None:
    batch.run()
    manifest = batch.output / "irae-manifest.jsonl"
    *whole, last = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(whole) + last[: int(len(last) * kept)])
    name = json.loads(last)["output"]
    (batch.output / name).unlink()
    summary = batch.run()
    assert (summary.done, summary.skipped) == (1, 3)
    assert ("cut short" in capsys.readouterr().err) == (0 < kept < 0.99)
    assert sorted(str(line["output"]) for line in batch.lines()) == sorted(NAMES)


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"input": 1, "output": 2}', "{" * 99999])
def test_a_manifest_of_nonsense_is_left_out(batch: Batch, text: str) -> None:
    batch.output.mkdir()
    (batch.output / "irae-manifest.jsonl").write_text(f"{text}\n")
    assert batch.run().done == 4
    assert len(batch.lines()) == 4


def test_an_entry_cannot_reach_out_of_the_folder(batch: Batch) -> None:
    batch.run()
    victim = draw(batch.root / "victim.png", seed=3)
    kept = victim.read_bytes()
    line = {**batch.lines()[0], "output": "../victim.png", "output_stamp": None}
    with (batch.output / "irae-manifest.jsonl").open("a") as file:
        file.write(f"{json.dumps(line)}\n")
    assert batch.run(overwrite=True).skipped == 4
    assert victim.read_bytes() == kept


def test_a_second_process_in_one_folder_is_refused(batch: Batch) -> None:
    folder = LocalFolder(batch.output, Files.create())
    folder.open("")
    with pytest.raises(UsageError, match="another irae is writing there"):
        batch.run()
    other_part = LocalFolder(batch.output, Files.create())
    other_part.open("1-of-2")
    other_part.close()
    folder.close()
    assert batch.run().done == 4


def test_shards_are_disjoint_and_complete(batch: Batch) -> None:
    parts = []
    for number in (1, 2, 3):
        batch.run(part=(number, 3))
        parts.append(set(batch.told))
        assert set(batch.status()) <= {"D"}
    assert sum(len(part) for part in parts) == 4 and len(set.union(*parts)) == 4
    assert batch.run(part=(1, 1)).skipped == 4


@pytest.mark.parametrize(
    "text", ["", "1", "0/3", "4/3", "-1/3", "1/0", "a/b", "1/2/3", "1/" + "9" * 99]
)
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="i/n"):
        parse_part(text)


def test_inputs_that_vanish_or_change_on_the_way(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "AHEAD_PICTURES", 1)
    # Those between are read already, or may be.
    gone, changed = (draw(batch.root / "in" / "sub" / name) for name in ("y.png", "z.png"))

    def meddle(outcome: Outcome) -> None:
        if outcome.input.endswith("a.png"):
            gone.unlink()
            draw(changed, seed=99)

    batch.each = meddle
    batch.run()
    assert batch.status() == "DDDDFF"
    assert str(batch.told["y.png"].error).startswith(f"{gone}: no such file")
    assert str(batch.told["z.png"].error).startswith(f"{changed}: changed after it was listed")
    assert not {"y.png", "z.png"} & {path.name for path in batch.output.rglob("*")}
    batch.each = None
    batch.run()
    assert batch.status() == "SSSSD"


def mounted(folder: Path, options: str) -> None:
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    arguments = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(arguments, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system is not allowed here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 48 KiB."""
    mounted(tmp_path / "disk", "size=48k")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_a_disk_that_fills_up_loses_nothing(batch: Batch, disk: Path) -> None:
    batch.out = str(disk / "out")
    for seed, name in enumerate(NAMES):
        draw(batch.root / "in" / name, seed, (96, 64))  # About 18 kB each.
    summary = batch.run()
    assert 0 < summary.done < 4 and summary.failed == 4 - summary.done
    for outcome in batch.told.values():
        if outcome.error is not None:
            place = disk / "out" / Path(outcome.input).relative_to(batch.root / "in")
            assert outcome.error.startswith(f"{place}: ")
            assert "disk is full" in outcome.error or "No space left" in outcome.error
    there = list(batch.output.rglob("*.png"))
    assert len(there) == summary.done
    subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
    again = batch.run()
    assert (again.done, again.skipped) == (4 - summary.done, summary.done)
    assert len(batch.lines()) == 4 and not list(batch.output.rglob(f"{STAGING}*"))


def test_a_read_only_folder_is_one_clear_line(batch: Batch, disk: Path) -> None:
    batch.out = str(disk / "out")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(OSError, match="Read-only file system") as caught:
        batch.run()
    line = one_line(caught.value)
    assert line is not None and line.startswith(str(disk)) and "-o" in line
    assert batch.told == {}
