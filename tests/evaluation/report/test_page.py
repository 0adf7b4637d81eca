"""The page of a benchmark in a browser: Chromium, without a window, through Playwright."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from irae.evaluation.report.write import write_reports


def make_benchmark(folder: Path) -> Path:
    """The benchmark of the tests of the report beside this file."""
    path = Path(__file__).with_name("test_report.py")
    spec = importlib.util.spec_from_file_location("report_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Path = module.make_benchmark(folder)
    return made


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = make_benchmark(tmp_path_factory.mktemp("page"))
    write_reports(folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    with chromium(180_000) as started:
        yield started


class Visit:
    """An opened page, what it said and what it asked for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(180_000)
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visit = Visit(browser, address, viewport={"width": 1280, "height": 900})
    yield visit
    visit.page.close()


def clip(page: Any) -> float:
    """Where the divider of the first strip is, in per cent, as the browser clips."""
    style = page.locator(".over").first.evaluate("e => getComputedStyle(e).clipPath")
    # inset(0 0 0 37.5%)
    return float(style.rstrip(")").split()[-1].removesuffix("%"))


def test_it_renders_and_asks_no_network(visit: Visit, address: str) -> None:
    page = visit.page
    # One script element of text, no alert: an alert would have held up goto.
    assert page.title() == "Benchmark of restoring models"
    assert page.locator("article.strip").count() == 4
    assert page.locator("table").count() == 7
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth && i.src).length"
    page.wait_for_function("[...document.images].every(i => i.complete)")
    assert page.evaluate(broken) == 0
    assert page.locator("img").count() > 40
    outside = [each for each in visit.requests if not each.startswith("data:")]
    assert outside == [address]
    assert visit.said == []


def test_its_policy_keeps_the_network_out(visit: Visit) -> None:
    answer = visit.page.evaluate(
        "fetch('http://127.0.0.1:9/x').then(() => 'reached', e => String(e))"
    )
    assert "Failed to fetch" in answer
    assert any("Content Security Policy" in each for each in visit.said)


def test_the_divider_follows_the_keyboard_and_the_mouse(visit: Visit) -> None:
    page = visit.page
    divider = page.locator(".divider").first
    assert clip(page) == 50
    divider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert clip(page) == 52
    page.keyboard.press("Home")
    assert clip(page) == 0
    assert "degraded, then irae" in divider.get_attribute("aria-valuetext")

    divider.scroll_into_view_if_needed()
    box = divider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.3 * box["width"], middle)
    page.mouse.down()
    assert clip(page) == pytest.approx(30, abs=1)
    page.mouse.move(box["x"] + 0.75 * box["width"], middle, steps=5)
    page.mouse.up()
    assert clip(page) == pytest.approx(75, abs=1)
    assert visit.said == []


def test_the_two_sides_show_what_is_chosen(visit: Visit) -> None:
    page = visit.page
    strip = page.locator("article.strip").first
    sources = strip.locator(".whole img").evaluate_all("all => all.map(i => i.src)")
    assert strip.locator(".under").get_attribute("src") == sources[1]
    assert strip.locator(".over").get_attribute("src") == sources[2]
    strip.locator("select.left").select_option(label="clean")
    strip.locator("select.right").select_option(label="ffdnet")
    assert strip.locator(".under").get_attribute("src") == sources[0]
    assert strip.locator(".over").get_attribute("src") == sources[4]
    strip.locator("select.scale").select_option("4")
    # The pictures are 72 pixels wide; magnified without smoothing.
    assert strip.locator(".over").bounding_box()["width"] == pytest.approx(4 * 72)
    rendering = "e => getComputedStyle(e).imageRendering"
    assert strip.locator(".over").evaluate(rendering) == "pixelated"
    assert strip.locator(".zoom img").first.evaluate(rendering) == "pixelated"


def test_the_window_moves_in_all_pictures_at_once(visit: Visit) -> None:
    page = visit.page
    strip = page.locator("article.strip").first
    edges = "all => all.map(e => parseFloat(e.style.left))"

    whole = strip.locator(".whole").nth(2)
    whole.scroll_into_view_if_needed()
    box = whole.bounding_box()
    page.mouse.click(box["x"] + 1, box["y"] + 1)
    assert strip.locator(".window").evaluate_all(edges) == [0] * 6
    page.keyboard.press("ArrowRight")
    moved = strip.locator(".window").evaluate_all(edges)
    # A quarter of a window of 40 in 72 pixels.
    assert moved == pytest.approx([100 * 10 / 72] * 6, abs=0.1)
    zoomed = strip.locator(".zoom img").evaluate_all(edges)
    assert zoomed == pytest.approx([-25] * 6, abs=0.1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone_and_either_scheme(browser: Any, address: str, scheme: str) -> None:
    visit = Visit(browser, address, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page = visit.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    # A wide table scrolls in its own box.
    wide = "e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX === 'auto'"
    assert page.locator("#verdicts .table").first.evaluate(wide)
    pytest.importorskip("matplotlib")
    plot = page.locator(".plot img").first
    assert (plot.evaluate("e => e.currentSrc") == plot.get_attribute("src")) == (scheme == "light")
    assert visit.said == []
    page.close()


def test_without_script_every_picture_is_there(browser: Any, address: str) -> None:
    visit = Visit(browser, address, java_script_enabled=False)
    assert visit.page.locator(".whole img").first.is_visible()
    assert visit.page.locator(".error").first.is_visible()
    assert not visit.page.locator(".slider").first.is_visible()
    assert not visit.page.locator(".zoom").first.is_visible()
    visit.page.close()
