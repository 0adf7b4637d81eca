"""Warm start: training that starts from the weights of another network."""

from __future__ import annotations

from torch import nn


def start_from(network: nn.Module, source: nn.Module) -> None:
    """Copy the weights of ``source`` to ``network`` by their names.

    The network must have every tensor of the source, in the same shape. Its other tensors keep
    their initial values: for example, couplings added to a lifted network start as the identity.

    Args:
        network: a newly built network, whose weights are replaced.
        source: a trained network, which is not changed.

    Raises:
        ValueError: a tensor does not fit; the message names the first.
    """
    ours, theirs = network.state_dict(), source.state_dict()
    for name, value in theirs.items():
        if name not in ours or ours[name].shape != value.shape:
            raise ValueError(
                f"its tensor {name} does not fit the network of this config "
                f"(leave the model section out, or use `from`)"
            )
    network.load_state_dict({**ours, **theirs})
