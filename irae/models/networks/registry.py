"""The registry of networks: their names, builders, presets and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from irae.errors import ModelError
from irae.models.networks import (
    arcnn,
    classical,
    damage_detector,
    irae,
    lifted,
    multiscale,
    unet,
)
from irae.models.networks.denoising import dncnn, ffdnet, gradnet, invdn, rdn, rednet
from irae.models.networks.densities import density, glow, nice, patches, realnvp
from irae.models.networks.inpainting import contextual_attention, csa, pconv, shift_net


@dataclass(frozen=True)
class NetworkKind:
    """One kind of network.

    Attributes:
        build: builds the network from keyword options.
        presets: named sets of options.
        invertible: whether the network can recover the degraded picture from its result.
        forms: builders by the value of the option ``form``, whose default is the first; empty if
            there is only one form.

    The network itself declares its number of channels and its ``condition``, which may depend on
    its options; see `irae.models.networks.base.Baseline`. `irae.tasks.matching` uses them to find
    the tasks for which it can be trained.
    """

    build: Callable[..., nn.Module]
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    invertible: bool = False
    forms: dict[str, Callable[..., nn.Module]] = field(default_factory=dict)

    def builder(self, options: dict[str, Any]) -> Callable[..., nn.Module]:
        """Return the builder for these options, chosen by ``form``.

        Raises:
            ModelError: the form is unknown.
        """
        if not self.forms:
            return self.build
        form = options.get("form", next(iter(self.forms)))
        if form not in self.forms:
            raise ModelError(f"form {form!r} is unknown; there are: {', '.join(self.forms)}")
        return self.forms[form]


NETWORKS: dict[str, NetworkKind] = {
    # Files from before there were two forms have no option ``form``; they are strict.
    "irae": NetworkKind(
        irae.IRAE,
        presets=irae.PRESETS,
        invertible=True,
        forms={
            "strict": irae.IRAE,
            "lifted": lifted.LiftedIRAE,
            "multiscale": multiscale.MultiscaleIRAE,
        },
    ),
    "dncnn": NetworkKind(dncnn.DnCNN, dncnn.PRESETS),
    "ffdnet": NetworkKind(ffdnet.FFDNet, ffdnet.PRESETS),
    "rednet": NetworkKind(rednet.REDNet, rednet.PRESETS),
    "arcnn": NetworkKind(arcnn.ARCNN, arcnn.PRESETS),
    "unet": NetworkKind(unet.UNet, unet.PRESETS),
    "rdn": NetworkKind(rdn.RDN, rdn.PRESETS),
    "pconv": NetworkKind(pconv.PConvUNet, pconv.PRESETS),
    "invdn": NetworkKind(invdn.InvDN, invdn.PRESETS),
    "gradnet": NetworkKind(gradnet.GradNet, gradnet.PRESETS),
    "contextual-attention": NetworkKind(
        contextual_attention.ContextualAttentionNetwork, contextual_attention.PRESETS
    ),
    "shift-net": NetworkKind(shift_net.ShiftNet, shift_net.PRESETS),
    "csa": NetworkKind(csa.CSANetwork, csa.PRESETS),
}

DENSITIES: dict[str, NetworkKind] = {
    "density": NetworkKind(density.OwnDensity, density.PRESETS),
    "glow": NetworkKind(glow.GlowDensity, glow.PRESETS),
    "nice": NetworkKind(nice.NICE, nice.PRESETS),
    "realnvp": NetworkKind(realnvp.RealNVP, realnvp.PRESETS),
}
"""Densities (`irae.models.density`), which restore nothing and are trained by likelihood."""

PATCH_DENSITIES: dict[str, NetworkKind] = {
    "patches": NetworkKind(patches.PatchDensity, patches.PRESETS),
}
"""Densities of small blocks of photographs of any size, given the pixels around each."""

DETECTORS: dict[str, NetworkKind] = {
    "damage-detector": NetworkKind(damage_detector.DamageDetector, damage_detector.PRESETS),
}
"""Networks that find damage and restore nothing; they return one logit for every pixel."""

# Methods without weights: they have a name, but cannot be trained or stored in a file.
CLASSICAL: dict[str, NetworkKind] = {
    "bm3d": NetworkKind(classical.BM3D),
    "nlm": NetworkKind(classical.NonLocalMeans),
    "telea": NetworkKind(classical.Telea),
    "navier-stokes": NetworkKind(classical.NavierStokes),
    "fsr": NetworkKind(classical.FrequencySelective),
    "patchmatch": NetworkKind(classical.PatchMatch),
}


def _kind(name: str) -> NetworkKind:
    kinds = NETWORKS | DENSITIES | PATCH_DENSITIES | DETECTORS
    if name not in kinds:
        raise ModelError(f"network {name!r} is unknown; there are: {', '.join(kinds)}")
    return kinds[name]


def resolve_options(name: str, preset: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the full options of a network: the preset's, overridden by ``options``.

    Raises:
        ModelError: the network, preset or option is unknown; the message lists those that exist.
    """
    kind = _kind(name)
    if preset is not None and preset not in kind.presets:
        raise ModelError(
            f"preset {preset!r} of network {name!r} is unknown; "
            f"there are: {', '.join(kind.presets)}"
        )
    resolved = {**kind.presets.get(preset or "", {}), **options}
    known = option_parameters(name, resolved)
    for key in resolved:
        if key not in known:
            raise ModelError(
                f"option {key!r} of network {name!r} is unknown; there are: {', '.join(known)}"
            )
    # Defaults are included, so that a model file keeps its meaning when a default changes.
    defaults = {
        key: parameter.default
        for key, parameter in known.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**defaults, **resolved}


def option_parameters(name: str, options: dict[str, Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a network's builder, for the form that ``options`` choose.

    Raises:
        ModelError: the form is unknown.
    """
    kind = _kind(name)
    known = dict(inspect.signature(kind.builder(options), eval_str=True).parameters)
    if kind.forms:
        first = next(iter(kind.forms))
        form = inspect.Parameter("form", inspect.Parameter.KEYWORD_ONLY, default=first)
        known["form"] = form.replace(annotation=str)
    return known


def build_network(name: str, options: dict[str, Any]) -> nn.Module:
    """Build a network from its registered name and resolved options.

    Raises:
        ModelError: the name or an option is unknown, or the network refuses a value.
    """
    resolved = resolve_options(name, None, options)
    build = _kind(name).builder(resolved)
    given = {key: value for key, value in resolved.items() if key != "form"}
    try:
        return build(**given)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"network {name!r} cannot be built with its options: {error}") from None
