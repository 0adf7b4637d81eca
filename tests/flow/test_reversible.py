"""The recomputing backward pass: the same gradients, for memory that depth does not move."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from irae.flow import reversible
from irae.flow.bijection import Chain
from irae.flow.coupling import AdditiveCoupling
from irae.flow.glow import Glow
from irae.flow.mixing import BoundedMixing
from irae.flow.reversible import set_reversible
from irae.flow.subnets import CouplingNetwork, PlainNetwork, set_network_dtype
from irae.models.call import condition_for
from irae.models.checkpoints.model_file import load_model
from irae.models.networks.irae import IRAE, PRESETS
from irae.models.networks.lifted import LiftedIRAE
from irae.models.networks.registry import build_network, resolve_options
from irae.training.efficiency.activation_memory import activation_bytes

WEIGHTS = Path(reversible.__file__).resolve().parents[1] / "weights"
PAPER = {
    "squeeze": "pixel",
    "actnorm": True,
    "mixing": "dense",
    "coupling": "affine",
    "network": "actnorm",
}
Network = TypeVar("Network", bound=nn.Module)
KINDS: dict[str, dict[str, object]] = {"default": {}, "paper": PAPER}


def seeded(*shape: int, seed: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def perturbed(network: Network, amount: float = 0.05) -> Network:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return network


def recomputes(output: Tensor) -> bool:
    """Whether the graph of ``output`` holds a reversible step."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return any("_Reversible" in node.name() for node in seen)


def gradients(network: nn.Module, loss: Callable[[], Tensor], *inputs: Tensor) -> list[Tensor]:
    for tensor in [*network.parameters(), *inputs]:
        tensor.grad = None
    loss().backward()
    return [tensor.grad.clone() for tensor in [*network.parameters(), *inputs]]


def restoring(network: nn.Module, *given: Tensor) -> Callable[[], Tensor]:
    target = seeded(*given[0].shape, seed=9, dtype=given[0].dtype)
    return lambda: F.l1_loss(network(*given), target)


def both(network: nn.Module, loss: Callable[[], Tensor], *inputs: Tensor) -> list[list[Tensor]]:
    """Plain gradients, then reversible ones."""
    found = []
    for on in (False, True):
        set_reversible(network, on)
        assert recomputes(loss()) == on
        found.append(gradients(network, loss, *inputs))
    return found


def relative_error(expected: list[Tensor], found: list[Tensor]) -> float:
    a, b = (torch.cat([t.flatten() for t in tensors]) for tensors in (expected, found))
    return ((a - b).norm() / a.norm()).item()


def worst_tensor(expected: list[Tensor], found: list[Tensor]) -> float:
    pairs = zip(expected, found, strict=True)
    return max(((a - b).norm() / a.norm().clamp_min(1e-9)).item() for a, b in pairs)


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_flow_gradients_in_float64(
    kind: str, conditioned: bool, levels: int, inverse: bool
) -> None:
    options = {"condition_channels": 1} if conditioned else {}
    torch.manual_seed(1)
    flow = Glow(width=6, depth=3, levels=levels, **KINDS[kind], **options)  # type: ignore[arg-type]
    perturbed(flow.double())
    x = seeded(2, 3, 16, 8, dtype=torch.float64) - 0.5
    mask = seeded(2, 1, 16, 8, dtype=torch.float64).requires_grad_() if conditioned else None
    latents = [z.detach().requires_grad_() for z in flow(x, mask)]
    x.requires_grad_()

    def loss() -> Tensor:
        outputs = [flow.inverse(latents, mask)] if inverse else flow(x, mask)
        # Every latent pulls in another way: those split off early carry gradients too.
        return sum((z * seeded(*z.shape, dtype=z.dtype)).square().sum() for z in outputs)

    inputs = [*(latents if inverse else [x]), *([] if mask is None else [mask])]
    plain, recomputed = both(flow, loss, *inputs)
    assert worst_tensor(plain, recomputed) <= 1e-8
    assert min(g.norm() for g in plain) > 0


