"""Config files: YAML with ``extends:``, found by path or shipped name, and overridden by key."""

from __future__ import annotations

from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from irae.errors import ConfigError
from irae.strict_yaml import YAML_FAULTS, RepeatedKeyError, parse_yaml


def find_config(name: str | Path, *, kind: str = "config", folder: str = "") -> Path:
    """Find the file of a config: a path, else one shipped with the package.

    Args:
        name: path, or name of a shipped config with or without ``folder`` and ``.yaml``.
        kind: what errors call it.
        folder: folder of the shipped ones that count, such as ``benchmark/``; all if empty.

    Raises:
        ConfigError: there is no such config; the message lists the shipped ones.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {key: file for key, file in shipped_configs().items() if key.startswith(folder)}
    for candidate in (f"{folder}{name}", f"{folder}{name}.yaml", str(name)):
        if candidate in shipped:
            return shipped[candidate]
    names = ", ".join(key.removeprefix(folder) for key in shipped)
    raise ConfigError(f"{name}: no such {kind}, here or shipped ({names})")


def shipped_configs() -> dict[str, Path]:
    """Return the files of the shipped configs, by name (such as ``paper/denoise.yaml``)."""
    inside = Path(str(package_files("irae") / "configs"))
    # A wheel has them inside the package, a checkout beside it.
    folder = inside if inside.is_dir() else Path(str(package_files("irae"))).parent / "configs"
    return {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*.yaml"))}


def read_config(path: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """Read a config with all that it extends and apply the overrides, without checking it.

    Raises:
        ConfigError: a file is missing, or a file or an override is malformed.
    """
    return with_overrides(_read(path, ()), overrides or [])


def with_overrides(content: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Apply overrides such as ``training.steps=100`` to the content of a config.

    Raises:
        ConfigError: an override is malformed.
    """
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {override!r} is not of the form key=value")
        try:
            parsed = parse_yaml(value)
        except RepeatedKeyError as error:
            raise ConfigError(f"--set {override!r}: {error.key} is given twice") from None
        except YAML_FAULTS:
            raise ConfigError(f"--set {override!r}: the value is not YAML") from None
        for part in reversed(key.split(".")):
            parsed = {part: parsed}
        content = _merge(content, parsed)
    return content


def extended(
    content: dict[str, Any], folder: Path = Path(), above: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Merge a config with all that it extends.

    Args:
        content: the config; of several files in ``extends``, later ones override earlier ones.
        folder: where these are searched before the shipped ones.
        above: the files that extend this one.

    Raises:
        ConfigError: a file is missing, malformed, or extends itself.
    """
    content = dict(content)
    bases = content.pop("extends", [])
    merged: dict[str, Any] = {}
    for base in bases if isinstance(bases, list) else [bases]:
        beside = folder / str(base)
        parent = beside if beside.is_file() else find_config(str(base))
        merged = _merge(merged, _read(parent, above))
    return _merge(merged, content)


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise ConfigError(f"{path}: extends itself")
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except RepeatedKeyError as error:
        raise ConfigError(
            f"{path}: {error.key}: is given twice, again at line {error.line}; keep one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except YAML_FAULTS as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}: is not valid YAML{where}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold keys and values")
    return extended(content, path.parent, (*above, path.resolve()))


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged
