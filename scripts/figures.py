"""Draw the figures of docs/model.md with the packaged denoiser.

The photographs come with scikit-image: Chelsea (CC0, Stefan van der Walt), Eileen Collins (public
domain, NASA) and a cup of coffee (CC0, Rachel Michetti). None was trained on. Figures say on
themselves what was measured, so that the page need not be changed when the weights are.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from skimage import data

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

from irae import load_model
from irae.flow.layers import BoundedMixing, Shrinking
from irae.imaging.degrade import add_noise
from irae.imaging.error_map import draw_error_map
from irae.imaging.metrics import psnr
from irae.models.irae import IRAE

SIGMAS = (5, 10, 15, 20, 25, 30, 40, 50, 60, 75)
SIDE = 160
ENCODER, DECODER, LATENT = "#0072b2", "#e8590c", "#009e73"
PAGE = {
    "svg.hashsalt": "irae",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def crop(array: np.ndarray, top: int, left: int, side: int = SIDE) -> torch.Tensor:
    """A square of a photograph, ``1 3 S S`` in [0, 1]."""
    part = torch.from_numpy(array[top : top + side, left : left + side].copy())
    return part.permute(2, 0, 1)[None].float() / 255


def photographs() -> dict[str, torch.Tensor]:
    """The crops that are measured on."""
    return {
        "Chelsea": crop(data.chelsea(), 60, 140),
        "astronaut": crop(data.astronaut(), 20, 150),
        "coffee": crop(data.coffee(), 120, 220),
    }


def noisy(clean: torch.Tensor, sigma: float) -> torch.Tensor:
    """White Gaussian noise, not clipped, from a fixed seed."""
    return add_noise(clean, sigma, torch.Generator().manual_seed(0))


def shown(picture: torch.Tensor) -> np.ndarray:
    """``1 3 H W`` as an array to look at."""
    return picture[0].clamp(0, 1).permute(1, 2, 0).numpy()


def save(figure: plt.Figure, path: Path) -> None:
    """Write an SVG that is the same for the same figure, or a PNG of few colours."""
    if path.suffix == ".svg":
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        # Matplotlib ends lines with blanks.
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
    else:
        figure.savefig(path, bbox_inches="tight", dpi=100)
        few = Image.open(path).convert("RGB").quantize(160, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
    plt.close(figure)


def draw_flow(network: IRAE, path: Path) -> None:
    """The way of the data: encoder forward, decoder backward, one row for each level."""
    levels = len(network.encoder.levels)
    figure, axes = plt.subplots(figsize=(8, 1.1 + 1.15 * levels))
    axes.set_xlim(0, 16)
    axes.set_ylim(-1.2 * levels - 0.1, 1.1)
    axes.axis("off")

    def box(x: float, y: float, width: float, text: str, colour: str) -> None:
        axes.add_patch(Rectangle((x, y), width, 0.8, fc=colour, ec="none", alpha=0.18))
        axes.text(x + width / 2, y + 0.4, text, ha="center", va="center", fontsize=8)

    def arrow(start: tuple[float, float], end: tuple[float, float], colour: str = "0.35") -> None:
        style = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=colour, lw=1)
        axes.add_patch(style)

    channels = 3
    for number, chain in enumerate(network.encoder.levels):
        y = -1.2 * number - 0.4
        steps = sum(type(layer) is BoundedMixing for layer in chain.steps)
        channels *= 4
        text = f"squeeze 2×2\n{steps} steps on {channels} channels"
        box(10, y, 3.6, text.replace("squeeze", "unsqueeze"), DECODER)
        if isinstance(chain.steps[-1], Shrinking):
            text += "\nshrinking"
        box(2.4, y, 3.6, text, ENCODER)
        arrow((6.0, y + 0.55), (10.0, y + 0.55), LATENT)
        share = channels // 2
        axes.text(8, y + 0.66, f"latent {number + 1}: {share} channels", ha="center", color=LATENT)
        channels = share
        if number + 1 < levels:
            arrow((4.2, y), (4.2, y - 0.4))
            arrow((11.8, y - 0.4), (11.8, y))
        else:
            arrow((6.0, y + 0.15), (10.0, y + 0.15), LATENT)
            axes.text(
                8, y - 0.2, f"latent {levels + 1}: {share} channels", ha="center", color=LATENT
            )
    axes.text(1.0, 0, "degraded", ha="center", va="center", weight="bold")
    axes.text(15.0, 0, "restored", ha="center", va="center", weight="bold")
    arrow((1.9, 0), (2.4, 0))
    arrow((13.6, 0), (14.1, 0))
    axes.text(4.2, 0.75, "encoder, run forward", ha="center", color=ENCODER, weight="bold")
    axes.text(11.8, 0.75, "decoder, run backward", ha="center", color=DECODER, weight="bold")
    save(figure, path)


def draw_psnr(model: object, path: Path) -> None:
    """PSNR of noisy and restored crops by noise level."""
    before, after = [], []
    for sigma in SIGMAS:
        pairs = [(clean, noisy(clean, sigma)) for clean in photographs().values()]
        batch = torch.cat([degraded for _, degraded in pairs])
        clean = torch.cat([clean for clean, _ in pairs])
        restored = model.restore(batch).clamp(0, 1)
        before.append(psnr(batch.clamp(0, 1), clean).mean().item())
        after.append(psnr(restored, clean).mean().item())
        print(f"sigma {sigma}: {before[-1]:.2f} -> {after[-1]:.2f} dB")
    figure, axes = plt.subplots(figsize=(5.6, 3.2))
    axes.axvspan(0, 55, color="0.94")
    axes.text(54, max(after), "trained on", ha="right", va="top", color="0.5")
    axes.plot(SIGMAS, after, "o-", color=DECODER, label="restored")
    axes.plot(SIGMAS, before, "s--", color="0.5", label="noisy, clipped to [0, 1]")
    for sigma, value in zip(SIGMAS, after, strict=True):
        if sigma in (15, 25, 50):
            axes.annotate(
                f"{value:.1f}", (sigma, value), (0, 7), textcoords="offset points", ha="center"
            )
    axes.set_xlim(0, 80)
    axes.set_xlabel("noise, σ in 8-bit units")
    axes.set_ylabel("PSNR, dB")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save(figure, path)


@torch.inference_mode()
def draw_latents(network: IRAE, path: Path) -> None:
    """What is left of the restored picture when latents are set to zero, and where noise is."""
    clean = photographs()["Chelsea"]
    degraded = noisy(clean, 25)
    latents = network.encoder(degraded - 0.5)
    without_noise = network.encoder(clean - 0.5)
    kept = [range(len(latents)), *([number] for number in range(len(latents)))]
    figure, axes = plt.subplots(1, len(kept) + 1, figsize=(2.05 * (len(kept) + 1), 2.6))
    panels = [("given: σ = 25", degraded)]
    nothing = network.decoder.inverse([torch.zeros_like(z) for z in latents])
    for numbers in kept:
        some = [z if i in numbers else torch.zeros_like(z) for i, z in enumerate(latents)]
        picture = network.decoder.inverse(some)
        title = "restored: all latents" if len(numbers) > 1 else f"latent {numbers[0] + 1} alone"
        # What cannot be seen is drawn stronger, by a power of ten.
        difference = picture - nothing
        times = 10 ** max(0, math.floor(-math.log10(max(float(difference.std()), 1e-9) / 0.3)))
        if times > 1:
            title, picture = f"{title}, ×{times:,}", nothing + times * difference
        panels.append((title, picture + 0.5))
    notes = ["", ""]
    for z, z_clean in zip(latents, without_noise, strict=True):
        noise = float((z - z_clean).square().mean().sqrt()) * 255
        signal = float(z_clean.square().mean().sqrt()) * 255
        notes.append(f"picture {signal:.1f}\nnoise {noise:.1f}")
    for place, (title, picture), note in zip(axes, panels, notes, strict=True):
        place.imshow(shown(picture))
        place.set_title(title, fontsize=9)
        place.set_xlabel(note, fontsize=8)
        place.set_xticks([])
        place.set_yticks([])
        place.spines[:].set_visible(False)
    save(figure, path)


@torch.inference_mode()
def draw_round_trip(network: IRAE, path: Path) -> None:
    """There and back: in float32, and from the restored picture as a file of 8 bits holds it."""
    degraded = noisy(photographs()["Chelsea"], 25)
    restored = network(degraded)
    recovered = network.inverse(restored)
    from_file = network.inverse((restored.clamp(0, 1) * 255).round() / 255)
    figure, axes = plt.subplots(1, 5, figsize=(10.6, 2.5))
    panels: list[tuple[str, object]] = [
        ("given: σ = 25", shown(degraded)),
        ("restored", shown(restored)),
        ("run backward", shown(recovered)),
        ("error of the way back", np.asarray(draw_error_map((recovered - degraded)[0]))),
        ("backward from an 8-bit file", shown(from_file)),
    ]
    for number, (place, (title, picture)) in enumerate(zip(axes, panels, strict=True)):
        # The legend of the map is made for a larger picture.
        place.imshow(picture[:SIDE, :SIDE] if number == 3 else picture)
        place.set_title(title, fontsize=9)
        place.set_xticks([])
        place.set_yticks([])
        place.spines[:].set_visible(False)
    error = (recovered - degraded).abs() * 255
    axes[3].set_xlabel(
        f"largest {error.max():.2g}/255\nRMS {error.square().mean().sqrt():.1g}/255", fontsize=8
    )
    rounded = (from_file - degraded).square().mean().sqrt() * 255
    axes[4].set_xlabel(f"RMS error {rounded:.1f}/255", fontsize=8)
    save(figure, path)


@torch.no_grad()
def draw_scales(network: IRAE, path: Path) -> None:
    """The singular values of every mixing matrix, by its place on the way through the network."""
    figure, axes = plt.subplots(figsize=(5.6, 2.8))
    place, bound = 0, 0.0
    marks = []
    parts = [("encoder", network.encoder, ENCODER), ("decoder", network.decoder, DECODER)]
    for name, flow, colour in parts:
        chains = list(enumerate(flow.levels, start=1))
        for level, chain in chains if name == "encoder" else reversed(chains):
            marks.append((place, f"{name}\nlevel {level}"))
            mixings = [layer for layer in chain.steps if isinstance(layer, BoundedMixing)]
            for mixing in mixings if name == "encoder" else reversed(mixings):
                values = torch.linalg.svdvals(mixing.matrix())
                # The decoder is run backward, so it divides by them.
                values = values if name == "encoder" else 1 / values
                axes.plot([place] * len(values), values, "_", color=colour, alpha=0.7)
                if isinstance(mixing, Shrinking):
                    axes.text(place, values.min() / 1.4, "shrinking", ha="center", va="top")
                else:
                    bound = mixing.bound
                place += 1
    axes.axhline(1, color="0.6", lw=0.8)
    for limit in (-bound, bound):
        axes.axhline(np.exp(limit), color="0.6", lw=0.8, ls="--")
    axes.text(place, np.exp(bound), f" exp({bound:g})", va="center", color="0.4")
    axes.text(place, np.exp(-bound), f" exp(−{bound:g})", va="center", color="0.4")
    axes.set_yscale("log")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 2)
    axes.set_xticks([at for at, _ in marks], [text for _, text in marks], ha="left")
    axes.set_ylabel("singular values")
    save(figure, path)


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parent.parent / "docs" / "figures"
    parser.add_argument("-o", "--output", type=Path, default=default)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model("denoise")
    network = model.network
    if not isinstance(network, IRAE):
        raise SystemExit("the packaged denoiser is no IRAE; these figures are of one")
    with plt.rc_context(PAGE):
        draw_flow(network, folder / "flow.svg")
        draw_scales(network, folder / "scales.png")
        draw_latents(network, folder / "latents.png")
        draw_round_trip(network, folder / "round-trip.png")
        draw_psnr(model, folder / "psnr-by-sigma.svg")
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
