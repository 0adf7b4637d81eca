"""Safe reading of untrusted PyTorch checkpoints: no code is run, and sizes are checked first."""

from __future__ import annotations

import io
import mmap
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from irae.errors import ModelError, first_line

# The names that the pickle of a state dict needs. PyTorch's own list is longer, and some of its
# entries allocate as much memory as a number in the file demands (bytearray, Tensor).
_PLAIN_NAMES = {("collections", "OrderedDict"): OrderedDict}
_CALLED = {"_rebuild_tensor_v2": "torch._utils", "_rebuild_parameter": "torch._utils"}
_CALLED["Size"] = "torch"
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
_ITEM_SIZES = {
    **dict.fromkeys(("DoubleStorage", "LongStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
}

# Number of pickles before the object itself in files from before PyTorch 1.6: a magic number, a
# version and the machine's properties.
_OLD_PREAMBLE = 3

# Largest ratio of tensor bytes to file size. Some files name one tensor twice; a file that names
# one a thousand times is probably malicious.
_MOST_SHARED = 4


class _RefusalError(Exception):
    """The file must not be opened; the message gives the reason."""


class _Inert:
    """A stand-in for the objects that a pickle makes: it accepts anything and does nothing."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def __call__(self, *_: object) -> _Inert:
        if self.name not in _CALLED:
            raise _RefusalError("holds a malformed tensor")
        return _Inert()

    def __setstate__(self, state: object) -> None:
        pass


# The Python unpickler is used, because the C one grows its memo to an index the file chooses.
class _Census(pickle._Unpickler):
    """Parses a pickle without making any object, and counts the bytes its tensors claim."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self._storages: dict[str, int] = {}

    @property
    def claimed(self) -> int:
        """Number of bytes of all storages."""
        return sum(self._storages.values())

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN_NAMES:
            return _PLAIN_NAMES[module, name]
        storage = module in _STORAGE_MODULES and name in _ITEM_SIZES
        if storage or _CALLED.get(name) == module:
            return _Inert(name)
        called = f"{module}.{name}"[:80]
        raise _RefusalError(f"names {called!r}, which no tensor needs (it may be code)")

    def persistent_load(self, pid: Any) -> Any:
        kind, storage, key, _, count = pid[:5]
        if kind not in ("storage", b"storage") or type(count) is not int or count < 0:
            raise _RefusalError("holds a malformed tensor")
        each = _ITEM_SIZES.get(storage.name) if isinstance(storage, _Inert) else None
        if each is None:
            raise _RefusalError("holds a malformed tensor")
        self._storages[str(key)] = max(self._storages.get(str(key), 0), count * each)
        return _Inert()


def read_pickle(path: Path) -> Any:
    """Read a PyTorch checkpoint without running any code in it.

    The claimed sizes of its tensors are first compared with the size of the file, so that a small
    file cannot allocate much memory.

    Raises:
        ModelError: the file is missing or damaged, claims more than it holds, or holds anything
            but tensors and plain values.
    """
    try:
        _check(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        shared = sum(tensor.numel() * tensor.itemsize for tensor in _tensors(content))
        if shared > _MOST_SHARED * path.stat().st_size:
            raise _RefusalError("has tensors that claim more numbers than it holds")
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except _RefusalError as error:
        raise ModelError(
            f"{path}: {error}; it was not opened. Save its state_dict alone and use that"
        ) from None
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path}: holds more than tensors (perhaps code) or is damaged; it was not opened. "
            "Save its state_dict alone and use that"
        ) from None
    except MemoryError:
        raise ModelError(f"{path}: is too large for this machine's memory") from None
    # A damaged file can make an unpickler raise any of these.
    except (
        *(OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError),
        *(ImportError, AssertionError, OverflowError, zipfile.BadZipFile, NotImplementedError),
    ) as error:
        reason = first_line(error)[:120]
        raise ModelError(f"{path}: is not a PyTorch checkpoint ({reason})") from None
    return content


def _check(path: Path) -> None:
    """Refuse a file that names code, or whose tensors claim more bytes than it has.

    Raises:
        _RefusalError: the file is refused. A damaged file can raise other errors.
    """
    if path.is_dir():
        raise _RefusalError("is a folder")
    size = path.stat().st_size
    if not size:
        raise EOFError("is empty")
    if zipfile.is_zipfile(path):
        stream: IO[bytes] = io.BytesIO(_pickle_in_archive(path, size))
        pickles = 1
    else:
        with path.open("rb") as file:
            # A memory map never reads beyond the file, whatever the pickle states.
            stream = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # type: ignore[assignment]
        pickles = _OLD_PREAMBLE + 1
    with stream:
        for _ in range(pickles):
            census = _Census(stream)
            census.load()
            if census.claimed > size:
                raise _RefusalError(f"is of {size} bytes and its tensors claim {census.claimed}")


def _pickle_in_archive(path: Path, size: int) -> bytes:
    """Return the pickle in a checkpoint's zip archive, whose members must be uncompressed."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or len(set(names)) != len(names):
            raise _RefusalError("is an archive without one pickle")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise _RefusalError("is a compressed archive, which PyTorch does not write")
        if sum(member.file_size for member in members) > size:
            raise _RefusalError("is an archive that claims more than it holds")
        return archive.read(pickles[0])


def _tensors(content: object) -> Iterator[Tensor]:
    """Yield all tensors in nested plain values, each as often as it is named."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            # A pickle can hold a list that contains itself.
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
