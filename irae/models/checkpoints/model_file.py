"""Model files: safetensors with a spec in the header from which the network is built."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import nn

from irae.errors import ModelError
from irae.flow.subnets import CouplingNetwork
from irae.models.checkpoints.safe_build import build_described, misfit
from irae.models.density import Density
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.loaded_density import LoadedDensity
from irae.models.loaded_detector import LoadedDetector
from irae.models.loaded_patches import LoadedPatchDensity
from irae.models.networks.damage_detector import DamageDetector
from irae.models.networks.densities.patches import PatchDensity
from irae.models.networks.registry import CLASSICAL
from irae.writing import write_atomically

FORMAT = 1

_SPEC_KEY = "irae"


def save_model(
    path: str | Path, network: nn.Module, spec: ModelSpec, *, half: bool = False
) -> None:
    """Write a model file atomically.

    Args:
        path: path that ends in ``.safetensors``.
        network: the network that ``spec`` describes.
        spec: description of the network, stored in the header.
        half: store the subnets' weights in float16. Invertible 1×1 convolutions stay in float32:
            they are few, and an error in them would be an error of the state.
    """
    halved = {
        f"{name}.{key}" if name else key
        for name, module in network.named_modules()
        if half and isinstance(module, CouplingNetwork)
        for key, _ in module.named_parameters()
    }
    tensors = {
        key: (value.half() if key in halved else value).detach().cpu().contiguous()
        for key, value in network.state_dict().items()
    }
    header = {_SPEC_KEY: json.dumps({"format": FORMAT, **asdict(spec)})}
    # Serialised first, because safetensors' writer makes files that only their owner can read, and
    # raises errors of its own kind.
    content = serialise(tensors, header)
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


# Types that `save_model` writes; values of other types could change in float32.
_DTYPES = ("F16", "BF16", "F32", "F64", "I64")

# Options of irae 0.1, which wrote every option to its files; only None is still read.
_DROPPED_OPTIONS = ("shrinking", "hole_width")


def _read(path: Path) -> tuple[ModelSpec, nn.Module]:
    """Read a model file: its spec, and the network with its weights."""
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{path}: is not a model file (.safetensors); for another project's checkpoint run "
            f"'irae import {path} -o model.safetensors'"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_SPEC_KEY)
            if header is None:
                raise ModelError(f"{path}: holds no irae model (its header lacks {_SPEC_KEY!r})")
            spec = _parse_spec(path, header)
            _drop_options(path, spec.options)
            # The header has the sizes; the tensors themselves are read only if these fit.
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            network = build_described(path, spec.network, spec.options, shapes)
            odd = misfit(network, shapes)
            if odd is None:
                odd = next(
                    (k for k, part in slices.items() if part.get_dtype() not in _DTYPES), odd
                )
            if odd is not None:
                raise ModelError(
                    f"{path}: tensor {odd!r} does not fit network {spec.network!r}; "
                    "the file is of another architecture"
                )
            network.load_state_dict({key: file.get_tensor(key).float() for key in slices})
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error!s:.200})") from None
    return spec, network


def _parse_spec(path: Path, header: str) -> ModelSpec:
    """Parse the spec in a header and check its types; the options are checked later."""
    try:
        spec = json.loads(header)
        version = spec.pop("format")
        if version != FORMAT:
            raise ModelError(
                f"{path}: is of format {str(version)[:40]!r}; this irae reads {FORMAT}; upgrade it"
            )
        parsed = ModelSpec(**spec)
        wanted = {"network": str, "options": dict, "task": str, "card": dict}
        cost = parsed.card.get("bfloat16_cost", 0.0)
        if not isinstance(cost, (int, float)) or not all(
            isinstance(getattr(parsed, key), kind) for key, kind in wanted.items()
        ):
            raise TypeError
        # JSON that is nested too deeply to be parsed or written again raises RecursionError.
        json.dumps(asdict(parsed))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{path}: its irae header is damaged; train or import it again") from None
    return parsed


def _drop_options(path: Path, options: dict[str, Any]) -> None:
    """Remove options that no network has any more, of which every file of irae 0.1 has the values.

    Raises:
        ModelError: the file's network has a part that is built by one of them.
    """
    for name in _DROPPED_OPTIONS:
        if options.pop(name, None) is not None:
            raise ModelError(
                f"{path}: its network has {name!r}, which only irae 0.1 reads; use that version, or"
                " train the model again"
            )


def packaged_models() -> dict[str, Path]:
    """Return the paths of the model files that come with the package, by model name."""
    return _packaged_in("")


def packaged_densities() -> dict[str, Path]:
    """Return the paths of the densities that come with the package, by name."""
    return _packaged_in("densities")


def packaged_detectors() -> dict[str, Path]:
    """Return the paths of the detectors of damage that come with the package, by name."""
    return _packaged_in("detectors")


def packaged_patch_densities() -> dict[str, Path]:
    """Return the paths of the densities of patches that come with the package, by name."""
    return _packaged_in("patches")


def _packaged_in(folder: str) -> dict[str, Path]:
    files = Path(str(package_files("irae") / "weights" / folder)).glob("*.safetensors")
    return {path.stem: path for path in sorted(files)}


def _find(name: str | Path, packaged: dict[str, Path], classical: bool = True) -> Path:
    """Find the file of a packaged model of any kind, a path or a run; ``packaged`` are wanted."""
    others = packaged_models() | packaged_densities() | packaged_detectors()
    known = others | packaged_patch_densities()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if path.is_dir():
        for file in ("best.safetensors", "last.safetensors"):
            if (path / file).is_file():
                return path / file
        raise ModelError(f"{path}: a folder without best.safetensors; is it a run of irae train?")
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    names = ", ".join(packaged) or "none"
    methods = f" nor classical ({', '.join(CLASSICAL)})" if classical else ""
    raise ModelError(f"model {str(name)!r} is neither packaged ({names}){methods} nor a file")


def load_model(name: str | Path) -> LoadedModel:
    """Load a packaged or classical model by name, a model file, or the best model of a run folder.

    Raises:
        ModelError: there is no such model, the file is damaged, its tensors fit no network, or
            the package of a classical model is not installed.
    """
    if str(name) in CLASSICAL:
        kind = CLASSICAL[str(name)]
        return LoadedModel(kind.build(), ModelSpec(str(name), {}, ""), str(name))
    spec, network = _read(_find(name, packaged_models()))
    if isinstance(network, Density):
        raise ModelError(
            f"model {str(name)!r} is a density and restores nothing; use it with irae sample, "
            "score, interpolate, latents or eval"
        )
    if isinstance(network, DamageDetector):
        raise ModelError(
            f"model {str(name)!r} finds damage and restores nothing; use it with irae mask or "
            "as `detector`"
        )
    if isinstance(network, PatchDensity):
        raise ModelError(
            f"model {str(name)!r} is a density of patches and restores nothing; use it with irae "
            "inspect --improbable"
        )
    return LoadedModel(network, spec, str(name))


def trained_spec(name: str | Path) -> ModelSpec:
    """Return the spec of a trained model of any kind: packaged, a model file, or a run folder.

    Raises:
        ModelError: there is no such model, its file is damaged, or it is a method without weights.
    """
    if str(name) in CLASSICAL:
        raise ModelError(f"model {str(name)!r} is a method without weights; give a trained model")
    return _read(_find(name, packaged_models(), classical=False))[0]


def _holds(name: str | Path, kind: type[nn.Module], packaged: dict[str, Path]) -> bool:
    """Whether a model's network is of a kind of those that restore nothing; see `_find`."""
    if str(name) in CLASSICAL or str(name) in packaged_models():
        return False
    return isinstance(_read(_find(name, packaged))[1], kind)


