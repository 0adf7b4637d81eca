"""What all tests share: the data beside the project, small pictures, one CPU thread."""

from __future__ import annotations

import gc
import importlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.utils import save_image

from irae.cli.app import main
from irae.models.checkpoints.model_file import load_model, save_model
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import build_network, resolve_options
from irae.runtime import upload

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("IRAE_SHARED", REPOSITORY.parent / "shared"))

# Bit-for-bit tests need one order of summation, and two cores are soon oversubscribed.
torch.set_num_threads(1)
# Of the processes that tests start, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What starts the tests in the background may ignore these signals, and every process inherits that.
if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)

# What a fixture starts marks every test that asks for it, directly or through another.
MARKER_OF_FIXTURE = {
    "chromium": "browser",
    "cluster": "cluster",
    "cuda": "cuda",
    "server": "server",
    "site": "build",
    "wheel": "build",
}
# Markers of tests that may start Python, and of all that the fast lane leaves out.
STARTS_PYTHON = {"build", "cluster", "distributed", "kill", "process", "server"}
LEFT_OUT = {*STARTS_PYTHON, "browser", "cuda", "slow"}


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole lane in two processes, and all tests of files that are named in one."""
    option = config.option
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        if f"-m{option.markexpr}" in config.getini("addopts"):
            option.markexpr = ""
    elif (
        config.pluginmanager.hasplugin("xdist")
        and "PYTEST_XDIST_WORKER" not in os.environ  # Both of the two come by here too.
        and option.numprocesses is None
        and not (option.usepdb or option.collectonly)
    ):
        option.numprocesses, option.dist, option.loadscopereorder = 2, "loadfile", False


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what fixtures start; of several processes, none is left with a long file at the end."""
    for item in items:
        for name in getattr(item, "fixturenames", ()):
            if name in MARKER_OF_FIXTURE:
                item.add_marker(MARKER_OF_FIXTURE[name])
    long = {item.path for item in items if LEFT_OUT & {mark.name for mark in item.iter_markers()}}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives to the end: all that was imported.

    It would look through a million objects again and again, for a tenth of the time of all tests.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Let no test be skipped where scripts/gpu has found a GPU: a skip could hide a failure."""
    report: pytest.TestReport = yield
    if report.skipped and os.environ.get("IRAE_GPU") == "required":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, though there is a GPU: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def no_python_unmarked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the fast lane fast: a test that starts Python says so by a marker."""
    if STARTS_PYTHON & {marker.name for marker in request.node.iter_markers()}:
        yield
        return
    start = subprocess.Popen.__init__

    def checked(self: Any, args: Any, *rest: Any, **options: Any) -> None:
        if not isinstance(args, str | bytes | Path) and sys.executable in map(str, args):
            pytest.fail("this test starts Python: mark it, with pytest.mark.process for example")
        start(self, args, *rest, **options)

    # A context of its own, which ends here: the fixture would undo all patches later than before.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", checked)
        yield


# Of Chromium, so that it needs no window and asks nobody for anything.
BROWSER_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and fixtures beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there (photographs and fixtures beside the project)")
    return SHARED


@pytest.fixture
def cuda() -> torch.device:
    """The first GPU. Without one the test is skipped; scripts/gpu only runs where there is one."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU of NVIDIA here")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda:0")


# What makes the host wait for a GPU: a number that Python reads, an operation whose result has as
# many elements as its input says, an error that is raised if a matrix is singular.
_WAITS = (
    "_local_scalar_dense", "_linalg_check_errors", "is_nonzero", "nonzero", "equal", "item",
    "masked_select", "_unique2", "unique_dim", "bincount",
)  # fmt: skip


# What makes a tensor on a device from numbers of Python, which lie in pageable memory.
_MAKES = ("as_tensor", "asarray", "new_tensor", "tensor")


class NoUploads(TorchFunctionMode):
    """Refuses copies of numbers of Python and of indices that no operator shows.

    Args:
        device: the device that they are copied to.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given, name = kwargs or {}, getattr(func, "__name__", "")
        if name in _MAKES:
            like = args[0].device if name == "new_tensor" else None
            if self.device == torch.device(given.get("device") or like or "cpu"):
                raise AssertionError(f"{name} copies numbers, which waits for the device")
        if name in ("__getitem__", "__setitem__") and args[0].device == self.device:
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            tensors = [x for x in (*parts, *args[2:]) if isinstance(x, torch.Tensor) and x.dim()]
            if any(isinstance(x, list) for x in parts) or any(
                x.device != self.device for x in tensors
            ):
                raise AssertionError("an index is copied, which waits for the device")
        return func(*args, **given)


