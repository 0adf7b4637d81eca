"""Checkpoints from strangers: no code runs, nothing is written elsewhere, no size is trusted.

Everything that reads a model, weights of others or a run is tried with files made to harm it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import resource
import struct
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from irae.errors import IraeError, TrainingError
from irae.models.checkpoints.model_file import load_model, save_model
from irae.models.checkpoints.safe_pickle import read_pickle
from irae.models.checkpoints.third_party import load_foreign
from irae.models.networks.registry import NETWORKS, build_network, resolve_options
from irae.training.checkpoint import STATE_FILE, load_state

MEMORY, ADDRESS_SPACE = 1 << 28, 8 << 30


def status(key: str) -> int:
    """A line of the kernel's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Whatever a file claims, little memory is used, and no great deal asked for."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    held = status("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + ADDRESS_SPACE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert status("VmHWM") - held < MEMORY


@pytest.fixture(autouse=True)
def nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files of a test's folder are those that it made, and the one above has no new ones."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    yield
    assert not list(home.iterdir())
    assert not (tmp_path.parent / "evil").exists()
    assert not Path("/tmp/evil").exists()


def refused(read: Callable[[Path], object], path: Path, *words: str) -> None:
    """One line that names the file and holds the words."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(IraeError) as caught:
            read(path)
    said = str(caught.value)
    assert str(path) in said or str(path.parent) in said
    assert said.isprintable()
    assert len(said) < 700
    assert "for this machine's memory" not in said
    assert "allocate" not in said
    for word in words:
        assert word in said


# --- code -----------------------------------------------------------------------------------------


class _Payload:
    """Its pickle calls a function when it is opened."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def payloads() -> dict[str, object]:
    trace = "touch executed"
    return {
        "system": _Payload(os.system, trace),
        "eval": _Payload(eval, "open('executed', 'w')"),
        "exec": _Payload(exec, "open('executed', 'w')"),
        "open": _Payload(open, "executed", "w"),
        "mkdir": _Payload(os.mkdir, "executed"),
        "getattr": _Payload(getattr, "text", "format"),
        "torch": _Payload(torch.save, {}, "executed"),
        "load": _Payload(torch.load, "other.pt"),
        "hub": _Payload(torch.hub.set_dir, "executed"),
        "state": OrderedDict(a=_Payload(os.system, trace)),
    }


def wrapped(payload: object) -> dict[str, bytes]:
    """The payload in each container that a reader may try."""
    plain, zipped, old = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pickle.dump(payload, plain, protocol=2)
    torch.save({"state_dict": payload}, zipped)
    torch.save({"state_dict": payload}, old, _use_new_zipfile_serialization=False)
    arrays = io.BytesIO()
    with zipfile.ZipFile(arrays, "w") as archive:
        body = io.BytesIO()
        held = np.empty(1, object)
        held[0] = payload
        np.lib.format.write_array(body, held, allow_pickle=True)
        archive.writestr("w0.npy", body.getvalue())
        archive.writestr("b0.npy", pickle.dumps(payload))
    return {
        "plain": plain.getvalue(),
        "proto4": pickle.dumps(payload, protocol=4),
        "proto0": pickle.dumps(payload, protocol=0),
        "zipped": zipped.getvalue(),
        "old": old.getvalue(),
        "arrays": arrays.getvalue(),
    }


@pytest.mark.parametrize("kind", payloads())
def test_code_is_never_run(kind: str, tmp_path: Path) -> None:
    for container, data in wrapped(payloads()[kind]).items():
        for suffix, read in (
            (".pt", load_foreign),
            (".npz", load_foreign),
            (".safetensors", load_model),
            (".pt", load_model),
        ):
            path = tmp_path / f"{container}{suffix}"
            path.write_bytes(data)
            refused(read, path)
        run = tmp_path / f"run-{container}"
        run.mkdir()
        for name in (STATE_FILE, "best.safetensors"):
            (run / name).write_bytes(data)
        refused(load_state, run)
        refused(load_model, run)


def test_the_payloads_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would pass for nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(wrapped(payloads()["system"])["plain"])
    assert (tmp_path / "executed").exists()


