"""The objective of a run."""

from __future__ import annotations

from irae.config import RunConfig
from irae.models.networks.registry import PATCH_DENSITIES
from irae.training.objectives.base import Objective
from irae.training.objectives.find_damage import FindDamage
from irae.training.objectives.likelihood import Likelihood
from irae.training.objectives.patch_likelihood import PatchLikelihood
from irae.training.objectives.restoration import Restoration


def objective_of(config: RunConfig) -> Objective:
    """Return the objective that a config names."""
    if config.objective == "likelihood" and config.model.network in PATCH_DENSITIES:
        return PatchLikelihood()
    kinds: dict[str, type[Objective]] = {
        "restoration": Restoration,
        "likelihood": Likelihood,
        "find_damage": FindDamage,
    }
    return kinds[config.objective]()
