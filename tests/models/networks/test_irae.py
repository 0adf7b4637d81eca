"""The options of the Invertible Restoring Autoencoder."""

from __future__ import annotations

import inspect

import pytest

from irae.errors import ModelError
from irae.flow.glow import Glow
from irae.models.networks.irae import IRAE
from irae.models.networks.registry import option_parameters, resolve_options


def test_the_options_of_the_flow_are_options_of_the_network() -> None:
    known = option_parameters("irae", {})
    of_flow = dict(inspect.signature(Glow, eval_str=True).parameters)
    del of_flow["channels"]
    assert {name: known[name] for name in of_flow} == of_flow
    assert set(known) - set(of_flow) == {"start", "hole_fill", "form"}


def test_an_unknown_option_is_told_with_those_there_are() -> None:
    with pytest.raises(ModelError, match=r"option 'widht' .* there are: width, .*hole_fill, form"):
        resolve_options("irae", None, {"widht": 3})
    for wrong in ("widht", "channels"):
        with pytest.raises(TypeError, match=wrong):
            IRAE(**{wrong: 3})