# --- sizes ----------------------------------------------------------------------------------------


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def described(**spec: object) -> dict[str, str]:
    """The metadata of a model file."""
    whole = {"format": 1, "network": "irae", "options": {}, "task": "denoise", "card": {}}
    return {"irae": json.dumps({**whole, **spec})}


def claims(shape: list[int], kind: str = "F32", end: int = 4) -> dict[str, object]:
    return {
        "__metadata__": described(),
        "a": {"dtype": kind, "shape": shape, "data_offsets": [0, end]},
    }


SAFETENSORS = {
    "elements": safetensors(claims([10**12], end=4 * 10**12), bytes(4)),
    "elements alone": safetensors(claims([10**12]), bytes(4)),
    "overflow": safetensors(claims([2**32, 2**32]), bytes(4)),
    "negative": safetensors(claims([-1]), bytes(4)),
    "type": safetensors(claims([1], "F4096"), bytes(4)),
    "complex": safetensors(claims([1], "C64", 8), bytes(8)),
    "header length": safetensors(claims([1]), bytes(4), 2**63),
    "header of 90 MB": safetensors(claims([1]), bytes(4), 90_000_000),
    "no header": b"",
    "half a length": b"\1\0",
    "header no object": safetensors([1, 2]),
    "nested": safetensors(b'{"a":' * 100_000),
    "metadata no text": safetensors({"__metadata__": {"irae": {"network": "irae"}}}),
    "nothing": safetensors({}),
    "no tensors": safetensors({"__metadata__": described()}),
    "name of a path": safetensors(
        {
            "__metadata__": described(),
            "../../evil": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
        bytes(4),
    ),
    "long name": safetensors(
        {
            "__metadata__": described(options={"width": 1, "depth": 1, "levels": 1}),
            "n\n" * 500_000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
        bytes(4),
    ),
}


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_model_files_that_lie_about_sizes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(SAFETENSORS[kind])
    refused(load_model, path)
    path.rename(tmp_path / "best.safetensors")
    refused(load_model, tmp_path)


HUGE = 10**9
SPECS: dict[str, dict[str, object]] = {
    "wide": {"options": {"width": HUGE}},
    "deep": {"options": {"depth": HUGE}},
    "both": {"options": {"width": HUGE, "depth": HUGE, "levels": HUGE}},
    "wide but allowed": {"options": {"width": 4096, "depth": 4096}},
    "levels": {"options": {"width": 1, "depth": 1, "levels": 4096}},
    "levels that overflow": {"options": {"width": 1, "depth": 1, "levels": 40}},
    "condition": {"options": {"condition_channels": 4000}},
    "dncnn": {"network": "dncnn", "options": {"width": 4096, "layers": 4096}},
    "ffdnet": {"network": "ffdnet", "options": {"width": 4000, "layers": 4000}},
    "rednet": {"network": "rednet", "options": {"width": 4000, "layers": 4000}},
    "unet": {"network": "unet", "options": {"width": 4000, "depth": 4000}},
    "rdn": {"network": "rdn", "options": {"width": 4000, "blocks": 4000, "growth": 4000}},
    "pconv": {"network": "pconv", "task": "inpaint", "options": {"width": 4000, "depth": 4000}},
    "invdn": {"network": "invdn", "options": {"width": 4000, "blocks": 4000}},
    "negative": {"options": {"width": -5}},
    "no number": {"options": {"width": "wide"}},
    "fraction": {"options": {"width": 8.0}},
    "yes": {"options": {"width": True}},
    "infinite": {"options": {"hole_fill": float("inf")}},
    "text for a number": {"options": {"hole_fill": "black"}},
    "list": {"options": {"width": [8]}},
    "wide scale": {"options": {"form": "multiscale", "scales": [8, HUGE]}},
    "infinite scale": {"options": {"form": "multiscale", "scales": [8, float("inf")]}},
    "no scales": {"options": {"form": "multiscale", "scales": []}},
    "many scales": {"options": {"form": "multiscale", "scales": [1] * 100_000}},
    "unknown choice": {"options": {"coupling": "quadratic\n" * 1000}},
    "unknown option": {"options": {"__class__": 1}},
    "network of a path": {"network": "../../evil"},
    "network no name": {"network": ["irae"]},
    "long network": {"network": "n\n" * 100_000},
    "options no object": {"options": [1]},
    "task of a path": {"task": "../../evil"},
    "task no name": {"task": {"denoise": 1}},
    "long task": {"task": "n\n" * 100_000},
    "card no object": {"card": "text"},
    "cost no number": {"card": {"bfloat16_cost": "little"}},
    "other format": {"format": "9\n" * 1000},
    "more keys": {"run": "touch evil"},
}


@pytest.mark.parametrize("kind", SPECS)
def test_model_files_that_describe_what_they_do_not_hold(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(3)}, path, described(**SPECS[kind]))
    refused(load_model, path)


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 100_000, '{"format":' * 100_000, "", "null", "1", "[]", "{}", '{"format": 1}'),
        '{"format": 1, "options": ' + "9" * 5000 + "}",
        '{"format": 1e999, "options": {}}',
        "\ud800\udfff".encode("utf-16", "surrogatepass").decode("utf-16"),
    ],
    ids=range(11),
)
def test_headers_that_are_absurd(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(3)}, path, {"irae": text})
    refused(load_model, path)


