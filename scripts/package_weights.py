"""Turn the best model of a run into a packaged one: half precision, measured, with its card.

    python scripts/package_weights.py runs/denoise denoise --data DIR

DIR holds ``testsets/CBSD68``, ``testsets/LIVE1`` and ``masks/irregular``. The card in the model
file's header and the Markdown beside it hold what ``irae eval`` and ``irae roundtrip`` print.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from portable_config import without_folders, without_places
from regression_scores import regression_scores

from irae.config import RunConfig, check_config
from irae.data.folder import PictureSet
from irae.data.registry import open_data
from irae.evaluation.evaluate import evaluate
from irae.models.checkpoints.checksums import write_checksums
from irae.models.checkpoints.model_file import load_model, save_model
from irae.models.loaded import LoadedModel
from irae.tasks import get_task
from irae.tasks.base import Degradation
from irae.tasks.denoise import Noise
from irae.tasks.inpaint import MaskFolder, Strokes
from irae.tasks.jpeg import Jpeg
from irae.tasks.photo import NoisyJpeg
from irae.training.validation import Score, Validation

WEIGHTS = Path(__file__).resolve().parent.parent / "irae" / "weights"
COSTED_IMAGES = 4
LARGEST_SHIFT = 0.005  # dB that storing in half precision may cost


ROUND_TRIPS: dict[str, list[Degradation]] = {
    "denoise": [Noise((15, 25, 50)[i % 3], clipped=i % 2 == 1) for i in range(6)],
    "jpeg": [Jpeg(10), Jpeg(20), Jpeg(40)],
    "inpaint": [Strokes()],
    "photo": [NoisyJpeg(8, 95), NoisyJpeg(25, 80), NoisyJpeg(10)],
}
"""What is done to the pictures in turn whose way back is measured."""


def levels(task: str, data: Path) -> tuple[str, list[Degradation]]:
    """The test set of a task and what the card measures on it."""
    if task == "denoise":
        sigmas = [Noise(sigma, clipped) for clipped in (False, True) for sigma in (15, 25, 50)]
        return "testsets/CBSD68", list(sigmas)
    if task == "jpeg":
        return "testsets/LIVE1", [Jpeg(quality) for quality in (10, 20, 30, 40)]
    if task == "photo":
        return "testsets/CBSD68", get_task(task).levels()
    return "testsets/CBSD68", [MaskFolder.open(data / "masks" / "irregular")]


def round_trips(model: LoadedModel, data: Path, count: int | None) -> dict[str, Any]:
    """What comes back over CBSD68 of pictures degraded, restored and degraded again.

    ``round_trip`` is the largest error in plain float32, in 8-bit units. Of a lifted model
    ``exact_round_trip`` says how many pictures degraded in 8 bits come back bit for bit, with
    networks in float32 and in bfloat16.
    """
    pictures = open_data("testsets/CBSD68", root=data, split="test")
    worst, exact, trips = 0.0, 0, 0
    for index in range(min(len(pictures), count or len(pictures))):
        clean = pictures.load(index).float() / 255
        damages = ROUND_TRIPS[model.task]
        damaged = damages[index % len(damages)].degrade(clean, (index,))
        degraded = damaged.pixels
        mask = None if damaged.mask is None else damaged.mask[None]
        given, _, recovered = model.round_trip(degraded[None], mask, exact=False)
        worst = max(worst, float((given - recovered).abs().max()) * 255)
        for precision in ("fp32", "bf16") if model.exact else ():
            eight_bits = (degraded.clamp(0, 1) * 255).round()
            model.to("cpu", precision)
            _, _, recovered = model.round_trip(eight_bits[None] / 255, mask)
            same = (recovered[0] * 255).round() == eight_bits
            # What fills a hole is not in 8 bits.
            exact += bool((same if damaged.mask is None else same | damaged.mask).all())
            trips += 1
        model.to("cpu")
    found: dict[str, Any] = {"round_trip": worst}
    if model.exact:
        found["exact_round_trip"] = f"{exact} of {trips}"
    return found


def bfloat16_cost(
    model: LoadedModel, pictures: PictureSet, degradations: list[Degradation]
) -> float:
    """dB lost by coupling networks in bfloat16: the most over all levels, on a few pictures."""
    results = []
    for precision in ("fp32", "bf16"):
        model.to("cpu", precision)
        results.append(evaluate(model, pictures, degradations, max_images=COSTED_IMAGES).levels)
    model.to("cpu")
    pairs = zip(*results, strict=True)
    return max((a.output["psnr"] or 0) - (b.output["psnr"] or 0) for a, b in pairs)


def processor() -> str:
    """The processor's name and cores, as the card states them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.processor()


def markdown(name: str, card: dict[str, Any], parameters: int) -> str:
    """The card as a page."""
    stated = ["data", "validation", "steps", "patches", "hours", "machine", "seed", "command"]
    rows = "\n".join(f"| {key} | {card[key]} |" for key in stated if key in card)
    table = "\n".join(card["measured"])
    history = ""
    if "history" in card:
        keys = ["machine", "minutes", "patches", "validation"]
        lines = [f"| {' | '.join(str(each[key]) for key in keys)} |" for each in card["history"]]
        head = f"| {' | '.join(keys)} |\n|---|---:|---:|---:|"
        history = "\n".join(["## Training so far", "", head, *lines, "", ""])
    exact = ""
    if "exact_round_trip" in card:
        exact = (
            f"Restored picture and remainder give {card['exact_round_trip']} pictures of CBSD68, "
            "degraded in 8 bits, back bit for bit (networks in float32 and in bfloat16). "
        )
    if "dead_units" in card:
        exact += f"{card['dead_units']:.1%} of the hidden units never fire. "
    return (
        f"# {name}\n\n{parameters:,} parameters. Trained by this toolkit on:\n\n"
        f"| | |\n|---|---|\n{rows}\n\n{history}## Measured\n\n{table}\n\n"
        f"{exact}Round trip degraded, restored, degraded in plain float32 over CBSD68: largest "
        f"error {card['round_trip']:.4f}/255.\n"
    )