@pytest.mark.parametrize("mixing", ["dense", "bounded"])
@pytest.mark.parametrize("coupling", ["additive", "affine", "bounded"])
@pytest.mark.parametrize("network", ["plain", "actnorm"])
def test_gradients_of_every_kind_of_layer(mixing: str, coupling: str, network: str) -> None:
    model = IRAE(width=6, depth=2, levels=2, mixing=mixing, coupling=coupling, network=network)
    model = perturbed(model.double())
    x = seeded(1, 3, 4, 4, dtype=torch.float64)  # the last latents are single pixels
    plain, recomputed = both(model, restoring(model, x))
    assert worst_tensor(plain, recomputed) <= 1e-8


def of_preset(name: str) -> nn.Module:
    return build_network("irae", resolve_options("irae", name, {}))


def conditions(network: nn.Module, x: Tensor) -> list[Tensor]:
    """What a network is given beside the picture."""
    mask = seeded(len(x), 1, *x.shape[2:], dtype=x.dtype) > 0.7
    condition = condition_for(network, mask=mask, filled=x)
    return [] if condition is None else [condition]


@pytest.mark.parametrize("preset", PRESETS)
def test_full_size_gradients(preset: str) -> None:
    torch.manual_seed(0)
    model = perturbed(of_preset(preset), 0.02).to(memory_format=torch.channels_last)
    x = seeded(2, 3, 32, 32)
    outputs = []
    for on in (False, True):
        set_reversible(model, on)
        outputs.append(model(x, *conditions(model, x)).detach())
    # What a plain lifted network leaves out, the recomputing one adds up as zeros.
    assert torch.allclose(*outputs, atol=1e-6 if isinstance(model, LiftedIRAE) else 0, rtol=0)
    plain, recomputed = both(model, restoring(model, x, *conditions(model, x)))
    assert relative_error(plain, recomputed) <= 1e-3
    model, x = model.double(), x.double()
    plain, recomputed = both(model, restoring(model, x, *conditions(model, x)))
    assert worst_tensor(plain, recomputed) <= 1e-8


@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint"])
def test_gradients_at_trained_weights(task: str) -> None:
    network = load_model(WEIGHTS / f"{task}.safetensors").network.requires_grad_(True)
    x = seeded(1, 3, 32, 32)
    plain, recomputed = both(network, restoring(network, x, *conditions(network, x)))
    assert relative_error(plain, recomputed) <= 1e-3


@pytest.mark.parametrize("name", ["denoise", "inpaint", *PRESETS])
def test_gradients_of_bf16_networks(name: str) -> None:
    if name in PRESETS:
        network: nn.Module = perturbed(of_preset(name), 0.02)
    else:
        network = load_model(WEIGHTS / f"{name}.safetensors").network.requires_grad_(True)
    set_network_dtype(network, torch.bfloat16)
    x = seeded(1, 3, 32, 32)
    plain, recomputed = both(network, restoring(network, x, *conditions(network, x)))
    a, b = (torch.cat([g.flatten() for g in grads]).double() for grads in (plain, recomputed))
    assert F.cosine_similarity(a, b, dim=0).item() >= 0.999


def peak_bytes(network: nn.Module, x: Tensor, *, on: bool) -> int:
    """Most bytes allocated at once by a forward and backward, gradients of weights apart.

    The profiler sees every allocation and release of PyTorch's own CPU allocator. Gradients are
    there from an earlier pass, so that this one adds into them.
    """
    set_reversible(network, on)
    given = conditions(network, x)
    network(x, *given).square().mean().backward()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        network(x, *given).square().mean().backward()
    results = profiler.profiler.kineto_results  # type: ignore[union-attr]
    events = [event for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    assert abs(held) < 4096  # all that was allocated came back: nothing was missed
    return peak


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_depth(kind: str) -> None:
    x = seeded(1, 3, 32, 32)
    peaks = {}
    for depth in (8, 64):
        network = IRAE(width=32, depth=depth, levels=2, **KINDS[kind])  # type: ignore[arg-type]
        peaks[depth] = peak_bytes(network, x, on=True)
    assert peaks[64] <= 1.15 * peaks[8]


# With the two couplings of `inpaint` there is little to save.
@pytest.mark.slow
@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset != "inpaint"])
def test_memory_is_a_fraction_of_plain_autograds(preset: str) -> None:
    network = of_preset(preset).to(memory_format=torch.channels_last)
    x = seeded(1, 3, 64, 64)
    # A lifted flow has few couplings, so that each one's own is a larger share.
    share = 4 if preset == "paper" else 3
    assert peak_bytes(network, x, on=True) <= peak_bytes(network, x, on=False) / share


