"""Draw the figures of docs/how-it-works.md with the packaged denoiser.

The photographs come with scikit-image: Chelsea (CC0, Stefan van der Walt), Eileen Collins (public
domain, NASA) and a cup of coffee (CC0, Rachel Michetti). None was trained on. Figures say on
themselves what was measured, so that the page need not be changed when the weights are.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from skimage import data

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from irae import load_model
from irae.flow.lifted import to_grid
from irae.flow.subnets import set_network_dtype
from irae.imaging.degrade import add_noise
from irae.imaging.metrics import psnr
from irae.models.loaded import LoadedModel
from irae.models.networks.lifted import PICTURE_CHANNELS, LiftedIRAE, picture_of

SIGMA = 25
SIGMAS = (5, 10, 15, 20, 25, 30, 40, 50, 60, 75)
SIDE = 160
PART = (slice(None), slice(None), slice(10, 90), slice(2, 82))
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


def decibels(picture: torch.Tensor, clean: torch.Tensor) -> float:
    """PSNR of a picture clipped to [0, 1]."""
    return psnr(picture.clamp(0, 1), clean).mean().item()


def rms(difference: torch.Tensor) -> float:
    """In 8-bit units."""
    return float(difference.double().square().mean().sqrt()) * 255


def show(place: Axes, picture: torch.Tensor, title: str, note: str = "") -> None:
    """A picture ``1 3 H W`` between its title and a note."""
    place.imshow(picture[0].clamp(0, 1).permute(1, 2, 0).numpy())
    frame(place, title, note)


def frame(place: Axes, title: str, note: str = "") -> None:
    """Title and note of a picture, and no axes."""
    place.set_title(title, fontsize=9)
    place.set_xlabel(note, fontsize=8)
    place.set_xticks([])
    place.set_yticks([])
    place.spines[:].set_visible(False)


def save(figure: plt.Figure, path: Path, colours: int = 160) -> None:
    """Write an SVG that is the same for the same figure, or a PNG of few colours (0: of all)."""
    if path.suffix == ".svg":
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        # Matplotlib ends lines with blanks.
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
    else:
        figure.savefig(path, bbox_inches="tight", dpi=100)
        drawn = Image.open(path).convert("RGB")
        if colours:
            drawn = drawn.quantize(colours, dither=Image.Dither.NONE)
        drawn.save(path, optimize=True)
    plt.close(figure)


def draw_flow(network: LiftedIRAE, path: Path) -> None:
    """The two streams and every coupling between them."""
    count, width, half = (
        len(network.flow.couplings),
        network.width,
        len(network.flow.couplings) // 2,
    )
    step, gap, left, above, below = 0.62, 0.9, 3.2, 1.0, -1.0
    at = [left + 0.55 + number * step + (gap if number >= half else 0) for number in range(count)]
    right = at[-1] + 0.55
    middle = (at[half - 1] + at[half]) / 2
    figure, axes = plt.subplots(figsize=(9.6, 2.9))
    axes.set_xlim(-1.45, right + 3.2)
    axes.set_ylim(-2.1, 1.75)
    axes.set_aspect("equal")
    axes.axis("off")

    def arrow(start: tuple[float, float], end: tuple[float, float], colour: str = "0.35") -> None:
        style = {"arrowstyle": "-|>", "mutation_scale": 9, "lw": 1, "shrinkA": 0, "shrinkB": 0}
        axes.add_patch(FancyArrowPatch(start, end, color=colour, **style))

    def box(x: float, y: float, text: str, colour: str, size: tuple[float, float]) -> None:
        corner = (x - size[0] / 2, y - size[1] / 2)
        axes.add_patch(Rectangle(corner, *size, fc=colour, ec="0.35", lw=0.8, zorder=3))
        axes.text(x, y, text, ha="center", va="center", fontsize=7.5, zorder=4)

    parts = [("encoder", at[:half], ENCODER), ("decoder", at[half:], DECODER)]
    for name, places, colour in parts:
        start, end = places[0] - 0.37, places[-1] + 0.37
        axes.add_patch(Rectangle((start, -1.35), end - start, 2.7, fc=colour, ec="none", alpha=0.1))
        label = f"{name}: {len(places)} couplings"
        axes.text((start + end) / 2, 1.47, label, ha="center", color=colour, weight="bold")
    for y, name in ((above, "a"), (below, "b")):
        axes.plot([left - 0.62, right + 0.3], [y, y], color="0.35", lw=1, zorder=1)
        axes.text(left - 0.1, y + 0.12, name, style="italic", ha="center")
    for number, x in enumerate(at):
        source, changed = (below, above) if number % 2 == 0 else (above, below)
        side = 1 if changed > source else -1
        arrow((x, source), (x, -side * 0.26))
        arrow((x, side * 0.26), (x, changed - side * 0.14))
        axes.plot([x], [source], "o", ms=2.5, color="0.35")
        axes.add_patch(Circle((x, changed), 0.14, fc="white", ec="0.35", lw=0.9, zorder=3))
        axes.plot([x - 0.08, x + 0.08], [changed] * 2, color="0.35", lw=0.9, zorder=4)
        axes.plot([x] * 2, [changed - 0.08, changed + 0.08], color="0.35", lw=0.9, zorder=4)
        box(x, 0, rf"$f_{{{number}}}$", "white", (0.46, 0.52))
    axes.plot([middle] * 2, [-1.35, 1.35], color=LATENT, lw=1.2, ls="--")
    text = f"latent: {2 * width} channels"
    axes.text(middle, -1.5, text, ha="center", va="top", color=LATENT, weight="bold")
    axes.text(-1.4, 0, "degraded\npicture", va="center", weight="bold")
    lift = f"squeeze 2×2:\n{PICTURE_CHANNELS} channels,\nthen zeros:\n{width} channels"
    box(left - 1.72, 0, lift, "0.93", (1.9, 1.3))
    arrow((0.2, 0), (left - 2.67, 0))
    for y in (above, below):
        axes.plot([left - 0.77, left - 0.62, left - 0.62], [0, 0, y], color="0.35", lw=1)
    end = right + 0.3
    first = f"first {PICTURE_CHANNELS} channels"
    axes.plot([end] * 2, [below, above], color="0.35", lw=1, zorder=1)
    for y, name, text in (
        (0.55, "restored picture", f"(a + b) / 2 of the {first}"),
        (-0.55, "remainder", f"a − b of the {first},\nand all the other channels"),
    ):
        arrow((end, y), (end + 0.3, y))
        axes.text(end + 0.38, y, name, va="center", weight="bold")
        axes.text(end + 0.38, y - 0.22, text, va="top", fontsize=7)
    save(figure, path)


@torch.inference_mode()
def draw_couplings(network: LiftedIRAE, path: Path) -> None:
    """The picture that the two streams stand for after every coupling."""
    whole = photographs()["Chelsea"]
    a = b = network.lift(noisy(whole, SIGMA))
    pictures = [(f"given: σ = {SIGMA}", picture_of(a, b))]
    for number in range(len(network.flow.couplings)):
        a, b = network.flow(a, b, start=number, stop=number + 1)
        pictures.append((f"coupling {number}", picture_of(a, b)))
    columns = 7
    rows = -(-(len(pictures) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.45 * columns, 1.85 * rows))
    for place in axes.flat:
        place.axis("off")
    for place, (title, picture) in zip(axes.flat, pictures, strict=False):
        place.axis("on")
        # Measured on the whole crop; of a part of it the noise can be seen.
        show(place, picture[PART], title, f"{decibels(picture, whole):.1f} dB")
    place = axes.flat[len(pictures)]
    place.axis("on")
    show(place, whole[PART], "the photograph")
    save(figure, path)


@torch.inference_mode()
def draw_remainder(network: LiftedIRAE, path: Path) -> None:
    """What the remainder holds of a noisy and of a clean crop."""
    clean = photographs()["Chelsea"]
    degraded = noisy(clean, SIGMA)
    restored, of_noisy = network.split(degraded)
    _, of_clean = network.split(clean)
    pictures = []
    for remainder in (of_noisy, of_clean):
        difference = remainder.latent[:, :PICTURE_CHANNELS]
        pictures.append(torch.nn.functional.pixel_shuffle(difference, 2))
    figure = plt.figure(figsize=(10.4, 2.5))
    grid = figure.add_gridspec(1, 4, width_ratios=(1, 1, 1, 1.75), wspace=0.12)
    panels = [
        ("what was removed:\ndegraded − restored", degraded - restored),
        ("remainder, a − b:\nof the noisy crop", pictures[0]),
        ("remainder, a − b:\nof the clean crop", pictures[1]),
    ]
    for number, (title, difference) in enumerate(panels):
        place = figure.add_subplot(grid[number])
        show(place, difference + 0.5, title, f"RMS {rms(difference):.1f}")
    place = figure.add_subplot(grid[3])
    box = place.get_position()
    place.set_position((box.x0 + 0.045, box.y0 + 0.02, box.width - 0.045, box.height - 0.02))
    for remainder, colour, label in (
        (of_noisy, DECODER, f"noisy crop, σ = {SIGMA}"),
        (of_clean, "0.4", "clean crop"),
    ):
        values = [rms(channel) for channel in remainder.latent[0]]
        place.plot(range(len(values)), values, "o-", ms=2.5, lw=0.8, color=colour, label=label)
    others = network.width - PICTURE_CHANNELS
    edges = [0, PICTURE_CHANNELS, PICTURE_CHANNELS + others, PICTURE_CHANNELS + 2 * others]
    place.set_ylim(0, place.get_ylim()[1] * 1.3)
    names = ("a − b", "a, the others", "b, the others")
    for end in edges[1:-1]:
        place.axvline(end - 0.5, 0, 0.84, color="0.8", lw=0.8, zorder=0)
    place.set_xlim(-1, edges[-1])
    centres = [(start + end - 1) / 2 for start, end in itertools.pairwise(edges)]
    place.set_xticks(centres, names)
    place.tick_params(labelsize=8)
    place.tick_params(axis="x", length=0)
    place.set_title("RMS of every channel of the remainder", fontsize=9)
    place.legend(frameon=False, fontsize=8, ncols=2, loc="upper left", borderaxespad=0)
    save(figure, path)


@torch.inference_mode()
def draw_round_trip(network: LiftedIRAE, path: Path) -> None:
    """There and back: exactly, and in plain arithmetic with float32 and bfloat16 networks."""
    # On the grid, as files of 8 and 16 bits are once they are rounded to it.
    degraded = to_grid(noisy(photographs()["Chelsea"], SIGMA))
    errors = {}
    for name, dtype in (("float32", None), ("bfloat16", torch.bfloat16)):
        set_network_dtype(network, dtype)
        for exact in (True, False):
            given, remainder = network.split(degraded, exact=exact)
            difference = network.join(given, remainder) - degraded
            errors[name, exact] = difference[0].abs().amax(0).double() * 255
    set_network_dtype(network, None)
    restored = network(degraded)
    figure, axes = plt.subplots(1, 5, figsize=(10.6, 2.4))
    show(axes[0], degraded, f"given: σ = {SIGMA}")
    show(axes[1], restored, "restored")
    both = torch.maximum(errors["float32", True], errors["bfloat16", True])
    notes = [f"{name} networks: {errors[name, True].max():.2g}" for name in ("float32", "bfloat16")]
    maps = [("error, exact", both, "\n".join(["largest", *notes]))]
    for name in ("float32", "bfloat16"):
        error = errors[name, False]
        note = f"largest {error.max():.2g}\nRMS {error.square().mean().sqrt():.1g}"
        maps.append((f"error, plain {name}", error, note))
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="0.9", under="0.9")
    for place, (title, error, note) in zip(axes[2:], maps, strict=True):
        drawn = place.imshow(error.numpy(), norm=LogNorm(1e-5, 10), cmap=colours)
        frame(place, title, note)
    box = axes[-1].get_position()
    scale = figure.add_axes((box.x1 + 0.012, box.y0, 0.012, box.height))
    figure.colorbar(drawn, cax=scale, label="8-bit units; gray: equal")
    save(figure, path, colours=0)


def draw_psnr(model: LoadedModel, path: Path) -> None:
    """PSNR of noisy and restored crops by noise level."""
    before, after = [], []
    for sigma in SIGMAS:
        pairs = [(clean, noisy(clean, sigma)) for clean in photographs().values()]
        batch = torch.cat([degraded for _, degraded in pairs])
        clean = torch.cat([clean for clean, _ in pairs])
        before.append(decibels(batch, clean))
        after.append(decibels(model.restore(batch), clean))
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


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parent.parent / "docs" / "figures"
    parser.add_argument("-o", "--output", type=Path, default=default)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model("denoise")
    network = model.network
    if not isinstance(network, LiftedIRAE):
        raise SystemExit("the packaged denoiser is not lifted; these figures are of one that is")
    with plt.rc_context(PAGE):
        draw_flow(network, folder / "flow.svg")
        draw_couplings(network, folder / "couplings.png")
        draw_remainder(network, folder / "remainder.png")
        draw_round_trip(network, folder / "round-trip.png")
        draw_psnr(model, folder / "psnr-by-sigma.svg")
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
