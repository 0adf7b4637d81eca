"""The reports of a benchmark, from pictures that were really damaged, restored and measured."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur
from torchvision.utils import save_image

from irae.errors import DataError, UsageError
from irae.evaluation.benchmark.results_file import read_results
from irae.evaluation.information.figures import can_draw, draw_stages
from irae.evaluation.report import pictures as report_pictures
from irae.evaluation.report import plots as report_plots
from irae.evaluation.report.summary import sections, standings, verdicts
from irae.evaluation.report.write import write_reports
from irae.imaging.degrade import add_noise
from irae.imaging.metrics import psnr, ssim
from irae.runtime import generator

PICTURES = 8
EVIL = "<script>alert('x')</script> & \"model\" $a_b$ | *"

# Restorers simple enough to be known: each blurs with its own width.
MODELS: dict[str, tuple[str, float]] = {
    "irae": ("irae", 0.8),
    "irae-twin": ("irae", 0.8001),
    "ffdnet": ("ffdnet", 0.55),
    EVIL: ("nlm", 0.35),
}


def clean_picture(index: int) -> Tensor:
    coarse = torch.rand(1, 3, 6, 7, generator=generator(11, index))
    smooth = torch.nn.functional.interpolate(coarse, size=(60, 72), mode="bicubic")
    return (smooth.clamp(0, 1) * 255).round() / 255


def measure(a: Tensor, b: Tensor) -> dict[str, float]:
    return {"psnr": psnr(a, b).item(), "ssim": ssim(a, b).item()}


def make_cell(folder: Path, sigma: int, model: str, *, count: int = PICTURES) -> dict[str, Any]:
    network, blur = MODELS[model]
    where = folder / "samples" / f"noise-{sigma}"
    where.mkdir(parents=True, exist_ok=True)
    before, after, samples = [], [], []
    for index in range(count):
        clean = clean_picture(index)
        degraded = add_noise(clean[0], sigma, generator(index))[None]
        restored = gaussian_blur(degraded, [7, 7], [blur, blur]).clamp(0, 1)
        before.append(measure(degraded, clean))
        after.append(measure(restored, clean))
        if index < 2:
            number = list(MODELS).index(model)
            names = {"clean": "clean", "degraded": "degraded", "restored": f"model-{number}"}
            tensors = {"clean": clean, "degraded": degraded.clamp(0, 1), "restored": restored}
            sample = {"picture": f"{index}.png"}
            for kind, tensor in tensors.items():
                path = where / f"{index}-{names[kind]}.png"
                save_image(tensor, path)
                sample[kind] = path.relative_to(folder).as_posix()
            samples.append(sample)
    trained = {
        "budget": {"minutes": 5}, "steps": 1557, "patches": 24912, "seconds": 300.2, "seed": 0,
    }  # fmt: skip
    return {
        "cell": f"smooth/denoise-{sigma}/{model}",
        "dataset": "smooth",
        "task": "denoise",
        "level": sigma,
        "level_name": f"sigma {sigma}",
        "model": model,
        "network": network,
        "options": {"blur": blur},
        "protocol": "standard",
        "trained": trained if network == "irae" else None,
        "pictures": [f"{index}.png" for index in range(count)],
        "metrics": {key: [each[key] for each in after] for key in after[0]},
        "input": {key: [each[key] for each in before] for key in before[0]},
        "cost": {
            "parameters": 0 if network == "nlm" else 100_000 * len(model),
            "macs_per_pixel": None if network == "nlm" else 49.0 * len(model),
            "seconds_per_megapixel": 0.1 * len(model),
            "peak_memory": 3_500_000 if network == "irae" else None,
        },
        "samples": samples,
        "machine": {"device": "cpu", "processor": "test <machine>", "cores": 2},
        "versions": {"irae": "0.1.0", "torch": torch.__version__},
    }


INFORMATION = {
    "noise": 0.1,
    "validation": [
        {"true": 0.51, "ksg": 0.52, "mine": 0.47, "dimension": 1, "rho": 0.8},
        {"true": 1.02, "ksg": 0.99, "mine": None, "dimension": 2, "rho": 0.8},
    ],
    "models": [
        {
            "model": EVIL,
            "stages": [
                {"stage": "input", "probe_psnr": 40.1, "probe": "exact inverse", "ksg": 1.1,
                 "mine": 1.0},
                {"stage": "after level 1", "probe_psnr": 31.25, "probe": "exact inverse",
                 "ksg": 0.8, "mine": None},
            ],
        }
    ],
}  # fmt: skip


def write_cells(folder: Path, cells: list[dict[str, Any]]) -> None:
    lines = [json.dumps(cell) + "\n" for cell in cells]
    (folder / "results.jsonl").write_text("".join(lines), encoding="utf-8")


def make_benchmark(folder: Path) -> Path:
    write_cells(folder, [make_cell(folder, s, model) for s in (25, 50) for model in MODELS])
    (folder / "information.json").write_text(json.dumps(INFORMATION), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_benchmark(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def reports(benchmark: Path) -> dict[str, str]:
    written = write_reports(benchmark)
    names = ["results.csv", "results.md", "results.tex", "report.html"]
    assert [path.name for path in written] == names
    return {path.name: path.read_text(encoding="utf-8") for path in written}


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is most of the time a report takes."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_a_cut_last_line_is_left_out_and_no_other(benchmark: Path, tmp_path: Path) -> None:
    content = (benchmark / "results.jsonl").read_bytes()
    path = tmp_path / "results.jsonl"
    path.write_bytes(content[:-200])
    assert len(read_results(path)) == 7
    path.write_bytes(content[:-1])  # only the line feed is gone, the cell is whole
    assert len(read_results(path)) == 8
    lines = content.split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:-200], lines[2], b""]))
    with pytest.raises(DataError, match=r"results\.jsonl, line 2 is not JSON; remove"):
        read_results(path)
    path.write_bytes(b"")
    assert read_results(path) == []
    with pytest.raises(DataError, match="no finished cell"):
        write_reports(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path / "other.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cell: cell.pop("task"), "lacks 'task'"),
        (lambda cell: cell["metrics"]["psnr"].pop(), "metrics has 7 numbers for 'psnr' and 8"),
    ],
)
def test_a_malformed_cell_is_named(
    benchmark: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    cell = read_results(benchmark / "results.jsonl")[0]
    change(cell)
    write_cells(tmp_path, [cell])
    with pytest.raises(DataError, match=f"line 1.*{message}"):
        read_results(tmp_path / "results.jsonl")


def test_a_cell_measured_again_counts_once(benchmark: Path, tmp_path: Path) -> None:
    first, second, *_ = read_results(benchmark / "results.jsonl")
    write_cells(tmp_path, [first, second, {**first, "metrics": {}}])
    cells = read_results(tmp_path / "results.jsonl")
    assert [cell["model"] for cell in cells] == ["irae-twin", "irae"]
    assert cells[1]["metrics"] == {}


def test_best_and_tied(benchmark: Path) -> None:
    (section,) = sections(read_results(benchmark / "results.jsonl"))
    assert [level.level for level in section.levels] == [25, 50]
    standing = standings(section.levels[1], "psnr")
    # More blur restores these smooth pictures better, and all of them; the twin is nearly alike
    # but better on every picture, which the test finds too.
    assert standing["irae-twin"].best
    assert not standing["irae"].tied
    assert not standing["ffdnet"].tied
    assert standing["ffdnet"].against_best is not None
    assert standing["ffdnet"].against_best.p < 0.05


def test_what_differs_by_chance_is_tied_and_no_win(
    benchmark: Path, tmp_path: Path, without_plots: None
) -> None:
    cell = read_results(benchmark / "results.jsonl")[0]
    scores = [30 + 0.5 * index for index in range(PICTURES)]
    up_and_down = [s + (0.3 if i % 2 else -0.29) for i, s in enumerate(scores)]
    rival = {**cell, "cell": "b", "model": "b", "network": "dncnn", "metrics": {"psnr": scores}}
    ours = {**cell, "metrics": {"psnr": up_and_down}}
    (section,) = sections([ours, rival])
    standing = standings(section.levels[0], "psnr")
    assert standing["irae"].best
    assert standing["b"].tied
    (verdict,) = verdicts([section], "psnr")
    assert verdict.word == "tie"
    assert verdict.comparison.difference.mean == pytest.approx(0.005)
    write_cells(tmp_path, [ours, rival])
    write_reports(tmp_path)
    assert re.search(r"\| b +\| +31\.75 ≈ \(", (tmp_path / "results.md").read_text("utf-8"))
    assert "31.75 $\\approx$" in (tmp_path / "results.tex").read_text("utf-8")
    assert '<span>31.75</span><abbr title="tied with the best">' in (
        tmp_path / "report.html"
    ).read_text("utf-8")


def test_wins_and_losses_are_against_the_best_baseline(benchmark: Path) -> None:
    found = sections(read_results(benchmark / "results.jsonl"))
    judged = verdicts(found, "psnr")
    assert [(v.level.level, v.model) for v in judged] == [
        (25, "irae"), (25, "irae-twin"), (50, "irae"), (50, "irae-twin"),
    ]  # fmt: skip
    for verdict in judged:
        assert verdict.baseline == "ffdnet"
        assert verdict.comparison.difference.mean == pytest.approx(verdict.ours - verdict.theirs)
        assert verdict.word == "win"
    worse = [dict(cell) for cell in read_results(benchmark / "results.jsonl")]
    for cell in worse:
        if cell["network"] == "irae":
            cell["metrics"] = {"psnr": [value - 20 for value in cell["metrics"]["psnr"]]}
    assert {v.word for v in verdicts(sections(worse), "psnr")} == {"loss"}


def test_other_pictures_protocols_and_luma_are_never_compared(benchmark: Path) -> None:
    cells = [c for c in read_results(benchmark / "results.jsonl") if c["level"] == 25][:3]
    fewer = {**cells[2], "pictures": [f"other-{i}" for i in range(PICTURES)]}
    (section,) = sections([*cells[:2], fewer])
    assert [len(level.cells) for level in section.levels] == [2, 1]
    assert verdicts([section], "psnr") == []
    for change in ({"protocol": "authors"}, {"measured_on": "Y"}):
        apart = sections([*cells[:2], {**cells[2], **change}])
        assert len(apart) == 2
        assert verdicts(apart, "psnr") == []
        assert apart[0].title != apart[1].title


def test_a_measure_that_one_picture_lacks_is_not_averaged(benchmark: Path) -> None:
    cells = [dict(c) for c in read_results(benchmark / "results.jsonl") if c["level"] == 25]
    cells[0]["metrics"] = {
        "psnr": ["inf", *cells[0]["metrics"]["psnr"][1:]],
        "ssim": [None, *cells[0]["metrics"]["ssim"][1:]],
    }
    (section,) = sections(cells)
    assert "irae" not in standings(section.levels[0], "ssim")
    assert standings(section.levels[0], "psnr")["irae"].score.mean == float("inf")


def test_a_model_alone_is_best_of_nothing_and_has_no_scatter(benchmark: Path) -> None:
    (section,) = sections(read_results(benchmark / "results.jsonl")[:1])
    standing = standings(section.levels[0], "psnr")
    assert not standing["irae"].best
    assert report_plots.section_plots(section) == []


def test_csv_holds_the_means(benchmark: Path, reports: dict[str, str]) -> None:
    rows = list(csv.DictReader(io.StringIO(reports["results.csv"])))
    cells = {cell["cell"]: cell for cell in read_results(benchmark / "results.jsonl")}
    assert len(rows) == 2 * 2 * len(MODELS)
    for row in rows:
        level = row["level"].removeprefix("sigma ")
        scores = cells[f"smooth/denoise-{level}/{row['model']}"]["metrics"][row["measure"]]
        assert float(row["mean"]) == pytest.approx(sum(scores) / PICTURES)
        assert float(row["low"]) < float(row["mean"]) < float(row["high"])
    assert {row["model"] for row in rows} == set(MODELS)
    assert sum(int(row["best"]) for row in rows) == 4


def test_markdown_tables_are_whole(reports: dict[str, str]) -> None:
    text = reports["results.md"]
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 5  # two of verdicts, two of scores, one of costs
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1
    assert "\\<script\\>" in text
    assert "budget 5 minutes: 1,557 steps, 24,912 patches, 300 s, seed 0" in text
    assert "Holm" in text
    assert "Wilcoxon" in text
    assert "10,000 resamples" in text
    assert "Protocol standard: 8-bit targets" in text
    assert "sigma 25, 8 pictures" in text


def test_latex_is_escaped_and_balanced(reports: dict[str, str]) -> None:
    text = reports["results.tex"]
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    assert "\\& \"model\" \\$a\\_b\\$" in text  # fmt: skip
    for line in text.splitlines():
        if line.endswith("\\\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == 2, line
        if not line.startswith("%"):
            bare = re.sub(r"\\.", "", line)
            assert bare.count("{") == bare.count("}")
            assert bare.count("$") % 2 == 0
            assert not re.search(r"[%#_]", bare)
    assert text.count("\\textbf{") == 4


class Collector(HTMLParser):
    """Elements and addresses of a page, and whether every element is closed in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        if name not in ("meta", "link", "img", "input", "source"):
            self.open.append(name)
        for key, value in attributes:
            if key in ("src", "href", "srcset", "action", "data"):
                self.addresses.append(value or "")
            self.handlers += [key] if key.startswith("on") or key == "style" else []

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def test_the_page_is_self_contained_and_escaped(reports: dict[str, str]) -> None:
    page = reports["report.html"]
    collector = Collector()
    collector.feed(page)
    assert collector.open == []
    assert collector.tags.count("script") == collector.tags.count("style") == 1
    assert all(each.startswith(("data:", "#")) for each in collector.addresses)
    assert collector.handlers == []
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;model&#34;" in page
    assert "default-src &#39;none&#39;" in page
    assert "test &lt;machine&gt;" in page
    for said in ("10,000 resamples", "8-bit targets", "budget 5 minutes", "8 pictures", "Holm"):
        assert said in page


