"""Draw the pictures of docs/density.md and docs/tutorials/density.md, by the commands they show.

python scripts/density_figures.py [--faces RUN]

``--faces`` names a density of ``density/celeba32.yaml``, for samples at three temperatures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"


def irae(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "irae", *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--faces")
    faces = parser.parse_args().faces
    for temperature in () if faces is None else ("0.5", "0.7", "1.0"):
        sheet = ["-n", "16", "--columns", "16", "--temperature", temperature]
        picture = FIGURES / f"density-faces-{temperature}.png"
        irae("sample", faces, *sheet, "-o", str(picture), "--overwrite")
    sheet = ["-n", "64", "--temperature", "0.7", "--seed", "0", "--columns", "16"]
    irae("sample", "fashion", *sheet, "-o", str(FIGURES / "density-samples.png"), "--overwrite")
    with tempfile.TemporaryDirectory() as folder:
        irae("sample", "fashion", "-n", "8", "--temperature", "0.7", "--seed", "1", "-o", folder)
        ends = [str(Path(folder) / f"{number}.png") for number in (0, 1)]
        strip = ["--steps", "9", "--enlarge", "2", "-o", str(FIGURES / "density-strip.png")]
        irae("interpolate", *ends, "--model", "fashion", *strip, "--overwrite")


if __name__ == "__main__":
    main()
