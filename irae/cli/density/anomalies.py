"""``irae anomalies``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import Device, Json, Root, print_measured
from irae.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def anomalies(
    model: Annotated[
        str, typer.Option("--model", help="A packaged density, model file or run.")
    ] = "fashion",
    data: Annotated[
        str,
        typer.Option("--data", help="Pictures of the model's kind: a set (its test part) or DIR."),
    ] = "fashion",
    other: Annotated[
        str, typer.Option("--other", help="Pictures of another kind: a set (its test part) or DIR.")
    ] = "mnist",
    background: Annotated[
        str | None,
        typer.Option("--background", help="Background density for the likelihood ratio."),
    ] = None,
    max_images: Annotated[
        int | None, typer.Option("--max-images", help="Only the first N pictures of each.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of noise and resampling.")] = 0,
    device: Device = "auto",
    root: Root = None,
    json_: Json = False,
) -> None:
    """Measure how well scores tell pictures of another kind from the model's own.

    Prints the AUROC of every anomaly score, and of baselines without a model: the size as PNG and
    WebP, the mean, the share of zeros. "ahead": the 95 % interval lies above that of the best
    baseline; otherwise the model adds nothing here.

    Example: irae anomalies --model fashion --data fashion --other mnist
    """
    if max_images is not None and max_images < 2:
        raise UsageError(f"--max-images is {max_images}; use at least 2")
    from irae.data.registry import data_root
    from irae.evaluation.density.anomalies import compare
    from irae.evaluation.density.pictures import open_test
    from irae.evaluation.density.scores import check_background
    from irae.models.checkpoints.model_file import load_density
    from irae.runtime import select_device

    loaded = load_density(model).to(select_device(device))
    second = None if background is None else load_density(background).to(loaded.device)
    if second is not None:
        check_background(loaded, second)

    def read(name: str) -> tuple[str, Tensor]:
        return name, open_test(loaded, name, data_root(root))[:max_images]

    print_measured(compare(loaded, read(data), read(other), second, seed=seed), json_)
