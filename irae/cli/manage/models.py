"""``irae models``."""

from __future__ import annotations

from typing import Any

import typer

from irae.cli.options import Json


def models(json_: Json = False) -> None:
    """List the packaged models: task, parameters, training data and measured scores.

    Example: irae models
    """
    import json

    from irae.models.checkpoints.model_file import (
        load_density,
        load_model,
        load_patch_density,
        packaged_densities,
        packaged_models,
        packaged_patch_densities,
    )

    listed: list[dict[str, Any]] = []
    for name in packaged_models():
        model = load_model(name)
        listed.append(
            {
                "name": name,
                "task": model.task,
                "network": model.spec.network,
                "parameters": model.parameters,
                "card": model.spec.card,
            }
        )
    densities = [load_density(name) for name in packaged_densities()]
    of_patches = [load_patch_density(name) for name in packaged_patch_densities()]
    for density in [*densities, *of_patches]:
        listed.append(
            {
                "name": density.name,
                "task": "density" if density in densities else "density of patches",
                "network": density.spec.network,
                "parameters": density.parameters,
                "card": density.spec.card,
            }
        )
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
