"""A backward pass that recomputes activations by inversion instead of storing them.

A flow's layers are invertible, so nothing between a chain's input and output needs to be stored
for the gradient (Gomez et al. 2017, arXiv 1707.04585): the backward pass starts from the output,
recovers each step's input, rebuilds that step's graph, differentiates and drops it. Peak memory is
then that of one step, whatever the depth, at the cost of one more run of the subnets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from irae.flow.bijection import Chain, zeros_per_sample


def set_reversible(network: nn.Module, on: bool) -> None:
    """Switch the recomputing backward pass of every flow in ``network`` on or off.

    Gradients are the same up to rounding. The switch applies to every `Chain` in both directions
    and with log-determinants, and to the forward pass of every lifted flow. Subnets must be
    deterministic, so they cannot use dropout.

    Second derivatives (``create_graph``) are not available, and a hook on a parameter
    (``register_hook``) fires twice. Under `torch.compile` the flows run uncompiled; compile each
    `CouplingNetwork` in place (``module.compile()``) instead.
    """
    for module in network.modules():
        if isinstance(module, (Chain, TwoStreams)):
            module.reversible = on
            if on:
                _hide_from_the_compiler()


def can_recompute(network: nn.Module) -> bool:
    """Whether any part of a network is a flow to which `set_reversible` applies."""
    return any(isinstance(module, (Chain, TwoStreams)) for module in network.modules())


class TwoStreams(nn.Module):
    """Base class of flows of two streams, where each of ``couplings`` shifts one by the other.

    Attributes:
        reversible: whether gradients are computed by inversion; set by `set_reversible`.
    """

    couplings: nn.ModuleList

    def __init__(self) -> None:
        super().__init__()
        self.reversible = False


def run_streams(
    flow: TwoStreams, numbers: range, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Run the couplings with these numbers reversibly; None if they must run plainly.

    See `run_chain`, which does the same for a chain.
    """
    plain = not flow.reversible or not torch.is_grad_enabled()
    if plain or torch.is_autocast_enabled(a.device.type):
        return None
    return _streams_runner(flow, numbers, a, b)


def run_chain(
    chain: Chain, x: Tensor, condition: Tensor | None = None, *, inverse: bool = False
) -> Tensor | None:
    """Run a chain or its inverse reversibly; None if it must run plainly.

    Without gradients there is nothing to save. Under autocast the state itself would be rounded
    and could not be recovered.
    """
    if not torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
        return None
    return _runner(chain, x, condition, inverse)


def run_chain_with_log_det(
    chain: Chain, x: Tensor, condition: Tensor | None = None
) -> tuple[Tensor, Tensor] | None:
    """Run a chain reversibly with its log-determinant; None if it must run plainly.

    It must also run plainly if a gradient of the condition is needed; see `run_chain`.
    """
    plain = not torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type)
    if plain or (condition is not None and condition.requires_grad):
        return None
    return _log_det_runner(chain, x, condition)


class _Baton:
    """Passes the state from one step's backward pass to that of the previous step."""

    state: Tensor | None = None


def _run_reversibly(chain: Chain, x: Tensor, condition: Tensor | None, inverse: bool) -> Tensor:
    pairs = chain.pairs(condition)
    baton = _Baton()
    for count, (step, given) in enumerate(reversed(pairs) if inverse else pairs, 1):
        # Parameters are inputs, so that autograd (and DistributedDataParallel) gets their
        # gradients in the usual way and as early as possible.
        how = (step, inverse, baton, count == len(pairs))
        x = _ReversibleStep.apply(how, x, given, *_trainable(step))
    return x