def test_memory_of_a_lifted_network_does_not_grow_with_its_couplings() -> None:
    x = seeded(1, 3, 32, 32)
    peaks = [
        peak_bytes(LiftedIRAE(width=16, couplings=count, hidden=16), x, on=True)
        for count in (8, 64)
    ]
    assert peaks[1] <= 1.15 * peaks[0]


@pytest.mark.parametrize("conditioned", [False, True])
def test_gradients_of_a_lifted_network(conditioned: bool) -> None:
    options = {"condition_channels": 1} if conditioned else {}
    network = perturbed(LiftedIRAE(width=16, couplings=5, hidden=6, **options).double())
    x = seeded(2, 3, 6, 8, dtype=torch.float64).requires_grad_()
    inputs = [x]
    if conditioned:
        inputs.append(seeded(2, 1, 6, 8, dtype=torch.float64).requires_grad_())
    plain, recomputed = both(network, restoring(network, *inputs), *inputs)
    assert worst_tensor(plain, recomputed) <= 1e-8

    # Half of the network too: its streams leave it one by one.
    def middle() -> Tensor:
        first, last = network.middle_and_end(*inputs)
        return first.square().sum() + last.sum()

    plain, recomputed = both(network, middle, *inputs)
    assert worst_tensor(plain, recomputed) <= 1e-8


def test_nothing_is_recomputed_where_no_gradient_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    network = perturbed(IRAE(width=6, depth=1, levels=2))
    x = seeded(1, 3, 8, 8)
    plain = network(x).detach()
    set_reversible(network, True)

    def refuse(*_: object) -> Tensor:
        raise AssertionError("the reversible path was taken")

    monkeypatch.setattr(reversible._ReversibleStep, "apply", refuse)
    with torch.no_grad():
        assert torch.equal(network(x), plain)
    with torch.inference_mode():
        assert torch.equal(network(x), plain)
    with torch.autocast("cpu", torch.bfloat16):
        network(x)
    with pytest.raises(AssertionError, match="reversible path"):
        network(x)


def test_frozen_parameters_get_no_gradient() -> None:
    network = perturbed(IRAE(width=6, depth=2, levels=2, **PAPER).double())  # type: ignore[arg-type]
    frozen = [*network.encoder.parameters(), *list(network.decoder.parameters())[::2]]
    for parameter in frozen:
        parameter.requires_grad_(False)
    loss = restoring(network, seeded(1, 3, 8, 8, dtype=torch.float64))
    trained = [p for p in network.parameters() if p.requires_grad]
    plain, recomputed = [], []
    for on, found in ((False, plain), (True, recomputed)):
        set_reversible(network, on)
        found.extend(torch.autograd.grad(loss(), trained))
    assert worst_tensor(plain, recomputed) <= 1e-8
    loss().backward()
    assert all(parameter.grad is None for parameter in frozen)


def test_backward_twice_and_after_a_change() -> None:
    network = perturbed(IRAE(width=6, depth=2, levels=2))
    set_reversible(network, True)
    trained = list(network.parameters())
    loss = restoring(network, seeded(1, 3, 8, 8))()
    first = torch.autograd.grad(loss, trained, retain_graph=True)
    second = torch.autograd.grad(loss, trained, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with torch.no_grad():
        trained[0].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, trained)


@pytest.mark.parametrize("form", ["strict", "lifted"])
def test_swapped_parameters_are_refused(form: str) -> None:
    network: nn.Module = perturbed(IRAE(width=6, depth=1, levels=1))
    if form == "lifted":
        network = perturbed(LiftedIRAE(width=12, couplings=2, hidden=4))
    set_reversible(network, True)
    other = {k: v.detach().clone().requires_grad_() for k, v in network.named_parameters()}
    out = torch.func.functional_call(network, other, (seeded(1, 3, 8, 8),))
    with pytest.raises(RuntimeError, match="parameters were replaced"):
        out.sum().backward()