def started(run: Path) -> dict[str, str]:
    """How and where a run was started, given its folder or a file in it, for a card."""
    folder = run if run.is_dir() else run.parent
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return {"command": without_places(told["command"]), "machine": processor()}


def validated(model: LoadedModel) -> Score:
    """The score of a run's weights on the run's validation pictures, in float32."""
    config = check_config(model.spec.card["config"], "the card")
    return Validation(config).score(model.to("cpu", "fp32"))


def trained_on(config: RunConfig, machine: str | None) -> str:
    """Where a run with this config was trained; ``machine`` if it was not here."""
    return (
        machine or f"{processor()}, threads used: {config.training.threads or 'all'}"
    ) + f", networks in {config.training.precision}"


def history(
    model: LoadedModel, start: str | None, score: Score, machine: str | None
) -> list[dict[str, Any]]:
    """The trainings that led to a run's weights: those of its start, and its own."""
    before: list[dict[str, Any]] = []
    if start is not None:
        before = load_model(start).spec.card.get("history", [])
    config = check_config(model.spec.card["config"], "the card")
    own = {
        "machine": trained_on(config, machine),
        "minutes": round(model.spec.card["seconds"] / 60, 1),
        "patches": model.spec.card["patches"],
        "validation": f"{score.mean:.3f} dB",
    }
    return [*before, own]


def package(
    run_folder: Path,
    name: str,
    data: Path,
    *,
    max_images: int | None = None,
    note: str = "",
    machine: str | None = None,
) -> None:
    """Package the best model of a run as ``irae/weights/NAME``; its card is printed.

    Args:
        run_folder: of a run that has validated.
        name: a task.
        data: where the test sets lie.
        max_images: measure fewer; the card says so.
        note: said after the data in the card.
        machine: where it was trained, if it was not here.
    """
    best = load_model(run_folder)
    config = without_folders(best.spec.card["config"])
    test_set, degradations = levels(best.task, data)
    pictures = open_data(test_set, root=data, split="test")

    with tempfile.TemporaryDirectory() as folder:
        halved_file = Path(folder) / f"{name}.safetensors"
        save_model(halved_file, best.network, best.spec, half=True)
        halved = load_model(halved_file)
    halved.name = name
    full = evaluate(best, pictures, degradations[:1], max_images=10).levels[0].output["psnr"]
    half = evaluate(halved, pictures, degradations[:1], max_images=10).levels[0].output["psnr"]
    if full is None or half is None or abs(full - half) > LARGEST_SHIFT:
        raise SystemExit(f"half precision moves the PSNR from {full} to {half}; not packaged")

    measured = evaluate(halved, pictures, degradations, max_images=max_images, progress=True)
    sources = ", ".join(f"{s['source']} ({s['weight']:g})" for s in config["data"]["train"])
    trained, score = best.spec.card, validated(best)
    start = best.spec.card["config"]["model"]["init"]
    card = {
        "data": sources
        + (f"; starts from the weights of {Path(start).stem}" if start else "")
        + (f"; {note}" if note else ""),
        "validation": config["data"]["validation"]["source"],
        "steps": trained["steps"],
        "patches": trained["patches"],
        "hours": round(trained["seconds"] / 3600, 2),
        "seed": trained["seed"],
        **started(run_folder),
        "machine": trained_on(check_config(trained["config"], "the card"), machine),
        "measured": measured.describe().splitlines(),
        **round_trips(halved, data, max_images),
        "dead_units": round(score.dead, 4),
        "history": history(best, start, score, machine),
        "bfloat16_cost": round(bfloat16_cost(halved, pictures, degradations), 4),
        "guard": regression_scores(halved.to("cpu", "fp32")),
        "config": config,
        "versions": trained["versions"],
    }
    config["model"]["init"] = start and Path(start).stem
    config["degradation"].pop("masks", None)
    spec = replace(best.spec, card=card)
    save_model(WEIGHTS / f"{name}.safetensors", best.network, spec, half=True)
    write_checksums(WEIGHTS)
    page = markdown(name, card, best.parameters)
    (WEIGHTS / f"{name}.md").write_text(page, encoding="utf-8")
    print(page)


def state_scores_anew(name: str, note: str = "") -> None:
    """Measure the regression scores of a packaged model again; its weights stay as they are."""
    model = load_model(WEIGHTS / f"{name}.safetensors")
    card = {**model.spec.card, "guard": regression_scores(model)}
    if note:
        card["data"] += f"; {note}"
        page = markdown(name, card, model.parameters)
        (WEIGHTS / f"{name}.md").write_text(page, encoding="utf-8")
    spec = replace(model.spec, card=card)
    save_model(WEIGHTS / f"{name}.safetensors", model.network, spec, half=True)
    write_checksums(WEIGHTS)
    print(name, card["guard"])


def main() -> None:
    """Package one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="Or 'guard': only measure NAME's regression scores.")
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--max-images", type=int, help="Measure fewer; the card says so.")
    parser.add_argument("--note", default="", help="Said after the data in the card.")
    parser.add_argument("--machine", help="Where the run was trained, if it was not here.")
    arguments = parser.parse_args()
    if str(arguments.run) == "guard":
        state_scores_anew(arguments.name, arguments.note)
        return
    package(
        arguments.run,
        arguments.name,
        arguments.data,
        max_images=arguments.max_images,
        note=arguments.note,
        machine=arguments.machine,
    )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
