"""Print the speed of training and restoring on a device, of pictures that are made for it.

Patches per second and the share of time spent waiting for batches are those of `irae train` itself,
from its metrics; megapixels per second those of `irae speed restore`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.utils import save_image

from irae.config import load_config
from irae.evaluation.speed.bench import bench_restore
from irae.runtime import generator, resolve_precision, select_device
from irae.training.checkpoint import METRICS_FILE
from irae.training.loop import train
from irae.training.run import begin

TASKS = ("denoise", "jpeg", "inpaint")


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Write smooth pictures with some noise, which decode as slowly as photographs."""
    folder.mkdir()
    for number in range(count):
        draw = generator(number)
        coarse = torch.rand(1, 3, 12, 12, generator=draw)
        smooth = F.interpolate(coarse, size=(side, side), mode="bicubic")[0]
        noise = 0.02 * torch.randn(smooth.shape, generator=draw)
        save_image((smooth + noise).clamp(0, 1), folder / f"{number:03}.png")


def training_speed(
    task: str, folder: Path, device: torch.device, batch: int, steps: int, patch: int
) -> tuple[float, float, bool]:
    """Train for some steps; return patches per second, the share of time spent waiting for data,
    and whether the steps were replays of a CUDA graph.

    The first half of the steps warms up and is not counted.
    """
    half = max(1, steps // 2)
    settings = [
        f"data.train=[{{source: {folder}}}]",
        f"data.patch={patch}",
        "data.validation.images=1",
        "data.validation.crop=64",
        f"training.batch={batch}",
        f"training.steps={2 * half}",
        f"training.log_every={half}",
        f"training.validate_every={100 * half}",
        "training.optimizer=muon",
        "training.samples=0",
    ]
    with tempfile.TemporaryDirectory() as place:
        run = begin(load_config(f"{task}.yaml", settings), Path(place) / "run", device)
        train(run, estimate=False)
        lines = (run.folder / METRICS_FILE).read_text().splitlines()
    found = [json.loads(line) for line in lines if "patches_per_second" in line]
    return found[-1]["patches_per_second"], found[-1]["waiting_share"], run.train_step.captured


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256, 1024])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--side", type=int, default=768)
    words = parser.parse_args()
    device = select_device(words.device)
    precision = resolve_precision("auto", device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{name}, PyTorch {torch.__version__}, precision auto is {precision}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        make_pictures(folder, words.pictures, words.side)
        for task in TASKS:
            for batch in words.batch:
                speed, waiting, captured = training_speed(
                    task, folder, device, batch, words.steps, words.patch
                )
                print(
                    f"train {task}, batch {batch} of {words.patch}x{words.patch}: "
                    f"{speed:.0f} patches/s, waiting for data {waiting:.1%}"
                    + (", as a CUDA graph" if captured else ""),
                    flush=True,
                )
    rows = bench_restore(
        ["denoise"],
        height=words.side,
        width=words.side,
        rounds=5,
        precisions=sorted({"fp32", precision}),
        device=device,
    )
    for row in rows:
        print(f"restore {row.model}, {row.precision}: {row.rate:.1f} megapixels/s")


if __name__ == "__main__":
    main()
