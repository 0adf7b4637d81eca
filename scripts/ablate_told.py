"""Compare the blind model `photo` with one that is told the damage, after equal time of training.

    python scripts/ablate_told.py --data DIR [--minutes 12] [--only told] [--write]

The told network gets three constant planes in channels that would be zero: the level of the noise,
its correlation and the JPEG quality. In training they are the true values, made inexact at random.
It is scored twice: told what the toolkit measures in the picture (`estimated`), and told the true
values (`true`), the most that better estimates could bring. Both start from the packaged weights
and see the same patches in the same order, at a constant rate, for so many minutes of processor
time. DIR holds the pictures of ``configs/release/photo.yaml``; no test set is used. With
``--write`` the table goes to ``docs/results/told.json``; rows of variants that were not trained now
stay in it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from auto.results import RESULTS, write_tables
from torch import Tensor, nn

from irae.config import RunConfig, load_config
from irae.evaluation.results import markdown_table
from irae.imaging.analysis.jpeg_quality import estimate_jpeg_quality
from irae.imaging.analysis.noise import measure_noise
from irae.imaging.io.files import read_picture
from irae.imaging.metrics import psnr
from irae.models.networks.irae import PRESETS
from irae.models.networks.lifted import PICTURE_CHANNELS, LiftedIRAE
from irae.models.networks.registry import NETWORKS, NetworkKind
from irae.runtime import select_device, use_device
from irae.tasks.base import Batch
from irae.tasks.batch_random import BatchRandom, RandomColumns
from irae.tasks.mixture import Damage, Mixture
from irae.tasks.pairs import find_pairs, read_pair, without_drift
from irae.tasks.photo import KINDS, TASK
from irae.training.run import Run, begin

NAME = "told"
COMMAND = "python scripts/ablate_told.py --data DIR --write"
LEVELS = ("8/95", "15/90", "25/80", "10", "0/90", "0/95")
SIDE = 256
UNDAMAGED = 100
"""The quality that stands for no JPEG."""

_PLANES = 3

# Standard deviations by which true values are made inexact, as estimates are.
_SIGMA_ERROR, _CORRELATION_ERROR, _QUALITY_ERROR = 0.25, 0.1, 2.0
_ERRORS = 5  # Key of a random stream of a step.


class ToldIRAE(LiftedIRAE):
    """A lifted network that is told three numbers for each picture; see `encode_damage`."""

    def __init__(self, *, width: int, couplings: int, hidden: int) -> None:
        super().__init__(width=width, couplings=couplings, hidden=hidden, takes_sigma=True)
        self.filled = PICTURE_CHANNELS + 4 * _PLANES
        self.takes_sigma = False  # The task `photo` gives no sigma; `train` tells it all the same.


def encode_damage(sigma: Tensor, correlation: Tensor, quality: Tensor) -> Tensor:
    """Map noise level in 8-bit units, correlation and quality, each ``B``, to ``B 3 1 1``.

    Typical values become zero, so that the start from a blind network is not disturbed much; the
    factor 255 is what `irae.models.call.condition_for` divides by.
    """
    level = ((sigma + 0.5).log2() - 2) / 4
    lost = (UNDAMAGED - quality) / 50
    return 255 * 0.5 * torch.stack([level, correlation - 0.3, lost - 0.2], 1)[:, :, None, None]


def residual_noise(degraded: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Measure the true level and correlation of the noise of ``B C H W``, each ``B``."""
    off = 255 * (degraded - clean)
    off = off - off.mean((2, 3), keepdim=True)
    power = off.square().mean((1, 2, 3)).clamp(min=1e-4)
    along = (off[..., 1:] * off[..., :-1]).mean((1, 2, 3))
    down = (off[:, :, 1:] * off[:, :, :-1]).mean((1, 2, 3))
    return power.sqrt(), ((along + down) / 2 / power).clamp(0, 0.95)


class ToldMixture(Mixture):
    """The mixture of `photo`, with the true damage of each patch as its ``sigma``."""

    def __init__(self, config: RunConfig, workers: Any, root: Path) -> None:
        super().__init__(config.degradation, config.data.patch, workers, root)
        assert self._pairs is not None
        self._qualities = [
            float(_estimated_quality(noisy.float() / 255)) for noisy in self._pairs._noisy
        ]
        self._damage: Damage | None = None
        self._pair_quality: dict[int, float] = {}

    def draw_damage(self, random: RandomColumns) -> Damage:
        """See `Mixture.draw_damage`."""
        self._damage = super().draw_damage(random)
        return self._damage

    def put_pairs(self, clean: Tensor, degraded: Tensor, random: RandomColumns) -> dict[int, int]:
        """See `Mixture.put_pairs`."""
        chosen = super().put_pairs(clean, degraded, random)
        self._pair_quality = {row: self._qualities[number] for row, number in chosen.items()}
        return chosen

    def __call__(self, clean: Tensor, gray: Tensor, random: BatchRandom) -> Batch:
        """See `irae.tasks.base.DamageBatch`."""
        batch = super().__call__(clean, gray, random)
        damage = self._damage
        assert damage is not None
        sigma, correlation = residual_noise(batch.degraded, batch.clean)
        noisy = damage.kind < KINDS.index("jpeg")
        quality = torch.where(damage.compressed, damage.quality.float(), float(UNDAMAGED))
        for row, found in self._pair_quality.items():
            noisy[row], quality[row] = True, found
        sigma, correlation = sigma * noisy, correlation * noisy
        errors = random.columns(_ERRORS)
        a, b, c = (sum((errors.uniform(-1, 1) for _ in range(3)), 0.0) for _ in range(3))
        return Batch(
            batch.clean,
            batch.degraded,
            sigma=encode_damage(
                sigma * torch.exp(_SIGMA_ERROR * a).float(),
                (correlation + _CORRELATION_ERROR * b).clamp(0, 0.95).float(),
                (quality + _QUALITY_ERROR * c).clamp(5, UNDAMAGED).float(),
            ),
        )