class NoWaits(TorchDispatchMode):
    """Refuses what would make the host wait, if ``device`` were a GPU.

    Args:
        device: ``cpu`` checks every operation; ``meta`` those whose tensors are there, and copies
            from there and to there.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = torch.device(device)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        self._check(func.overloadpacket.__name__, args, given)
        return func(*args, **given)

    def _check(self, name: str, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        tensors = [x for x in tree_leaves((args, given)) if isinstance(x, torch.Tensor)]
        if name in ("_to_copy", "copy_"):
            source = tensors[-1].device
            target = tensors[0].device if name == "copy_" else given.get("device") or source
            # From memory that is not pinned, a copy waits whatever it was asked for.
            if source != target and self.device in (source, target) and not _uploads():
                raise AssertionError(f"a copy from {source} to {target} waits for the device")
        if self.device not in {x.device for x in tensors}:
            return
        if name in _WAITS:
            raise AssertionError(f"{name} waits for the device")
        if name == "index" and any(x.dtype == torch.bool for x in tensors[1:]):
            raise AssertionError("an index of bool waits for the device")


def _uploads() -> bool:
    """Whether it is `irae.runtime.upload` that is running, which copies from pinned memory."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is upload.__code__:
            return True
        frame = frame.f_back
    return False


@pytest.fixture
def no_waits() -> Callable[[str], AbstractContextManager[object]]:
    """A context in which whatever would wait for a GPU is an error: ``no_waits("meta")``.

    Numbers of Python that are copied to the device are seen if the device is not ``cpu``.
    """

    @contextmanager
    def context(device: str) -> Iterator[None]:
        with NoWaits(device), NoUploads(torch.device(device)) if device != "cpu" else nullcontext():
            yield

    return context


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with two folders, train and val, of small smooth colour pictures."""
    root = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    for folder, count in (("train", 3), ("val", 2)):
        (root / folder).mkdir()
        for index in range(count):
            coarse = torch.rand(1, 3, 6, 8, generator=generator)
            smooth = torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bicubic")
            save_image(smooth.clamp(0, 1), root / folder / f"{index}.png")
    return root


@pytest.fixture
def few_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small pool of strokes for the holes of training; drawing the whole takes a second."""
    monkeypatch.setattr("irae.tasks.masks.POOL", 16)


# Networks of seconds: in the lifted form and in the strict one.
SMALL_LIFTED: dict[str, Any] = {"width": 16, "couplings": 4, "hidden": 8}
SMALL_STRICT: dict[str, Any] = {"width": 8, "depth": 2, "levels": 2, "kernels": [1, 3]}


def make_model(path: Path, task: str, *, strength: float = 0.01, seed: int = 0) -> Path:
    """Write a small model whose weights are perturbed, so that it changes its input."""
    preset, options = "default", SMALL_LIFTED
    if task == "inpaint":
        preset, options = None, {**SMALL_STRICT, "condition_channels": 1}
    resolved = resolve_options("irae", preset, options)
    # Its weights are of its task alone, whichever tests ran before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + sum(task.encode()))
        network = build_network("irae", resolved)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += strength * torch.randn(parameter.shape, generator=generator)
    save_model(path, network, ModelSpec("irae", resolved, task))
    return path


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    tasks = ("denoise", "jpeg", "inpaint")
    return {task: make_model(folder / f"{task}.safetensors", task) for task in tasks}


@pytest.fixture
def denoiser(model_files: dict[str, Path]) -> LoadedModel:
    return load_model(model_files["denoise"])


@pytest.fixture
def inpainter(model_files: dict[str, Path]) -> LoadedModel:
    return load_model(model_files["inpaint"])


@pytest.fixture(scope="session")
def chromium() -> Callable[[int], AbstractContextManager[Any]]:
    """Starts a browser without a window, given the milliseconds that may take."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")

    @contextmanager
    def start(timeout: int) -> Iterator[Any]:
        with playwright.sync_playwright() as driver:
            started = driver.chromium.launch(
                executable_path=found, args=BROWSER_ARGUMENTS, timeout=timeout
            )
            yield started
            started.close()

    return start


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a module of ``scripts/`` by its name there, such as ``auto.cases``."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    return importlib.import_module


@pytest.fixture
def irae(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CompletedProcess[str]]:
    """Run the program in this process, errors and exit codes as a shell would see them."""

    def run(*arguments: object) -> CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr("sys.argv", ["irae", *words])
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        else:
            code = 0
        said = capsys.readouterr()
        return CompletedProcess(words, code, said.out, said.err)

    return run
