from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from irae.cli.research.data import app
from irae.data.registry import REGISTRY
from irae.errors import DataError

runner = CliRunner()


def test_list(layouts: Path) -> None:
    (layouts / "CUB_200_2011/images.txt").unlink()
    (layouts / "flowers-102").rename(layouts / "elsewhere")
    result = runner.invoke(app, ["list", "--root", str(layouts)])
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["NAME", "PICTURES", "HERE", "TERMS", "PATH", "FROM"]
    assert [row.split()[:3] for row in rows] == [
        ["celeba", "202,599", "7"],
        ["flowers", "8,189", "no"],
        ["birds", "11,788", "incomplete"],
    ]


def test_list_for_programs(layouts: Path) -> None:
    (layouts / "CUB_200_2011/images.txt").unlink()
    result = runner.invoke(app, ["list", "--json", "--root", str(layouts)])
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert list(rows) == list(REGISTRY)
    assert rows["celeba"]["present"] is True
    assert rows["celeba"]["pictures_present"] == 7
    assert rows["birds"]["present"] is False
    assert "images.txt is missing" in rows["birds"]["problems"][0]
    assert rows["birds"]["download_bytes"] == 1_150_585_339
    assert rows["flowers"]["path"] == str(layouts / "flowers-102")


@pytest.mark.parametrize("name", REGISTRY)
def test_check_of_a_whole_set(layouts: Path, name: str) -> None:
    result = runner.invoke(app, ["check", name, "--root", str(layouts)])
    assert result.exit_code == 0
    assert "all can be read" in result.stdout
    assert f"the complete set has {REGISTRY[name].pictures:,} pictures" in result.stderr


def test_check_names_every_fault(layouts: Path) -> None:
    faces = layouts / "celeba/img_align_celeba"
    (faces / "000003.jpg").unlink()
    (faces / "000005.jpg").write_bytes((faces / "000005.jpg").read_bytes()[:500])
    (faces / "000007.jpg").write_bytes(b"")
    result = runner.invoke(app, ["check", "celeba", "--root", str(layouts)])
    assert result.exit_code == 1
    assert result.stdout == ""
    for name in ("000003.jpg", "000005.jpg", "000007.jpg"):
        assert name in result.stderr
    assert len(result.stderr.splitlines()) == 3


def test_check_says_a_missing_set_once(tmp_path: Path) -> None:
    result = runner.invoke(app, ["check", "flowers", "--root", str(tmp_path)])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "irae data download flowers" in result.stderr


def test_check_of_a_folder(layouts: Path) -> None:
    result = runner.invoke(app, ["check", str(layouts / "flowers-102/jpg")])
    assert result.exit_code == 0
    assert "all 8; all can be read" in result.stdout


@pytest.mark.slow
def test_check_beside_the_project(shared_data: Path) -> None:
    result = runner.invoke(app, ["check", "birds", "--root", str(shared_data)])
    assert result.exit_code == 0
    assert "train 1,710, val 190, test 550" in result.stdout


def test_download_of_a_set_that_is_there(layouts: Path) -> None:
    result = runner.invoke(app, ["download", "birds", "--root", str(layouts)])
    assert result.exit_code == 0
    assert result.stdout == f"{layouts / 'CUB_200_2011'}: train 18, val 2, test 4\n"
    assert "already there" in result.stderr
    assert "non-commercial research" in result.stderr


def test_download_of_an_unknown_name(tmp_path: Path) -> None:
    result = runner.invoke(app, ["download", "oil", "--root", str(tmp_path)])
    assert isinstance(result.exception, DataError)


@pytest.mark.parametrize("command", ["list", "download", "check"])
def test_help_has_an_example(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: irae data {command}" in result.stdout