@pytest.mark.parametrize("depth", [20, 500])
def test_a_card_may_hold_anything_but_not_without_end(depth: int, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    options = resolve_options("irae", None, {"width": 4, "depth": 1, "levels": 1})
    network = build_network("irae", options)
    card = {"a": nested, "../../evil": "/tmp/evil"}
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, path, described(options=options, card=card))
    if depth > 100:
        refused(load_model, path)
        return
    loaded = load_model(path)
    assert loaded.spec.card == card
    save_model(tmp_path / "again.safetensors", loaded.network, loaded.spec)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_read_within_its_bounds(name: str, tmp_path: Path) -> None:
    """What is refused above is no true network."""
    kind = NETWORKS[name]
    small = {"width": 8, "depth": 3, "layers": 4, "blocks": 2, "growth": 4}
    small |= {"shift_level": 1, "attention_level": 1}
    preset = next(iter(kind.presets), None)
    options = resolve_options(name, preset, {})
    options |= {key: value for key, value in small.items() if key in options}
    torch.manual_seed(0)
    network = build_network(name, options)
    path = tmp_path / "m.safetensors"
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, path, described(network=name, options=options, task="denoise"))
    loaded = load_model(path)
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], value.float()), key


# --- weights of others ----------------------------------------------------------------------------


def zipped(content: object, change: Callable[[bytes], bytes] = lambda data: data) -> bytes:
    """A checkpoint as PyTorch saves it, its pickle changed."""
    stream, out = io.BytesIO(), io.BytesIO()
    torch.save(content, stream)
    with zipfile.ZipFile(stream) as archive, zipfile.ZipFile(out, "w") as changed:
        for member in archive.infolist():
            data = archive.read(member)
            data = change(data) if member.filename.endswith("data.pkl") else data
            changed.writestr(member.filename, data)
    return out.getvalue()


def by_hand(*operations: bytes) -> bytes:
    """A checkpoint of PyTorch's kind whose pickle is these operations."""
    body = b"\x80\x02" + b"".join(operations) + b"."
    assert list(pickletools.genops(body))
    return zipped({}, lambda _: body)


def whole(number: int) -> bytes:
    packed = number.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(packed)]) + packed


def call(module: str, name: str, *numbers: int) -> bytes:
    arguments = b"(" + b"".join(whole(number) for number in numbers) + b"t"
    return f"c{module}\n{name}\n".encode() + arguments + b"R"