def _estimated_quality(pixels: Tensor) -> int:
    found = estimate_jpeg_quality(pixels)
    return UNDAMAGED if found is None else found.quality


def estimated(degraded: Tensor) -> Tensor:
    """What the toolkit measures in a picture ``3 H W``, encoded."""
    noise = measure_noise(degraded)
    sigma, correlation = (0.0, 0.0) if noise is None else (noise.sigma, noise.correlation)
    numbers = (sigma, correlation, float(_estimated_quality(degraded)))
    return encode_damage(*(torch.tensor([number]) for number in numbers))


def true_damage(degraded: Tensor, clean: Tensor, level: str) -> Tensor:
    """The true damage of a picture ``3 H W``, encoded as in training."""
    sigma, correlation = residual_noise(degraded[None], clean[None])
    noise, _, given = level.partition("/")
    if noise == "0":
        sigma, correlation = 0 * sigma, 0 * correlation
    quality = float(given) if given else float(_estimated_quality(degraded))
    return encode_damage(sigma, correlation, torch.tensor([quality]))


def read_cases(data: Path) -> list[tuple[str, Tensor, Tensor]]:
    """Read level, clean and degraded picture of each case."""
    cases = []
    for index, pair in enumerate(find_pairs(data / "real_val")):
        noisy, clean = read_pair(pair)
        cases.append(("camera JPEG" if index < 16 else "low light", clean, noisy))
    for index, path in enumerate(sorted((data / "photos_val").glob("*.jpg"))[:16]):
        clean = read_picture(path).pixels[:, 32 : 32 + SIDE, 80 : 80 + SIDE]
        for level in LEVELS:
            cases.append((level, clean, TASK.level(level).degrade(clean, (index,)).pixels))
    return cases


@torch.no_grad()
def score(network: nn.Module, cases: list[Any], tell: str | None) -> dict[str, float]:
    """Mean PSNR in dB by level; the network is told what `tell` names."""
    found: dict[str, list[float]] = {}
    for level, clean, degraded in cases:
        height, width = (side // 2 * 2 for side in clean.shape[1:])
        clean, degraded = clean[:, :height, :width], degraded[:, :height, :width]
        condition = None
        if tell is not None:
            codes = estimated(degraded) if tell == "estimated" else None
            target = without_drift(degraded, clean) if "/" not in level else clean
            codes = true_damage(degraded, target, level) if codes is None else codes
            condition = codes / 255
        restored = network(degraded[None], condition).clamp(0, 1)
        found.setdefault(level, []).append(psnr(restored, clean[None]).item())
    return {level: sum(values) / len(values) for level, values in found.items()}


def train(name: str, minutes: float, data: Path) -> Run:
    """Train one variant for so many minutes of processor time."""
    network = "irae-told" if name == "told" else "irae"
    overrides = [
        f"data.root={data}",
        f"model={{network: {network}, preset: default, init: photo}}",
        "training={learning_rate: 0.0005, final_learning_rate: 0.0005, warmup: 100, ema: 0.998,"
        " steps: 1000000, threads: 1, restart_dead: false, reversible: false}",
    ]
    config = load_config(
        Path(__file__).resolve().parents[1] / "configs" / "release" / "photo.yaml", overrides
    )
    device = select_device("cpu")
    use_device(device)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = begin(config, Path(folder) / "run", device)
        if name == "told":
            run.batches._damage = ToldMixture(config, run.batches._workers, data)
            run.network.takes_sigma = run.ema.network.takes_sigma = True
        batches = run.batches.prefetched(run.step)
        start = time.process_time()
        while time.process_time() - start < 60 * minutes:
            run.train_step.step(next(batches), run.step + 1)
            run.advance()
            if run.step % 200 == 0:
                print(f"{name}: {run.step} steps", flush=True)
        batches.close()  # type: ignore[attr-defined]
    return run


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--only", choices=("blind", "told"))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    form = {key: value for key, value in PRESETS["default"].items() if key != "form"}
    NETWORKS["irae-told"] = NetworkKind(ToldIRAE, {"default": form}, invertible=True)
    cases = read_cases(arguments.data)
    levels = list(dict.fromkeys(level for level, _, _ in cases))
    path = RESULTS / f"{NAME}.json"
    tables = json.loads(path.read_text(encoding="utf-8"))["tables"] if path.exists() else {}
    rows = {row[0]: row for row in tables.get(NAME, {"rows": []})["rows"]}
    for name in ("blind", "told"):
        if arguments.only not in (None, name):
            continue
        run = train(name, arguments.minutes, arguments.data.resolve())
        network = run.ema.network.eval()
        for tell in (None,) if name == "blind" else ("estimated", "true"):
            scores = score(network, cases, tell)
            label = name if tell is None else f"told, {tell} values"
            numbers = [f"{scores[level]:.2f}" for level in levels]
            rows[label] = [label, f"{run.step:,}", *numbers]
            print(" | ".join(rows[label]), flush=True)
    columns = ["condition", "steps", *levels]
    print(markdown_table(columns, list(rows.values())))
    if arguments.write:
        note = (
            f"PSNR in dB after {arguments.minutes:g} minutes of one core, from the packaged"
            " weights, on `real_val` and on 16 crops of `photos_val` (noise level / JPEG quality)."
        )
        table = {"columns": columns, "rows": list(rows.values())}
        write_tables(NAME, {NAME: table}, ["photo"], COMMAND, note)


if __name__ == "__main__":
    main()