def is_density(name: str | Path) -> bool:
    """Whether a name or path is that of a density; the header of its file is read.

    Raises:
        ModelError: there is no such model, or its file is damaged.
    """
    return _holds(name, Density, packaged_models())


def is_patch_density(name: str | Path) -> bool:
    """Whether a name or path is that of a density of patches.

    Raises:
        ModelError: there is no such model, or its file is damaged.
    """
    return _holds(name, PatchDensity, packaged_patch_densities())


def is_detector(name: str | Path) -> bool:
    """Whether a name or path is that of a detector of damage.

    Raises:
        ModelError: there is no such model, or its file is damaged.
    """
    return _holds(name, DamageDetector, packaged_models())


def load_density(name: str | Path) -> LoadedDensity:
    """Load a packaged density by name, a model file, or the best model of a run folder.

    Raises:
        ModelError: there is no such model, its file is damaged, or it is no density.
    """
    if str(name) in packaged_models() or str(name) in CLASSICAL:
        network: nn.Module = nn.Identity()
    else:
        spec, network = _read(_find(name, packaged_densities(), classical=False))
    if isinstance(network, PatchDensity):
        raise ModelError(
            f"model {str(name)!r} is a density of patches, not of whole pictures; use it with "
            "irae inspect --improbable"
        )
    if not isinstance(network, Density):
        does = "finds damage" if isinstance(network, DamageDetector) else "restores pictures"
        raise ModelError(
            f"model {str(name)!r} {does} and is no density; give one "
            f"({', '.join(packaged_densities()) or 'none is packaged'}), or train one with "
            "irae train --config density/fashion.yaml"
        )
    return LoadedDensity(network, spec, str(name))


def load_patch_density(name: str | Path) -> LoadedPatchDensity:
    """Load a density of patches: a packaged one, a model file, or the best model of a run folder.

    Raises:
        ModelError: there is no such model, its file is damaged, or it is of another kind.
    """
    packaged = packaged_patch_densities()
    spec, network = _read(_find(name, packaged, classical=False))
    if not isinstance(network, PatchDensity):
        raise ModelError(
            f"model {str(name)!r} is no density of patches; give one "
            f"({', '.join(packaged) or 'none is packaged'}), or train one with "
            "irae train --config density/patches.yaml"
        )
    return LoadedPatchDensity(network, spec, str(name))


def load_detector(name: str | Path) -> LoadedDetector:
    """Load a packaged detector by name, a model file, or the best model of a run folder.

    Raises:
        ModelError: there is no such model, its file is damaged, or it is no detector.
    """
    if str(name) in packaged_models() or str(name) in CLASSICAL:
        network: nn.Module = nn.Identity()
    else:
        spec, network = _read(_find(name, packaged_detectors(), classical=False))
    if not isinstance(network, DamageDetector):
        raise ModelError(
            f"model {str(name)!r} finds no damage; give a detector "
            f"({', '.join(packaged_detectors()) or 'none is packaged'}), or train one with "
            "irae train --config find-damage.yaml"
        )
    return LoadedDetector(network, spec, str(name))