FEW = torch.zeros(2, 2)
CHECKPOINTS: dict[str, Callable[[], bytes]] = {
    "bytearray": lambda: by_hand(call("builtins", "bytearray", 10**12)),
    "tensor": lambda: by_hand(call("torch", "Tensor", 10**6, 10**6)),
    "storage": lambda: by_hand(call("torch.storage", "UntypedStorage", 10**12)),
    "typed storage": lambda: by_hand(call("torch", "FloatStorage", 10**12)),
    "meta": lambda: by_hand(call("torch._utils", "_rebuild_meta_tensor_no_storage", 10**12)),
    "memo": lambda: by_hand(b"Nr\xff\xff\xff\x7f"),
    "claimed": lambda: zipped({"a": FEW}, lambda data: data.replace(b"K\x04", whole(10**12), 1)),
    "expanded": lambda: zipped({"state_dict": {"a": torch.ones(1).expand(10**6, 10**6)}}),
    "a thousand names": lambda: zipped(
        {f"model.{i}.weight": tensor for tensor in [torch.ones(9, 9, 3, 3)] for i in range(2000)}
    ),
    "compressed": lambda: compressed({"state_dict": {"a": torch.zeros(4_000_000)}}),
    "twice": lambda: doubled(zipped({"state_dict": {"a": FEW}})),
    "paths": lambda: renamed(zipped({"state_dict": {"a": FEW}})),
    "endless": lambda: by_hand(b"(" * 20_000 + b"l" * 20_000),
    "itself": lambda: by_hand(b"]q\x00h\x00a"),
    "old claimed": lambda: old({"a": FEW}).replace(b"K\x04", whole(10**12), 1),
    "old numbers": lambda: old({"a": FEW})[:-24] + struct.pack("<Q", 2**62) + bytes(16),
    "old cut": lambda: old({"a": FEW})[:-10],
    "old shape": lambda: old({"a": torch.ones(1).expand(10**6, 10**6)}),
    "levels": lambda: zipped({"state_dict": authors(level=9999, step=9999)}),
    "digits": lambda: zipped({"state_dict": {**authors(), f"model.{'9' * 5000}.bias": FEW}}),
    "layers": lambda: zipped({f"model.{'9' * 5000}.weight": torch.ones(3, 3, 3, 3)}),
    "no tensors": lambda: zipped({"state_dict": {"a": "text"}}),
    "bias of another shape": lambda: zipped(
        {
            "model.0.weight": torch.ones(8, 3, 3, 3),
            "model.0.bias": torch.ones(400_000, 1),
            "model.1.running_mean": torch.ones(400_000),
            "model.1.weight": torch.ones(8),
        }
    ),
    "sparse": lambda: zipped({"model.0.weight": torch.sparse_coo_tensor(size=(10**6, 10**6))}),
    "quantised": lambda: zipped(
        {"model.0.weight": torch.quantize_per_tensor(FEW, 0.1, 0, torch.quint8)}
    ),
    "complex": lambda: zipped({"model.0.weight": torch.ones(3, 3, 3, 3, dtype=torch.complex64)}),
    "empty": lambda: b"",
    "names of paths": lambda: zipped({"state_dict": {"../../evil": FEW, "/tmp/evil": FEW}}),
    "folder of a path": lambda: zipped({"output": "/tmp/evil", "state_dict": {}}),
}  # fmt: skip


