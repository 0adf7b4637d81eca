"""`irae doctor`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from irae import doctor
from irae.errors import ModelError
from irae.models.checkpoints.model_file import load_model, packaged_densities, packaged_models

Program = Callable[..., CompletedProcess[str]]


@pytest.mark.slow
def test_this_installation_works(irae: Program) -> None:
    done = irae("doctor", "--device", "cpu", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["ok"]
    checks = {check["name"]: check for check in report["checks"]}
    for name in (*packaged_models(), *packaged_densities()):
        assert checks[f"weights {name}"]["ok"]
        assert checks[f"self-test {name}"]["facts"]["round_trip"] <= doctor.ROUND_TRIP
    assert checks["versions"]["facts"]["torch"] == torch.__version__.partition("+")[0]
    assert checks["cpu"]["facts"]["precision"] in ("fp32", "bf16")
    assert checks["speed"]["facts"]["seconds"] > 0
    assert "peers" in checks["extras"]["facts"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TIMED_SIZE", (16, 16))
    monkeypatch.setattr(doctor, "packaged_models", lambda: {"denoise": Path()})
    monkeypatch.setattr(doctor, "packaged_densities", dict)


def test_damaged_weights_are_a_line_and_an_exit_code(
    irae: Program, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    fault = "denoise.safetensors: changed since it was packaged; install irae again"
    monkeypatch.setattr(doctor, "check_packaged_weights", lambda: {"denoise": fault})
    done = irae("doctor", "--device", "cpu")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "install irae again" in line]
    assert "FAIL  weights denoise" in done.stdout
    # What is damaged is not run.
    assert "self-test denoise" not in done.stdout


def test_a_model_that_does_not_come_back_fails_its_self_test(
    irae: Program, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def spoilt(name: str) -> Any:
        model = load_model("denoise")
        for key, parameter in model.network.named_parameters():
            if key.endswith("conv2.weight"):
                parameter.mul_(40)
        return model

    monkeypatch.setattr(doctor, "load_model", spoilt)
    done = irae("doctor", "--device", "cpu")
    assert done.returncode == 1
    assert "FAIL  self-test denoise" in done.stdout
    assert len(done.stderr.splitlines()) == 1


def test_an_error_of_a_check_is_a_check_that_failed() -> None:
    def broken() -> doctor.Check:
        raise ModelError("x.safetensors: cannot be read")

    check = doctor._guarded("self-test", broken)
    assert not check.ok
    assert "cannot be read" in check.says
