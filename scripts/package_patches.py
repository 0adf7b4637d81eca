"""Turn the best model of a run of density/patches.yaml into the packaged one: half precision.

python scripts/package_patches.py runs/patches [NAME]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from package_weights import started
from portable_config import without_folders

from irae.models.checkpoints.checksums import write_checksums
from irae.models.checkpoints.model_file import load_patch_density, save_model

WEIGHTS = Path(__file__).resolve().parent.parent / "irae" / "weights" / "patches"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("name", nargs="?", default="patches")
    chosen = parser.parse_args()
    model = load_patch_density(chosen.run)
    card = dict(model.spec.card)
    card["config"] = without_folders(card["config"])
    sources = [each["source"] for each in card["config"]["data"]["train"]]
    card["data"] = f"photographs, {', '.join(sources)}"
    card |= started(Path(chosen.run))
    network = model.network
    card["measured"] = [
        f"validation {card['validation_bits_per_dim']:.3f} bits/dim of blocks of "
        f"{network.block}×{network.block} pixels, given a ring of {network.ring}",
        f"round trip {card['round_trip']:.4f}/255",
        f"trained for {card['steps']:,} steps, {card['seconds'] / 60:.1f} min",
    ]
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    path = WEIGHTS / f"{chosen.name}.safetensors"
    save_model(path, network, replace(model.spec, card=card), half=True)
    lines = [f"# {chosen.name}", "", f"A density of patches, trained on {card['data']}.", ""]
    lines += [f"- {line}" for line in card["measured"]]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_checksums(WEIGHTS)
    print("\n".join(card["measured"]))


if __name__ == "__main__":
    main()