def old(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def compressed(content: object) -> bytes:
    stream, out = io.BytesIO(), io.BytesIO()
    torch.save(content, stream)
    with zipfile.ZipFile(stream) as archive, zipfile.ZipFile(out, "w", 8) as packed:
        for member in archive.infolist():
            packed.writestr(member.filename, archive.read(member))
    return out.getvalue()


def doubled(data: bytes) -> bytes:
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("other/data.pkl", archive.read(archive.namelist()[0]))
    return stream.getvalue()


def renamed(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as changed:
        for member in archive.infolist():
            changed.writestr(f"../../evil/{member.filename}", archive.read(member))
        changed.writestr("/tmp/evil", "text")
    return out.getvalue()


def authors(level: int = 0, step: int = 0) -> dict[str, torch.Tensor]:
    at = "module.block1.flowlevels"
    return {
        f"{at}.0.flowsteps.0.2.conv1.weight": torch.ones(4, 6, 3, 3),
        f"{at}.{level}.flowsteps.{step}.0.scale": torch.ones(1),
    }


@pytest.mark.parametrize("kind", CHECKPOINTS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_checkpoints_that_ask_for_more_than_they_hold(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(CHECKPOINTS[kind]())
    assert path.stat().st_size < 8_000_000
    refused(load_foreign, path)
    run = tmp_path / "run"
    run.mkdir()
    path.rename(run / STATE_FILE)
    refused(load_state, run)


def test_checkpoints_of_both_kinds_are_still_read(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    shared_by_two = torch.arange(6.0).reshape(2, 3)
    content = {
        "a": shared_by_two,
        "b": shared_by_two.T,
        "c": torch.ones(3, dtype=torch.bfloat16),
        "d": torch.nn.Parameter(torch.ones(2)),
        "e": [1, 2.5, "text", None, True, (torch.ones(1, dtype=torch.bool),)],
    }
    for new in (True, False):
        torch.save(content, path, _use_new_zipfile_serialization=new)
        read = read_pickle(path)
        assert read["e"] == content["e"]
        for key in "abcd":
            assert torch.equal(read[key], content[key])


def arrays(shape: str, body: bytes = b"", kind: str = "<f4") -> bytes:
    """An archive of one array with this header."""
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w0.npy", data)
        archive.writestr("b0.npy", data)
    return out.getvalue()


def many(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(f"../evil{number}.npy", b"x")
            archive.writestr(f"/tmp/evil/{number}.npy", b"x")
    return out.getvalue()


def bomb() -> bytes:
    """A few kB that unpack to 32 MiB."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w0.npy", "w", force_zip64=True) as stream,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 23,)}
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(32):
            stream.write(bytes(1 << 20))
    return out.getvalue()


ARRAYS: dict[str, Callable[[], bytes]] = {
    "huge": lambda: arrays("(1000000, 1000000)"),
    "overflow": lambda: arrays("(4611686018427387904, 16)"),
    "negative": lambda: arrays("(-4, 4)"),
    "nested": lambda: arrays("(" * 3000 + ")" * 3000),
    "code": lambda: arrays("__import__('os').system('touch executed')"),
    "wide items": lambda: arrays("(1,)", kind="<U1000000000"),
    "short": lambda: arrays("(4, 4)", bytes(4)),
    "objects": lambda: arrays("(1,)", pickle.dumps(payloads()["system"]), "|O"),
    "many": lambda: many(2000),
    "bomb": bomb,
    "one array alone": lambda: b"\x93NUMPY\x01\x00" + bytes(200),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_archives_of_arrays_that_lie(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.npz"
    monkeypatch.setattr("irae.models.checkpoints.third_party.MAX_BYTES", 1 << 24)
    path.write_bytes(ARRAYS[kind]())
    refused(load_foreign, path)


# --- run folders ----------------------------------------------------------------------------------

STATE = {
    "step": 3,
    "seconds": 1.5,
    "best": 20.0,
    "network": {"a": FEW},
    "ema": {"a": FEW},
    "optimizer": {"state": {}, "param_groups": []},
    "config": {},
}


def test_states_of_the_wrong_types_are_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / STATE_FILE)
    assert load_state(tmp_path)["step"] == 3
    for key, value in [
        *(("step", "../3"), ("step", -1), ("step", True), ("step", 1.5), ("seconds", "long")),
        *(("best", None), ("network", []), ("network", {"a": 1}), ("network", {1: FEW})),
        *(("ema", FEW), ("optimizer", {}), ("optimizer", [1]), ("config", "text")),
        ("optimizer", {"state": [], "param_groups": {}}),
    ]:
        torch.save({**STATE, key: value}, tmp_path / STATE_FILE)
        with pytest.raises(TrainingError, match=key) as caught:
            load_state(tmp_path)
        assert str(tmp_path / STATE_FILE) in str(caught.value)
    torch.save([STATE], tmp_path / STATE_FILE)
    refused(load_state, tmp_path)


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.yaml", "samples", "last.ckpt"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_run_whose_files_lie_elsewhere_is_refused(
    name: str, dangling: bool, tmp_path: Path
) -> None:
    """A link in the folder of a stranger's run would have files written where it points."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    torch.save(STATE, run / STATE_FILE)
    if not dangling:
        outside.mkdir() if name == "samples" else torch.save(STATE, outside)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    refused(load_state, run)
    (run / name).unlink()
    torch.save(STATE, run / STATE_FILE)
    (tmp_path / "linked").symlink_to(run)
    assert load_state(tmp_path / "linked")["step"] == 3


def test_a_link_inside_the_samples_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    torch.save(STATE, run / STATE_FILE)
    (run / "samples" / "00.png").symlink_to("../../outside.png")
    refused(load_state, run)