def test_the_page_is_the_same_for_the_same_results(
    benchmark: Path, reports: dict[str, str]
) -> None:
    write_reports(benchmark)
    assert (benchmark / "report.html").read_text(encoding="utf-8") == reports["report.html"]


def test_the_pictures_of_the_page_are_those_of_the_benchmark(benchmark: Path) -> None:
    found = sections(read_results(benchmark / "results.jsonl"))
    shown, left_out = report_pictures.strips(benchmark, found)
    assert left_out == 0
    assert [(s.level.level, s.picture) for s in shown] == [
        (25, "0.png"), (25, "1.png"), (50, "0.png"), (50, "1.png"),
    ]  # fmt: skip
    strip = shown[1]
    assert [each.name for each in strip.shown] == ["clean", "degraded", *MODELS]
    clean, _, ours = (pixels(each.picture) for each in strip.shown[:3])
    assert torch.equal(clean, file_pixels(benchmark / "samples/noise-25/1-clean.png"))
    assert torch.equal(ours, file_pixels(benchmark / "samples/noise-25/1-model-0.png"))
    expected = (ours - clean).abs().mean(0) * report_pictures.ERROR_GAIN
    error = strip.shown[2].error
    assert error is not None
    assert (pixels(error)[0] - expected.clamp(max=255)).abs().max() <= 0.5001
    scores = found[0].levels[0].cells[0]["metrics"]["psnr"]
    assert strip.shown[2].psnr == scores[1]
    assert strip.shown[0].error is None


