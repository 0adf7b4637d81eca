"""``irae models``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from irae.cli.options import Json

if TYPE_CHECKING:
    from irae.models.loaded import LoadedModel
    from irae.models.loaded_network import LoadedNetwork


def models(json_: Json = False) -> None:
    """List the packaged models: task, parameters, training data and measured scores.

    Example: irae models
    """
    import json

    from irae.models.checkpoints.model_file import (
        load_density,
        load_detector,
        load_model,
        load_patch_density,
        packaged_densities,
        packaged_detectors,
        packaged_models,
        packaged_patch_densities,
    )

    found: list[tuple[str, LoadedModel | LoadedNetwork[Any], str]] = [
        (name, load_model(name), "") for name in packaged_models()
    ]
    found += [(name, load_density(name), "density") for name in packaged_densities()]
    found += [
        (name, load_patch_density(name), "density of patches")
        for name in packaged_patch_densities()
    ]
    found += [(name, load_detector(name), "find damage") for name in packaged_detectors()]
    listed: list[dict[str, Any]] = [
        {
            "name": name,
            "task": purpose or model.spec.task,
            "network": model.spec.network,
            "parameters": model.parameters,
            "card": model.spec.card,
        }
        for name, model, purpose in found
    ]
    if json_:
        typer.echo(json.dumps(listed, indent=2))
        return
    for entry in listed:
        card = entry["card"]
        typer.echo(f"{entry['name']}: {entry['task']}, {entry['parameters']:,} parameters")
        typer.echo(f"  trained on: {card.get('data', 'not stated')}")
        for row in card.get("measured", []):
            typer.echo(f"  {row}")
    if not listed:
        typer.echo("no packaged models; train one with irae train", err=True)
