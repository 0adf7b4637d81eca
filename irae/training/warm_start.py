"""Training that goes on from the weights of another network, by their names and shapes."""

from __future__ import annotations

from torch import nn


def start_from(network: nn.Module, source: nn.Module) -> None:
    """Give ``network`` the weights of ``source``.

    Every tensor of the source must have its place. What the network has besides keeps its own
    start: couplings added at the end of a lifted network begin as the identity, say.

    Args:
        network: newly built; its weights are replaced.
        source: trained; it is not changed.

    Raises:
        ValueError: a tensor has no place; names the first.
    """
    ours, theirs = network.state_dict(), source.state_dict()
    for name, value in theirs.items():
        if name not in ours or ours[name].shape != value.shape:
            raise ValueError(
                f"its tensor {name} does not fit the network of this config "
                f"(leave the model section out, or use `from`)"
            )
    network.load_state_dict({**ours, **theirs})
