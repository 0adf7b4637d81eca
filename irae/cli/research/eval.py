"""``irae eval``: measure a model on a set of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irae.cli.options import Device, Ensemble, Root, known_task, print_measured
from irae.errors import UsageError
from irae.tasks import get_task, task_names
from irae.tasks.base import number

if TYPE_CHECKING:
    import torch

    from irae.evaluation.density.scores import DensityEvaluation
    from irae.evaluation.results import Evaluation
    from irae.tasks.base import Degradation, Task

# The task of each option for the damage; --levels and --task are for any task.
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
            help="Packaged model, model file or run; or bm3d, nlm, telea, navier-stokes,"
            " fsr, patchmatch.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", help="celeba, flowers, birds (their test part), or a folder."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            help="In place of --data: a folder of real pairs, NAME_noisy.* and NAME_clean.*.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            callback=known_task,
            help=f"{', '.join(task_names())}. Default: the model's.",
        ),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option("--levels", help="Levels of damage, as for --sigma, --quality or --hole."),
    ] = None,
    sigma: Annotated[
        str | None, typer.Option("--sigma", help="Noise, 0 to 255. Default: 15,25,50.")
    ] = None,
    clipped: Annotated[
        bool, typer.Option("--clipped", help="Clip and round noisy pictures to 8 bits.")
    ] = False,
    quality: Annotated[
        str | None, typer.Option("--quality", help="JPEG, 1 to 100. Default: 10,20,30,40.")
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
        typer.Option("--luma", help="Measure on Y, from gray pictures; always for gray models."),
    ] = False,
    ensemble: Ensemble = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of noise, holes, masks.")] = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="fp32 or bf16.")] = "fp32",
    threads: Annotated[
        int | None, typer.Option("--threads", help="CPU threads. Default: PyTorch's choice.")
    ] = None,
    root: Root = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every picture's scores as JSON.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also write every picture's scores here.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the CSV file.")] = False,
) -> None:
    """Measure a model: PSNR and SSIM of damaged and of restored pictures, at each level of damage.

    "in" is the damaged picture, "out" the restored one clipped to [0, 1].
    The masks of --mask are sorted, shuffled by the seed, used in turn and scaled to each picture
    by nearest neighbour (authors: drawn until one has 10 to 50 % holes). Models that need the
    noise level get that of --sigma, which with --pairs is one number.

    Of a density, bits per dimension are measured instead, with uniform dequantisation; --data is
    then also fashion or mnist, and options of damage are not for it. Of a folder that it has learnt
    from, the pictures count that were held out.

    Example: irae eval --model denoise --data photos/ --sigma 25
    """
    # Options are checked first, before slow imports.
    given = {
        "--sigma": sigma,
        "--clipped": clipped or None,
        "--quality": quality,
        "--subsampling": subsampling,
        "--mask": mask,
        "--hole": hole,
    }
    if max_images is not None and max_images < 1:
        raise UsageError(f"--max-images is {max_images}; use at least 1")
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; use at least 1")
    if threads is not None and threads > 1024:
        raise UsageError(f"--threads is {threads}; use at most 1024")
    if (data is None) == (pairs is None):
        raise UsageError("give clean pictures with --data, or real pairs with --pairs")
    asked = None if task is None else get_task(task)
    _check_csv(csv, overwrite)

    import torch

    from irae.data.registry import open_data
    from irae.evaluation.evaluate import evaluate
    from irae.models.checkpoints.model_file import is_density, load_model
    from irae.runtime import network_dtype, select_device
    from irae.tasks.matching import suits, task_of
    from irae.tasks.pairs import open_pairs
    from irae.tasks.protocols import get_protocol

    network_dtype(precision)
    rules = get_protocol(protocol)
    where = select_device(device)
    if is_density(model):
        damage = {**given, "--task": task, "--levels": levels, "--pairs": pairs, "--csv": csv}
        named = [option for option, value in damage.items() if value is not None]
        if named:
            raise UsageError(f"{named[0]} is for models that restore; {model!r} is a density")
        found = _evaluate_density(model, str(data), where, precision, root, max_images, seed)
        print_measured(found, as_json)
        return
    loaded = load_model(model)
    chosen = asked or task_of(loaded)
    if not suits(loaded, chosen):
        raise UsageError(f"model {model!r} is for {task_of(loaded).name}, not for --task {task}")
    for option, value in given.items():
        if pairs is not None and value is not None and option != "--sigma":
            raise UsageError(f"{option} is for damage that irae makes; drop it or --pairs")
        if pairs is None and value is not None and _OPTIONS[option] != chosen.name:
            raise UsageError(
                f"{option} is for {_OPTIONS[option]}; model {model!r} is for {chosen.name}"
            )
    if pairs is not None:
        pictures, real = open_pairs(pairs, chosen.name, None if sigma is None else _told(sigma))
        degradations: list[Degradation] = [real]
    else:
        degradations = _levels(chosen, given, levels)
        pictures = open_data(str(data), root=root, split="test", protocol=rules.name)
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
    print_measured(evaluation, as_json)
    # Written last, so that a full disk does not lose the measurement.
    if csv is not None:
        _write_csv(csv, evaluation)


def _evaluate_density(
    model: str,
    data: str,
    device: torch.device,
    precision: str,
    root: Path | None,
    max_images: int | None,
    seed: int,
) -> DensityEvaluation:
    """Measure the bits per dimension of a density on the test part of a set."""
    from irae.data.registry import data_root
    from irae.evaluation.density.pictures import open_test
    from irae.evaluation.density.scores import evaluate_density
    from irae.models.checkpoints.model_file import load_density

    loaded = load_density(model).to(device, precision)
    pictures = open_test(loaded, data, data_root(root))
    return evaluate_density(loaded, pictures[:max_images], data, seed=seed)


def _levels(task: Task, given: dict[str, Any], levels: str | None) -> list[Degradation]:
    """Return the levels of damage that the options name."""
    option = f"--{task.level_option}"
    text = given.get(option)
    if text is not None and levels is not None:
        raise UsageError(f"{option} and --levels are the same thing; give one")
    option, text = (option, text) if levels is None else ("--levels", levels)
    said = {name: given.get(f"--{name}") for name in task.variants}
    try:
        return task.levels(text, **{name: value for name, value in said.items() if value})
    except UsageError as error:
        raise UsageError(
            f"{option} {text!r}: {error}" if text is not None else str(error)
        ) from None


def _told(sigma: str) -> float:
    """Parse the one noise level for real pairs."""
    try:
        return number(sigma, 0, 255)
    except UsageError as error:
        raise UsageError(f"--sigma {sigma!r}: {error}") from None


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
        # Names of files need not be UTF-8; what is not is written as \udcNN.
        with temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    try:
        write_atomically(path, save)
    except OSError as error:
        raise UsageError(
            f"--csv {path} cannot be written ({error.strerror or error}); give another name"
        ) from None
