"""``irae eval``: measure a model on a set of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import Device, Ensemble
from irae.errors import UsageError

if TYPE_CHECKING:
    from irae.data.protocols import Degradation, Hole, Jpeg
    from irae.evaluation.evaluate import Evaluation

DEFAULT_SIGMAS = "15,25,50"
DEFAULT_QUALITIES = "10,20,30,40"

# Which task each option of the damage belongs to.
_OPTIONS = {
    "--sigma": "denoise",
    "--clipped": "denoise",
    "--quality": "jpeg",
    "--subsampling": "jpeg",
    "--mask": "inpaint",
    "--hole": "inpaint",
}


def eval_(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Packaged model, model file or run; or bm3d, nlm, telea, navier-stokes.",
        ),
    ],
    data: Annotated[
        str, typer.Option("--data", help="celeba, flowers, birds (their test part), or a folder.")
    ],
    task: Annotated[
        str | None, typer.Option("--task", help="denoise, jpeg or inpaint. Default: the model's.")
    ] = None,
    sigma: Annotated[
        str | None, typer.Option("--sigma", help=f"Noise, 0 to 255. Default: {DEFAULT_SIGMAS}.")
    ] = None,
    clipped: Annotated[
        bool, typer.Option("--clipped", help="Noisy pictures in 8 bits, as in a real file.")
    ] = False,
    quality: Annotated[
        str | None, typer.Option("--quality", help=f"JPEG, 1 to 100. Default: {DEFAULT_QUALITIES}.")
    ] = None,
    subsampling: Annotated[
        str | None, typer.Option("--subsampling", help="4:2:0 or 4:4:4. Default: 4:2:0.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="Folder of masks, white = hole.")
    ] = None,
    hole: Annotated[
        str | None, typer.Option("--hole", help="center:N or box:N, a hole of N x N pixels.")
    ] = None,
    protocol: Annotated[
        str, typer.Option("--protocol", help="standard, or authors (as published).")
    ] = "standard",
    max_images: Annotated[
        int | None, typer.Option("--max-images", help="Only the first N pictures.")
    ] = None,
    luma: Annotated[
        bool,
        typer.Option("--luma", help="Measure on Y, from gray pictures; gray models always are."),
    ] = False,
    ensemble: Ensemble = False,
    seed: Annotated[int, typer.Option("--seed", help="Of noise, holes and masks.")] = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="fp32 or bf16.")] = "fp32",
    threads: Annotated[
        int | None, typer.Option("--threads", help="CPU threads. Default: PyTorch's choice.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", help="Folder the data sets lie in. Default: $IRAE_DATA, else ./data."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every picture's scores, for programs to read.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also write every picture's scores here.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the CSV file.")] = False,
) -> None:
    """Measure a model: PSNR and SSIM of damaged and of restored pictures, at each level of damage.

    "in" is the damaged picture, "out" the restored one clipped to [0, 1].
    The masks of --mask are sorted, shuffled by the seed, dealt out to the pictures in turn and
    scaled to each by nearest neighbour (authors: drawn until one has 10 to 50 % holes). Models
    that are told the noise level are told that of --sigma.

    Example: irae eval --model denoise --data photos/ --sigma 25
    """
    # What can be refused at once is refused before anything slow is imported.
    given = {
        "--sigma": sigma is not None,
        "--clipped": clipped,
        "--quality": quality is not None,
        "--subsampling": subsampling is not None,
        "--mask": mask is not None,
        "--hole": hole is not None,
    }
    if max_images is not None and max_images < 1:
        raise UsageError(f"--max-images is {max_images}; use at least 1")
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; use at least 1")
    if task not in (None, *_OPTIONS.values()):
        raise UsageError(f"--task {task!r} is unknown; use denoise, jpeg or inpaint")
    _check_csv(csv, overwrite)

    import torch

    from irae.data.protocols import get_protocol
    from irae.data.registry import open_data
    from irae.evaluation.evaluate import evaluate
    from irae.models.files import load_model
    from irae.runtime import network_dtype, select_device

    network_dtype(precision)
    rules = get_protocol(protocol)
    where = select_device(device)
    loaded = load_model(model)
    if task not in (None, loaded.task):
        raise UsageError(f"model {model!r} is for {loaded.task}, not for --task {task}")
    for option, present in given.items():
        if present and _OPTIONS[option] != loaded.task:
            raise UsageError(
                f"{option} is for {_OPTIONS[option]}; model {model!r} is for {loaded.task}"
            )
    degradations = _degradations(
        loaded.task, sigma, clipped, quality, subsampling or "4:2:0", mask, hole
    )
    pictures = open_data(data, root=root, split="test", protocol=rules.name)
    if threads is not None:
        torch.set_num_threads(threads)
    loaded.ensemble = ensemble
    evaluation = evaluate(
        loaded.to(where, precision),
        pictures,
        degradations,
        protocol=protocol,
        seed=seed,
        max_images=max_images,
        luma=luma or None,
        progress=True,
    )
    if as_json:
        import json

        typer.echo(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
    else:
        typer.echo(evaluation.describe())
    # Last, so that a full disk does not cost what was measured.
    if csv is not None:
        _write_csv(csv, evaluation)


def _degradations(
    task: str,
    sigma: str | None,
    clipped: bool,
    quality: str | None,
    subsampling: str,
    mask: Path | None,
    hole: str | None,
) -> list[Degradation]:
    from irae.data.protocols import MaskFolder, Noise

    if task == "denoise":
        text = DEFAULT_SIGMAS if sigma is None else sigma
        return [Noise(level, clipped) for level in _numbers("--sigma", text, 0, 255)]
    if task == "jpeg":
        text = DEFAULT_QUALITIES if quality is None else quality
        return [_jpeg(level, subsampling) for level in _numbers("--quality", text, 1, 100)]
    if mask is not None and hole is not None:
        raise UsageError("--mask and --hole exclude each other; give one")
    if mask is not None:
        return [MaskFolder.open(mask)]
    if hole is None:
        raise UsageError("an inpainting model needs holes; give --mask FOLDER or --hole center:N")
    return [_hole(hole)]


def _numbers(option: str, text: str, low: int, high: int) -> list[float]:
    """Numbers from low to high, parted by commas."""
    numbers = []
    for word in text.split(","):
        try:
            number = float(word)
        except ValueError:
            raise UsageError(
                f"{option} {text!r}: {word.strip()!r} is no number; write them as in 10,20"
            ) from None
        # Written so that "nan" fails too.
        if not low <= number <= high:
            raise UsageError(f"{option} {text!r}: {word.strip()} is not from {low} to {high}")
        numbers.append(number)
    return numbers


def _jpeg(quality: float, subsampling: str) -> Jpeg:
    from irae.data.protocols import Jpeg

    if not quality.is_integer():
        raise UsageError(f"--quality {quality:g} is no whole number")
    if subsampling == "4:2:0":
        return Jpeg(int(quality), "4:2:0")
    if subsampling == "4:4:4":
        return Jpeg(int(quality), "4:4:4")
    raise UsageError(f"--subsampling {subsampling!r} is unknown; use 4:2:0 or 4:4:4")


def _hole(text: str) -> Hole:
    from irae.data.protocols import Hole

    place, _, side = text.partition(":")
    # Nine digits: Python refuses to read numbers of thousands.
    if side.isascii() and side.isdigit() and len(side) <= 9 and int(side) >= 1:
        if place == "center":
            return Hole("center", int(side))
        if place == "box":
            return Hole("box", int(side))
    raise UsageError(f"--hole {text!r} is malformed; write center:N or box:N, N pixels from 1")


def _check_csv(path: Path | None, overwrite: bool) -> None:
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"--csv {path} is a folder; give a file name")
    if path.exists() and not overwrite:
        raise UsageError(f"--csv {path} exists; give another name or --overwrite")


def _write_csv(path: Path, evaluation: Evaluation) -> None:
    import csv

    from irae.writing import write_atomically

    rows = evaluation.rows()

    def save(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    try:
        write_atomically(path, save)
    except OSError as error:
        raise UsageError(
            f"--csv {path} cannot be written ({error.strerror or error}); give another name"
        ) from None
