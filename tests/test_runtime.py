"""Devices, precisions and counter-based generators."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irae import runtime
from irae.errors import UsageError
from irae.runtime import (
    device_memory,
    generator,
    network_dtype,
    resolve_precision,
    select_device,
    versions,
)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**40), 2**70), min_size=1, max_size=4))
def test_a_generator_is_a_function_of_its_keys(keys: list[int]) -> None:
    first = torch.rand(3, generator=generator(*keys))
    assert torch.equal(first, torch.rand(3, generator=generator(*keys)))


def test_neighbouring_keys_give_unrelated_streams() -> None:
    draws = torch.stack(
        [torch.randn(500, generator=generator(s, i)) for s in range(6) for i in range(6)]
    )
    correlation = torch.corrcoef(draws) - torch.eye(36)
    assert correlation.abs().max() < 0.25
    assert not torch.equal(draws[1], draws[6])


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", ""])
def test_absent_devices_are_one_line(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        select_device(name)


def test_precisions() -> None:
    assert network_dtype("bf16") == torch.bfloat16
    with pytest.raises(UsageError, match="fp16"):
        network_dtype("fp16")


def test_versions_name_the_torch_in_use() -> None:
    assert torch.__version__.startswith(versions()["torch"])


def test_auto_precision_is_what_the_device_is_faster_at(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    for faster, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(runtime, "bfloat16_is_faster", lambda device, f=faster: f)
        assert resolve_precision("auto", device) == expected
        assert resolve_precision("fp32", device) == "fp32"
    with pytest.raises(UsageError, match="fp16"):
        resolve_precision("fp16", device)


def test_the_memory_of_a_cpu_is_the_machines() -> None:
    assert 2**28 < device_memory(torch.device("cpu")) < 2**50