def pixels(uri: str) -> Tensor:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return file_pixels(io.BytesIO(data))


def file_pixels(source: Path | io.BytesIO) -> Tensor:
    with Image.open(source) as image:
        picture = image.convert("RGB")
    flat = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return flat.reshape(picture.height, picture.width, 3).permute(2, 0, 1).float()


def test_the_size_of_the_page_is_bounded(
    benchmark: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = sections(read_results(benchmark / "results.jsonl"))
    one = report_pictures.strips(benchmark, found)[0][0].bytes
    monkeypatch.setattr(report_pictures, "PAGE_BYTES", int(2.5 * one))
    shown, left_out = report_pictures.strips(benchmark, found)
    # One picture of each level comes before a second of any.
    assert [(s.level.level, s.picture) for s in shown] == [(25, "0.png"), (50, "0.png")]
    assert left_out == 2


def test_a_large_picture_is_cropped_not_scaled(benchmark: Path, tmp_path: Path) -> None:
    cell = read_results(benchmark / "results.jsonl")[0]
    noise = torch.rand(1, 3, 300, 400, generator=generator(12))
    for name in ("clean", "degraded", "restored"):
        save_image(noise, tmp_path / f"{name}.png")
    names = {name: f"{name}.png" for name in ("clean", "degraded", "restored")}
    found = sections([{**cell, "samples": [{"picture": "0.png", **names}]}])
    ((strip,), _) = report_pictures.strips(tmp_path, found)
    assert strip.size == (256, 256)
    whole = file_pixels(tmp_path / "clean.png")
    assert torch.equal(pixels(strip.shown[0].picture), whole[:, 22:278, 72:328])


def test_the_window_is_where_the_clean_picture_has_detail(benchmark: Path, tmp_path: Path) -> None:
    cell = read_results(benchmark / "results.jsonl")[0]
    picture = torch.full((1, 3, 120, 160), 0.5)
    picture[..., 70:110, 100:140] = torch.rand(1, 3, 40, 40, generator=generator(13))
    for name in ("clean", "degraded", "restored"):
        save_image(picture, tmp_path / f"{name}.png")
    names = {name: f"{name}.png" for name in ("clean", "degraded", "restored")}
    found = sections([{**cell, "samples": [{"picture": "0.png", **names}]}])
    ((strip,), _) = report_pictures.strips(tmp_path, found)
    left, top = strip.window
    assert left * 160 == pytest.approx(100, abs=1)
    assert top * 120 == pytest.approx(70, abs=1)


def test_missing_and_foreign_sample_files_are_passed_over(
    benchmark: Path, tmp_path: Path, without_plots: None
) -> None:
    cell = read_results(benchmark / "results.jsonl")[0]
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    inside = tmp_path / "benchmark"
    inside.mkdir()
    outside = dict.fromkeys(("clean", "degraded", "restored"), "../outside.png")
    absent = dict.fromkeys(("clean", "degraded", "restored"), "absent.png")
    samples = [{"picture": "0.png", **outside}, {"picture": "1.png", **absent}]
    write_cells(inside, [{**cell, "samples": samples}])
    write_reports(inside)
    assert 'class="strip"' not in (inside / "report.html").read_text(encoding="utf-8")


def test_without_matplotlib_there_is_a_report_and_a_remedy(
    benchmark: Path, tmp_path: Path, without_plots: None
) -> None:
    write_cells(tmp_path, read_results(benchmark / "results.jsonl"))
    assert not can_draw()
    write_reports(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "pip install 'irae[report]'" in page
    assert "<table>" in page
    assert "data:image/svg+xml" not in page


def test_without_jinja_there_are_tables_and_a_remedy(
    benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cells(tmp_path, read_results(benchmark / "results.jsonl"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(
        UsageError, match=r"report\.html needs Jinja2; pip install 'irae\[report\]'"
    ):
        write_reports(tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"results.jsonl", "results.csv", "results.md", "results.tex"}


def test_plots_show_every_model_in_both_colours(reports: dict[str, str]) -> None:
    pytest.importorskip("matplotlib")
    page = reports["report.html"]
    # Two of verdicts, two scatters, one of curves, the validation, the stages of one model.
    assert page.count("data:image/svg+xml") == 2 * 7
    sources = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    for source in sources:
        assert base64.b64decode(source).lstrip().startswith(b"<?xml")
    assert "PSNR against parameters. sigma 25: irae " in page


def test_the_section_on_information(reports: dict[str, str], benchmark: Path) -> None:
    page = reports["report.html"]
    section = page[page.index('id="information"') :]
    for said in ("standard deviation 0.1", "31.25", "exact inverse", "0.470", "after level 1"):
        assert said in section
    assert "<td>-</td>" in section


def test_damaged_information_is_named(benchmark: Path, tmp_path: Path, without_plots: None) -> None:
    write_cells(tmp_path, read_results(benchmark / "results.jsonl"))
    write_reports(tmp_path)
    assert 'id="information"' not in (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "information.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"information\.json is not JSON"):
        write_reports(tmp_path)


def test_machines_that_differ_are_told_apart(
    benchmark: Path, tmp_path: Path, without_plots: None
) -> None:
    cells = read_results(benchmark / "results.jsonl")
    cells[0] = {**cells[0], "machine": {"device": "cuda"}}
    write_cells(tmp_path, cells)
    write_reports(tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "times of different machines are not comparable" in text
    assert "machine of 7 cells" in text


def test_stages_are_drawn_with_their_probes_and_the_input_itself() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure(layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    stages = [
        {"stage": "input", "probe_psnr": 90.0, "probe": "exact inverse", "ksg": 1.0, "mine": None},
        {"stage": "output", "probe_psnr": 30.0, "probe": "trained decoder", "ksg": None},
    ]
    identity = {"ksg": 1.2, "mine": 1.1}
    draw_stages(upper, lower, {"model": "m", "identity": identity, "stages": stages})
    ring = next(line for line in upper.lines if line.get_label() == "trained decoder")
    assert ring.get_xydata().tolist() == [[1, 30]]
    dotted = [line.get_ydata()[0] for line in lower.lines if line.get_linestyle() == ":"]
    assert dotted == [1.2, 1.1]
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["probe", "trained decoder", "KSG", "the input itself"]
