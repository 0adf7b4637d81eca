"""The wheel holds what a user needs, and works outside the checkout."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(REPOSITORY)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_configs_weights_and_templates(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for config in (REPOSITORY / "configs").rglob("*.yaml"):
        assert f"irae/configs/{config.relative_to(REPOSITORY / 'configs').as_posix()}" in names
    folder = REPOSITORY / "irae" / "weights"
    for weights in (path for path in folder.rglob("*") if path.is_file()):
        assert f"irae/weights/{weights.relative_to(folder).as_posix()}" in names
    templates = set((REPOSITORY / "irae/evaluation/report/templates").iterdir())
    assert "report.html" in {path.name for path in templates}
    for path in templates:
        assert path.relative_to(REPOSITORY).as_posix() in names
    page = set((REPOSITORY / "irae" / "ui" / "static").iterdir())
    assert {"index.html", "style.css", "app.js"} <= {path.name for path in page}
    for path in page:
        assert path.relative_to(REPOSITORY).as_posix() in names
    assert not any(name.startswith(("tests/", "scripts/")) for name in names)


def test_the_wheel_works_in_a_clean_environment_outside_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    """Installed alone into its own venv; the heavy dependencies are those of this one."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # Downloading torch again would take minutes. The finder of an editable install must not come
    # along, so only the folder is added: .pth files in it are not run.
    borrowed = sysconfig.get_path("purelib")
    (Path(site) / "borrowed.pth").write_text(f"{borrowed}\n")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)

    from PIL import Image

    Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / "noisy.png")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", "irae", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "IRAE_DATA"},
        )

    where = [python, "-c", "import irae; print(irae.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(site)
    done = run("restore", "noisy.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "noisy.restored.png").is_file()
    # The shipped configs are found; pictures to train on are not, and one line says what to do.
    done = run("train", "--config", "denoise.yaml", "-o", "run")
    assert done.returncode == 2
    assert "--data DIR" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

    (tmp_path / "pictures").mkdir()
    for index in range(4):
        noise = Image.effect_noise((40, 30), 60).convert("RGB")
        noise.save(tmp_path / "pictures" / f"{index}.png")
    small = ("--set", "data.patch=16", "--set", "training.batch=1", "--max-steps", "1")
    done = run("train", "--config", "denoise.yaml", "--data", "pictures", *small, "-o", "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("irae restore FILE --model run")
    assert run("restore", "noisy.png", "--model", "run", "-o", "again.png").returncode == 0


def test_everything_imported_is_declared() -> None:
    """Each third-party package that irae imports is a dependency in pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    used = ("gdown", "heif", "onnx", "ray", "remote", "report", "ui")
    groups = [project["dependencies"], *(extras[name] for name in used)]
    declared = {re.split(r"[>=\[]", line)[0].lower() for group in groups for line in group}
    names = {
        "PIL": "pillow",
        "pillow_heif": "pillow-heif",
        "skimage": "scikit-image",
        "yaml": "pyyaml",
        "pydantic_core": "pydantic",
    }
    imported = set()
    for path in (REPOSITORY / "irae").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"irae"}
    assert {names.get(name, name) for name in foreign} <= declared
    assert declared - {names.get(name, name) for name in foreign} <= {"tensorboard", "gdown"}
