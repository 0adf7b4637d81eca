"""Devices, precisions and counter-based generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irae import runtime
from irae.config import TrainingSection
from irae.errors import UsageError
from irae.models.loaded import LoadedModel
from irae.models.module import RestoringModule
from irae.restoring.restorer import Restorer
from irae.runtime import (
    device_memory,
    free_host_memory,
    generator,
    host_threads,
    network_dtype,
    resolve_precision,
    select_device,
    versions,
)
from irae.training.distributed import ALONE
from irae.training.objectives.restoration import Restoration
from irae.training.step import TrainStep


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


def fake_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> torch.device:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    runtime.bfloat16_is_faster.cache_clear()
    return torch.device("cuda")


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (9, 0), (12, 0)])
def test_newer_gpus_get_bfloat16_without_a_measurement(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_convolution", lambda *given: pytest.fail("was measured"))
    assert resolve_precision("auto", fake_gpu(monkeypatch, capability)) == "bf16"


def test_older_gpus_are_measured_between_events_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            said.append("event")

        def synchronize(self) -> None:
            said.append("wait")

        def elapsed_time(self, after: Event) -> float:
            return 12.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    device = torch.device("cuda")
    assert runtime._seconds(lambda: said.append("work"), device) == 0.012
    assert said == ["event", "work", "event", "wait"]
    for times, expected in (((0.001, 0.005), "bf16"), ((0.005, 0.001), "fp32")):
        speed = dict(zip((torch.bfloat16, torch.float32), times, strict=True))
        monkeypatch.setattr(runtime, "_convolution", lambda device, dtype, s=speed: s[dtype])
        assert resolve_precision("auto", fake_gpu(monkeypatch, (7, 5))) == expected
    runtime.bfloat16_is_faster.cache_clear()


def test_auto_precision_of_a_gpu_is_the_faster_one(cuda: torch.device) -> None:
    runtime.bfloat16_is_faster.cache_clear()
    times = [runtime._convolution(cuda, dtype) for dtype in (torch.bfloat16, torch.float32)]
    assert (resolve_precision("auto", cuda) == "bf16") == (times[0] < times[1])


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 as PyTorch has it by default for cuDNN, and as its users often set it for cuBLAS."""
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = True
    yield
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("how", ["to", "Restorer", "module", "training"])
def test_wherever_a_network_is_put_on_a_device_float32_is_float32(
    how: str, denoiser: LoadedModel
) -> None:
    if how == "to":
        denoiser.to("cpu")
    elif how == "Restorer":
        Restorer(denoiser, device="cpu")
    elif how == "module":
        RestoringModule(denoiser.network).to("cpu")
    else:
        network = denoiser.network.requires_grad_(True)
        TrainStep(network, TrainingSection(), ALONE, Restoration())
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.usefixtures("tf32")
def test_a_library_users_convolutions_on_a_gpu_keep_all_bits(
    cuda: torch.device, denoiser: LoadedModel
) -> None:
    torch.backends.cudnn.allow_tf32 = True  # The fixture has switched it off.
    noisy = torch.rand(1, 3, 64, 64, generator=generator(1))
    there = RestoringModule(denoiser.network).to(cuda)(noisy.to(cuda)).cpu()
    here = RestoringModule(denoiser.network).cpu()(noisy)
    torch.testing.assert_close(there, here, atol=1e-5, rtol=0)


def test_threads_are_shared_among_the_ranks_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda pid: set(range(64)))
    for ranks, expected in (("1", 16), ("4", 16), ("8", 8), ("64", 1), ("100", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        assert host_threads() == expected
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda pid: {0, 3, 5})
    assert host_threads() == 3


def test_free_memory_is_less_than_all_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_host_memory()
    assert 0 < free < device_memory(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert free_host_memory() < free / 100


def test_the_memory_of_a_cpu_is_the_machines() -> None:
    assert 2**28 < device_memory(torch.device("cpu")) < 2**50
