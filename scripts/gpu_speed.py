"""Measure the speed of training and restoring on a device, of pictures that are made for it.

    python scripts/gpu_speed.py [--write]

Patches per second and the share of time spent waiting for batches are those of `irae train` itself,
from its metrics; megapixels per second those of `irae speed restore`. ``--write`` keeps the tables
in ``docs/results/gpu.json``, for ``scripts/fill_tables.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision.utils import save_image

from irae.config import load_config
from irae.evaluation.speed.bench import bench_restore
from irae.runtime import generator, resolve_precision, select_device
from irae.training.batches.processes import count_processes
from irae.training.checkpoint import METRICS_FILE
from irae.training.loop import train
from irae.training.run import begin

RESULT = Path(__file__).resolve().parent.parent / "docs" / "results" / "gpu.json"
TASKS = ("jpeg", "photo", "inpaint")
"""Whose batches are made by the device and by processes; the denoiser's in several sizes too."""


@dataclass(frozen=True)
class Speed:
    """The speed of some steps.

    Attributes:
        rate: patches per second.
        waiting: share of the time spent waiting for batches.
        captured: whether the steps were replays of a CUDA graph.
    """

    rate: float
    waiting: float
    captured: bool


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
    task: str, folder: Path, device: torch.device, batch: int, steps: int, patch: int, *more: str
) -> Speed:
    """Train for some steps, with further settings ``more``.

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
        *more,
    ]
    with tempfile.TemporaryDirectory() as place:
        run = begin(load_config(f"{task}.yaml", settings), Path(place) / "run", device)
        train(run, estimate=False)
        lines = (run.folder / METRICS_FILE).read_text().splitlines()
    found = [json.loads(line) for line in lines if "patches_per_second" in line][-1]
    return Speed(found["patches_per_second"], found["waiting_share"], run.train_step.captured)


def training_rows(
    folder: Path, device: torch.device, batches: list[int], steps: int, patch: int
) -> list[list[str]]:
    """Measure training: task, batch, what makes the batches, patches per second, waiting."""
    processes = count_processes("auto", device, on_device=False)
    cases = [("denoise", batch, 0) for batch in batches]
    cases += [(task, batches[-1], n) for task in TASKS for n in dict.fromkeys((0, processes))]
    rows = []
    for task, batch, number in cases:
        speed = training_speed(task, folder, device, batch, steps, patch, f"data.workers={number}")
        maker = f"{number} processes" if number else "the device"
        rows.append([task, str(batch), maker, f"{speed.rate:,.0f}", f"{speed.waiting:.1%}"])
        print(
            f"train {', '.join(rows[-1])}" + (", CUDA graph" if speed.captured else ""), flush=True
        )
    return rows


def step_rows(
    folder: Path, device: torch.device, batch: int, steps: int, patch: int
) -> list[list[str]]:
    """Measure the ways to start a step's work: the way and its patches per second."""
    ways = {
        "one kernel after another": "training.graph=false",
        "`torch.compile`": "training.compile=true",
        "CUDA graph": "training.graph=auto",
    }
    rows = []
    for name, setting in ways.items():
        speed = training_speed("denoise", folder, device, batch, steps, patch, setting)
        rows.append([name, f"{speed.rate:,.0f}"])
        print(f"step, {': '.join(rows[-1])}", flush=True)
    return rows


def restoring_rows(device: torch.device, sides: list[tuple[int, int]]) -> list[list[str]]:
    """Measure restoring of pictures ``height width``: model, picture, precision, speed, memory."""
    precisions = sorted({"fp32", resolve_precision("auto", device)}, reverse=True)
    rows = []
    for height, width in sides:
        for row in bench_restore(
            ["denoise", "inpaint"],
            height=height,
            width=width,
            rounds=5,
            precisions=precisions,
            device=device,
        ):
            if row.form != "restoring":
                continue
            size = f"{height}×{width}"
            memory = "" if row.memory is None else f"{row.memory / 1e9:.2f}"
            speed = [f"{1000 * row.seconds:.3g}", f"{row.rate:.3g}"]
            rows.append([row.model, size, row.precision, *speed, memory])
            print(f"restore {', '.join(rows[-1])}", flush=True)
    return rows


def main() -> None:
    """Measure, print a line for each figure, and keep the tables if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32, 64, 128])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--side", type=int, default=768, help="Of the training pictures.")
    parser.add_argument(
        "--restore", type=int, nargs="+", default=[512, 768, 2048, 3072, 4000, 6000]
    )
    parser.add_argument("--write", action="store_true", help="Keep the tables.")
    words = parser.parse_args()
    device = select_device(words.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    machine = f"{name}, {os.cpu_count()} cores, PyTorch {torch.__version__}"
    print(f"{machine}, precision auto is {resolve_precision('auto', device)}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        make_pictures(folder, words.pictures, words.side)
        training = training_rows(folder, device, words.batch, words.steps, words.patch)
        # Elsewhere there are no graphs, and one way is enough.
        cuda = device.type == "cuda"
        steps = step_rows(folder, device, words.batch[-1], words.steps, words.patch) if cuda else []
    sides = list(zip(words.restore[::2], words.restore[1::2], strict=True))
    restoring = restoring_rows(device, sides)
    if not words.write:
        return
    patches = f"{words.patch}×{words.patch}"
    tables = {
        "gpu-training": {
            "command": f"training as `irae train` does, patches of {patches}, the second half of "
            f"{words.steps} steps",
            "columns": ["task", "batch", "made by", "patches/s", "waiting for batches"],
            "rows": training,
        },
        "gpu-step": {
            "command": f"denoise, batches of {words.batch[-1]} patches of {patches}",
            "columns": ["step", "patches/s"],
            "rows": steps,
        },
        "gpu-restore": {
            "command": "`irae speed restore`, picture and result on the device",
            "columns": ["model", "picture", "precision", "ms", "megapixels/s", "peak GB"],
            "rows": restoring,
        },
    }
    day = datetime.now(UTC).date().isoformat()
    content = {"machine": machine, "date": day, "command": "", "tables": tables}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