def test_the_switch_leaves_no_trace() -> None:
    network = perturbed(IRAE(width=6, depth=1, levels=2).double())
    keys = list(network.state_dict())
    x = seeded(1, 3, 8, 8, dtype=torch.float64)
    plain, _ = both(network, restoring(network, x))
    assert list(network.state_dict()) == keys
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert worst_tensor(plain, gradients(twin, restoring(twin, x))) <= 1e-8
    convolution = nn.Conv2d(3, 3, 1)
    set_reversible(convolution, True)
    assert isinstance(convolution(torch.zeros(1, 3, 2, 2)), Tensor)


def compare_compiled(compiled: nn.Module, network: nn.Module) -> None:
    """Gradients of the compiled network, switch on, against the plain ones of ``network``."""
    given = [seeded(2, 3, 8, 8), seeded(2, 1, 8, 8)]
    set_reversible(network, False)
    plain = gradients(network, restoring(network, *given))
    set_reversible(compiled, True)
    loss = restoring(compiled, *given)
    assert recomputes(loss())
    assert relative_error(plain, gradients(compiled, loss)) <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_network(kind: str) -> None:
    options = {**KINDS[kind], "condition_channels": 1}
    network = perturbed(IRAE(width=6, depth=1, levels=2, **options))  # type: ignore[arg-type]
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(network), backend="aot_eager")
    compare_compiled(compiled, network)  # type: ignore[arg-type]


@pytest.mark.process  # On a new machine inductor starts Python, to see what the processor can do.
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiled_coupling_networks() -> None:
    network = perturbed(IRAE(width=6, depth=1, levels=1, condition_channels=1))
    compiled = copy.deepcopy(network)
    torch._dynamo.reset()
    for module in compiled.modules():
        if isinstance(module, CouplingNetwork):
            module.compile()
    compare_compiled(compiled, network)
    assert list(compiled.state_dict()) == list(network.state_dict())


DISTRIBUTED = """
import copy, sys, torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from irae.flow.reversible import set_reversible
from irae.models.networks.irae import IRAE

rank, meeting = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
torch.manual_seed(0)
network = IRAE(width=6, depth=2, levels=2, coupling="affine").double()
with torch.no_grad():
    for p in network.parameters():
        p.add_(0.05 * torch.randn_like(p))
x, y = torch.rand(2, 4, 3, 8, 8, dtype=torch.float64)
plain = copy.deepcopy(network)
F.l1_loss(plain(x), y).backward()
set_reversible(network, True)
wrapped = DistributedDataParallel(network)
half = slice(2 * rank, 2 * rank + 2)
for _ in range(2):
    network.zero_grad(set_to_none=True)
    F.l1_loss(wrapped(x[half]), y[half]).backward()
for p, q in zip(network.parameters(), plain.parameters(), strict=True):
    assert (p.grad - q.grad).norm() <= 1e-8 * q.grad.norm()
dist.destroy_process_group()
"""


@pytest.mark.distributed
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without distributed")
def test_two_processes_average_the_same_gradients(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", DISTRIBUTED, str(r), str(tmp_path / "m")] for r in (0, 1)]
    running = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in commands]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


def test_a_chain_of_ones_own_is_recomputed_too() -> None:
    """As a reader would build it, without a `Glow` around it: nothing inside it is kept."""
    torch.manual_seed(0)
    steps = [
        step
        for _ in range(6)
        for step in (BoundedMixing(8), AdditiveCoupling(PlainNetwork(4, 4, width=8)))
    ]
    chain, x = Chain(steps), torch.rand(2, 8, 12, 12)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))

    def run(reversible: bool, inverse: bool) -> tuple[int, list[Tensor]]:
        set_reversible(chain, reversible)
        chain.zero_grad()
        given = x.clone().requires_grad_()
        kept = activation_bytes(chain, given, None)
        (chain.inverse(given) if inverse else chain(given)).square().sum().backward()
        return kept, [given.grad, *(p.grad for p in chain.parameters())]

    for inverse in (False, True):
        (plain, expected), (few, found) = run(False, inverse), run(True, inverse)
        assert few < plain / 4
        for a, b in zip(expected, found, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert torch.allclose(a, b, atol=1e-4, rtol=1e-3)
