"""Draw the pictures of docs/density.md and docs/tutorials/density.md, by the commands they show.

python scripts/density_figures.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"


def irae(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "irae", *words], check=True)


def main() -> None:
    sheet = ["-n", "64", "--temperature", "0.7", "--seed", "0", "--columns", "16"]
    irae("sample", "fashion", *sheet, "-o", str(FIGURES / "density-samples.png"), "--overwrite")
    with tempfile.TemporaryDirectory() as folder:
        irae("sample", "fashion", "-n", "8", "--temperature", "0.7", "--seed", "1", "-o", folder)
        ends = [str(Path(folder) / f"{number}.png") for number in (0, 1)]
        strip = ["--steps", "9", "--enlarge", "2", "-o", str(FIGURES / "density-strip.png")]
        irae("interpolate", *ends, "--model", "fashion", *strip, "--overwrite")


if __name__ == "__main__":
    main()
