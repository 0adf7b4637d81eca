"""A task of one's own: this file is all of it, and every command runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from irae.cli.app import app
from irae.imaging.io.files import read_picture
from irae.tasks import register, unregister
from irae.tasks.base import Batch, DamageBatch, Damaged, Degradation, Task, number
from irae.tasks.schema import DegradationSection, Level, ValidationSection

if TYPE_CHECKING:
    from irae.tasks.batch_random import BatchRandom


def blur(clean: Tensor, share: float | Tensor) -> Tensor:
    """A share of the 3×3 mean, the rest of the picture: ``B C H W``."""
    padded = torch.nn.functional.pad(clean, (1, 1, 1, 1), mode="reflect")
    return clean.lerp(torch.nn.functional.avg_pool2d(padded, 3, 1), torch.as_tensor(share))


@dataclass(frozen=True)
class Blur(Degradation):
    share: float
    task: ClassVar[str] = "blur"

    def describe(self) -> str:
        return f"blur {self.share:g}"

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        return Damaged(blur(clean[None], self.share)[0])

    def training(self, patch: int, protocol: str) -> dict[str, Any]:
        return {"most": self.share}


class BlurSection(DegradationSection):
    most: float = 1.0


class BlurTask(Task):
    name = "blur"
    label = "Sharpen"
    done = "Sharpened"
    levels_help = "numbers from 0 to 1"
    default_levels = (1.0,)
    section = BlurSection

    def read_level(self, value: Level, variant: Mapping[str, Any]) -> Degradation:
        return Blur(number(value, 0, 1))

    def batch_damage(
        self, section: Any, *, seed: int, patch: int, workers: Executor, root: Path
    ) -> DamageBatch:
        def damage(clean: Tensor, gray: Tensor, random: BatchRandom) -> Batch:
            share = random.on_device(random.uniform(0, section.most).float())
            return Batch(clean, blur(clean, share[:, None, None, None]))

        return damage

    def validation_levels(
        self, section: ValidationSection, training: Any, height: int, width: int
    ) -> dict[str, Degradation]:
        return {"blur": Blur(1.0)}


@pytest.fixture
def toy() -> Iterator[None]:
    register(BlurTask())
    yield
    unregister("blur")


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("toy")
def test_every_command_runs_a_new_task(pictures: Path, tmp_path: Path) -> None:
    data = pictures / "train"
    config = tmp_path / "blur.yaml"
    config.write_text(
        "task: blur\ndegradation: {most: 1.0}\n"
        "model: {options: {form: lifted, width: 12, couplings: 2, hidden: 8}, preset: null}\n"
        "data: {patch: 32, validation: {images: 1, crop: 32}}\n"
        "training: {steps: 4, batch: 2, validate_every: 4, warmup: 0, samples: 0}\n"
    )
    folder, blurred = tmp_path / "run", tmp_path / "blurred"
    run(
        "train",
        "--config",
        config,
        "--data",
        data,
        "--validation",
        pictures / "val",
        "-o",
        folder,
        "--device",
        "cpu",
    )
    assert "blur" in (folder / "metrics.jsonl").read_text()

    run("degrade", data, "-o", blurred, "--task", "blur", "--level", "1")
    name = sorted(data.iterdir())[0].name
    clean, spoilt = read_picture(data / name), read_picture(blurred / name)
    expected = (blur(clean.pixels[None], 1.0)[0] * 255).round() / 255
    assert torch.equal(spoilt.pixels, expected)

    told = run("restore", blurred / name, "-o", tmp_path / "r.png", "--model", folder, "--json")
    assert json.loads(told.splitlines()[0])["task"] == "blur"
    assert Image.open(tmp_path / "r.png").size == Image.open(blurred / name).size

    command = ["eval", "--model", folder, "--data", data, "--levels", "0.5,1", "--json"]
    levels = json.loads(run(*command))["levels"]
    assert [level["level"] for level in levels] == ["blur 0.5", "blur 1"]
    assert levels[0]["input"]["psnr"] > levels[1]["input"]["psnr"]

    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(
        f"datasets: {{mine: {{train: [{{source: {data}}}], validation: {data},"
        f" test: {data}, patch: 32}}}}\n"
        "tasks: {blur: {levels: [1.0]}}\n"
        "models: {tiny: {network: dncnn, preset: null, options: {width: 4, layers: 2}}}\n"
        "budget: {steps: 2}\ntraining: {batch: 2}\nsamples: 1\n"
        "cost: {height: 32, width: 32, rounds: 1}\n"
    )
    run("benchmark", "--config", matrix, "-o", tmp_path / "matrix", "--device", "cpu")
    lines = (tmp_path / "matrix" / "results.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["level_name"] == "blur 1"