def _run_streams_reversibly(
    flow: TwoStreams, numbers: range, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    streams, baton = [a, b], _StreamBaton()
    for number in numbers:
        network, changed = flow.couplings[number], number % 2
        streams[changed] = _ReversibleShift.apply(
            (network, number, baton), streams[changed], streams[1 - changed], *_trainable(network)
        )
    result: tuple[Tensor, Tensor] = _KeptStreams.apply(baton, *streams)
    return result


def _run_with_log_det(chain: Chain, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
    pairs = chain.pairs(condition)
    baton, total = _Baton(), zeros_per_sample(x)
    for count, (step, given) in enumerate(pairs, 1):
        how = (step, baton, count == len(pairs))
        x, log_det = _ReversibleLogDetStep.apply(how, x, given, *_trainable(step))
        total = total + log_det
    return x, total


_runner = _run_reversibly
_log_det_runner = _run_with_log_det
_streams_runner = _run_streams_reversibly


def _hide_from_the_compiler() -> None:
    """Exclude the runners from compilation: a backward pass that differentiates is untraceable.

    A decorator would import the compiler, a second and 150 MB, into every program.
    """
    global _runner, _log_det_runner, _streams_runner
    if _runner is _run_reversibly:
        disable: Any = torch.compiler.disable
        _runner = disable(_run_reversibly)
        _log_det_runner = disable(_run_with_log_det)
        _streams_runner = disable(_run_streams_reversibly)


def _trainable(step: nn.Module) -> list[nn.Parameter]:
    return [p for p in step.parameters() if p.requires_grad]


class _ReversibleStep(torch.autograd.Function):
    """A step of a chain, in one direction. Only the last step of the chain stores its output."""

    @staticmethod
    def forward(
        ctx: Any, how: tuple[Any, ...], x: Tensor, condition: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        ctx.step, ctx.inverse, ctx.baton, last = how
        result: Tensor = ctx.step.inverse(x, condition) if ctx.inverse else ctx.step(x, condition)
        # The parameters are saved so that autograd notices changes before the backward pass.
        ctx.save_for_backward(result if last else None, condition, *parameters)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        output, condition, *saved = ctx.saved_tensors
        # The saved output's graph contains this step; without detach() it would never end.
        output = ctx.baton.state if output is None else output.detach()
        parameters = _trainable(ctx.step)
        _check_same(parameters, saved)
        wanted: list[Tensor] = [*parameters]
        if ctx.needs_input_grad[2]:
            condition = condition.detach().requires_grad_()
            wanted.append(condition)
        parts, again = ctx.step.rebuild(output, condition, inverse=ctx.inverse)
        grads = torch.autograd.grad(
            again, [*parts, *wanted], grad.chunk(len(again), 1), allow_unused=True
        )
        ctx.baton.state = _side_by_side([part.detach() for part in parts])
        grad_x, grads = _side_by_side(grads[: len(parts)]), grads[len(parts) :]
        grad_condition = grads[-1] if ctx.needs_input_grad[2] else None
        return (None, grad_x, grad_condition, *grads[: len(parameters)])


class _ReversibleLogDetStep(torch.autograd.Function):
    """A step of a chain with its log-determinant; only the last one stores its output."""

    @staticmethod
    def forward(
        ctx: Any, how: tuple[Any, ...], x: Tensor, condition: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.step, ctx.baton, last = how
        result: tuple[Tensor, Tensor] = ctx.step.forward_and_log_det(x, condition)
        ctx.save_for_backward(result[0] if last else None, condition, *parameters)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        output, condition, *saved = ctx.saved_tensors
        output = ctx.baton.state if output is None else output.detach()
        parameters = _trainable(ctx.step)
        _check_same(parameters, saved)
        parts, again, log_det = ctx.step.rebuild_with_log_det(output, condition)
        results = list(zip(again, grad.chunk(len(again), 1), strict=True))
        # The log-determinant of some steps is a constant.
        if log_det.requires_grad:
            results.append((log_det, grad_log_det))
        outputs, of_outputs = zip(*results, strict=True)
        grads = torch.autograd.grad(outputs, [*parts, *parameters], of_outputs, allow_unused=True)
        ctx.baton.state = _side_by_side([part.detach() for part in parts])
        return (None, _side_by_side(grads[: len(parts)]), None, *grads[len(parts) :])


def _check_same(parameters: list[nn.Parameter], saved: Sequence[Tensor]) -> None:
    if [id(p) for p in parameters] != [id(p) for p in saved]:
        raise RuntimeError("parameters were replaced between a reversible flow and its backward")


def _side_by_side(parts: Any) -> Tensor:
    joined: Tensor = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    return joined


class _StreamBaton:
    """Passes both streams from one coupling's backward pass to that of the previous coupling."""

    streams: list[Tensor]


class _KeptStreams(torch.autograd.Function):
    """The end of a run of couplings, the only place where the streams are stored."""

    @staticmethod
    def forward(ctx: Any, baton: _StreamBaton, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        ctx.baton = baton
        ctx.save_for_backward(a, b)
        return a.view_as(a), b.view_as(b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ctx.baton.streams = [kept.detach() for kept in ctx.saved_tensors]
        return (None, *grads)


class _ReversibleShift(torch.autograd.Function):
    """One additive coupling: stream ``number % 2`` is shifted by a function of the other."""

    @staticmethod
    def forward(
        ctx: Any, how: tuple[Any, ...], changed: Tensor, source: Tensor, *parameters: Tensor
    ) -> Tensor:
        ctx.network, ctx.number, ctx.baton = how
        # The parameters are saved so that autograd notices changes before the backward pass.
        ctx.save_for_backward(*parameters)
        result: Tensor = changed + ctx.network(source)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        parameters = _trainable(ctx.network)
        _check_same(parameters, ctx.saved_tensors)
        streams, changed = ctx.baton.streams, ctx.number % 2
        source = streams[1 - changed].detach().requires_grad_()
        with torch.enable_grad():
            shift = ctx.network(source)
        grad_source, *grads = torch.autograd.grad(
            shift, [source, *parameters], grad, allow_unused=True
        )
        streams[changed] = streams[changed] - shift.detach()
        return (None, grad, grad_source, *grads)
