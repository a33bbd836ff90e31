"""Pictures of rooms: to scale, true to their numbers, safe whatever walls are called, told in words too."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from fxstyle.report import room
from fxstyle.report.room import Walls, decay_curves, decay_per_band, elevation, page, plan
from fxstyle.report.style import CSS
from fxstyle.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH

SIZE = (6.0, 4.0, 3.0)
SOURCE, MICROPHONE = (1.5, 1.0, 1.2), (4.5, 3.0, 1.8)
LABELS = ("brick", "glass", "curtains", "plaster", "carpet", "tiles")
CENTRES = tuple(62.5 * 2.0**b for b in range(8))
HOSTILE = '<script>alert("x")</script>&amp;\x1b[2J'
VOID = {"meta", "br", "line", "rect", "circle", "polygon", "polyline"}


def numbers(element: ElementTree.Element, *names: str) -> tuple[float, ...]:
    return tuple(float(element.attrib[name]) for name in names)


def only(svg: ElementTree.Element, path: str) -> ElementTree.Element:
    found = svg.findall(path)
    assert len(found) == 1
    return found[0]


def walls(svg: ElementTree.Element) -> tuple[float, ...]:
    return numbers(only(svg, "rect[@class='room']"), "x", "y", "width", "height")


def apex(triangle: ElementTree.Element) -> tuple[float, float]:
    x, y = triangle.attrib["points"].split()[0].split(",")
    return float(x), float(y)


def test_the_plan_is_to_scale() -> None:
    svg = ElementTree.fromstring(plan(SIZE, SOURCE, [MICROPHONE], LABELS))
    x, y, width, height = walls(svg)
    assert width / height == pytest.approx(6.0 / 4.0, rel=1e-3)  # coordinates have one decimal
    cx, cy = numbers(only(svg, "circle"), "cx", "cy")
    assert ((cx - x) / width, (cy - y) / height) == pytest.approx((1.5 / 6.0, 1.0 / 4.0), abs=1e-3)
    mx, _ = apex(only(svg, "polygon"))
    assert (mx - x) / width == pytest.approx(4.5 / 6.0, abs=1e-3)


def test_height_goes_upwards_and_left_stays_left() -> None:
    svg = ElementTree.fromstring(elevation(SIZE, SOURCE, [MICROPHONE], LABELS))
    x, y, width, height = walls(svg)
    assert width / height == pytest.approx(6.0 / 3.0, rel=1e-3)
    cx, cy = numbers(only(svg, "circle"), "cx", "cy")
    assert (cx - x) / width == pytest.approx(1.5 / 6.0, abs=1e-3)
    assert (y + height - cy) / height == pytest.approx(1.2 / 3.0, abs=1e-3)


def test_both_views_have_one_scale() -> None:
    for size in (SIZE, (3.0, 5.0, 12.0), (40.0, 1.5, 2.0)):
        inside = np.array(size) / 3.0
        views = [ElementTree.fromstring(v(size, inside, [inside * 1.5], LABELS)) for v in (plan, elevation)]
        assert walls(views[0])[2] == pytest.approx(walls(views[1])[2], abs=0.1)
        for view in views:
            wide, high = (float(v) for v in view.attrib["viewBox"].split()[2:])
            x, y, width, height = walls(view)
            assert x > 0
            assert y > 0
            assert x + width < wide
            assert y + height < high


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    svg = ElementTree.fromstring(plan(SIZE, SOURCE, [MICROPHONE], LABELS))
    bar = svg.findall("line[@class='size']")[0]
    said = next(t.text for t in svg.findall("text") if re.fullmatch(r"[\d.]+ m", t.text or ""))
    assert said is not None
    x1, x2 = numbers(bar, "x1", "x2")
    assert (x2 - x1) / walls(svg)[2] * 6.0 == pytest.approx(float(said.split()[0]), rel=2e-3)


def test_walls_are_named_where_they_are() -> None:
    svg = ElementTree.fromstring(plan(SIZE, SOURCE, [MICROPHONE], LABELS))
    x, y, width, height = walls(svg)
    at = {(t.text or "").split(":")[0]: numbers(t, "x", "y") for t in svg.findall("text[@class='name']")}
    assert at["left"][0] < x
    assert at["right"][0] > x + width
    assert at["front"][1] < y
    assert at["back"][1] > y + height
    texts = [t.text for t in svg.findall("text")]
    assert "left: brick" in texts
    assert not any("carpet" in (t or "") for t in texts)
    side = [
        t.text for t in ElementTree.fromstring(elevation(SIZE, SOURCE, [MICROPHONE], LABELS)).findall("text")
    ]
    assert "floor: carpet" in side
    assert "ceiling: tiles" in side


def test_the_picture_is_also_told_in_words() -> None:
    svg = ElementTree.fromstring(plan(SIZE, SOURCE, [MICROPHONE, (1.0, 1.0, 1.0)], LABELS))
    assert svg.attrib["role"] == "img"
    title = svg.findtext("title")
    assert title is not None
    assert title.startswith(
        "Plan, 6 m by 4 m: source at 1.5 m, 1 m, 1.2 m; microphone 1 at 4.5 m, 3 m, 1.8 m"
    )
    assert "ceiling tiles" in title
    assert len(svg.findall("polygon")) == 2


def test_long_names_are_cut_and_hostile_ones_escaped() -> None:
    long = "plaster, " * 40
    svg = ElementTree.fromstring(plan(SIZE, SOURCE, [MICROPHONE], (long, HOSTILE, "", "", "", "")))
    shown = [t.text or "" for t in svg.findall("text")]
    assert any(t.endswith("\N{HORIZONTAL ELLIPSIS}") for t in shown)
    assert any(t.startswith("right: <script>") for t in shown)  # text, not an element
    assert "front" in shown
    assert not svg.findall(".//script")


def bars(svg: ElementTree.Element, css: str) -> list[ElementTree.Element]:
    """The bars of a class, without the legend's."""
    return [r for r in svg.findall("rect") if r.attrib["class"] == css and r.attrib["height"] != "10"]


def test_bars_are_as_high_as_their_times() -> None:
    times = np.array((2.0, 1.8, 1.6, 1.4, 1.0, 0.8, 0.6, 0.4))
    svg = ElementTree.fromstring(decay_per_band(CENTRES, [("output", times, np.ones(8, bool))]))
    heights = np.array([numbers(bar, "height")[0] for bar in bars(svg, "bar output")])
    np.testing.assert_allclose(heights / heights[0], times / times[0], atol=1e-3)
    texts = [t.text for t in svg.findall("text")]
    assert texts.count("63") == 1
    assert "8k" in texts
    assert "0.4" in texts


def test_what_is_not_sure_is_hollow_and_what_is_unknown_is_left_out() -> None:
    times = np.array((np.nan, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, np.inf))
    sure = np.array((True, False, True, True, True, True, True, True))
    svg = ElementTree.fromstring(decay_per_band(CENTRES, [("reference", times, sure)]))
    assert len(bars(svg, "bar reference")) == 5
    assert len(bars(svg, "bar reference unsure")) == 1
    title = svg.findtext("title") or ""
    assert "63 Hz unknown" in title
    assert "125 Hz 1.00 s (not sure)" in title
    assert "250 Hz 1.00 s," in title
    assert "not sure" in [t.text for t in svg.findall("text")]
    known = ElementTree.fromstring(decay_per_band(CENTRES, [("room", np.ones(8), np.ones(8))]))
    assert "not sure" not in [t.text for t in known.findall("text")]


def test_series_stand_side_by_side_in_their_own_colours() -> None:
    all_sure = np.ones(8, bool)
    series = [(name, np.ones(8), all_sure) for name in ("room", "reference", "Eyring", "output")]
    svg = ElementTree.fromstring(decay_per_band(CENTRES, series))
    drawn = [r for r in svg.findall("rect") if r.attrib["height"] != "10"]
    assert len({r.attrib["class"] for r in drawn}) == 4
    spans = sorted((x, x + w) for x, w in (numbers(r, "x", "width") for r in drawn))
    assert all(end <= begin + 0.11 for (_, end), (begin, _) in itertools.pairwise(spans))


def test_no_series_and_silence_are_still_pictures() -> None:
    ElementTree.fromstring(decay_per_band(CENTRES, []))
    ElementTree.fromstring(decay_per_band(CENTRES, [("room", np.zeros(8), np.ones(8))]))
    ElementTree.fromstring(decay_curves([], {}))
    ElementTree.fromstring(decay_curves([0.0, 1.0], {500.0: [-np.inf, -np.inf]}))


def test_decay_curves_are_straight_where_the_decay_is() -> None:
    time = np.linspace(0.0, 2.0, 96000)
    svg = ElementTree.fromstring(decay_curves(time, dict.fromkeys(CENTRES, -60.0 * time / 1.2)))
    lines = svg.findall(".//polyline")
    assert len(lines) == 8
    assert len({line.attrib["class"] for line in lines}) == 8
    points = np.array([[float(v) for v in p.split(",")] for p in lines[3].attrib["points"].split()])
    assert len(points) < 1000
    line = np.polyval(np.polyfit(points[:, 0], points[:, 1], 1), points[:, 0])
    np.testing.assert_allclose(points[:, 1], line, atol=0.2)  # coordinates have one decimal
    # 70 dB at 60 dB in 1.2 s is 1.4 s, on an axis that ends at 1.5 s
    ends = np.interp(HEIGHT - BOTTOM, points[:, 1], points[:, 0])
    assert ends == pytest.approx(LEFT + 1.4 / 1.5 * (WIDTH - LEFT - RIGHT), rel=0.01)
    assert [t.text for t in svg.findall("text")].count("63") == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan((1.0, 2.0), SOURCE, [], LABELS), "the size has to be three finite lengths"),
        (lambda: plan(SIZE, (np.nan, 1.0, 1.0), [], LABELS), "the source has to be three finite lengths"),
        (lambda: elevation(SIZE, SOURCE, [MICROPHONE], LABELS[:4]), "there are 4 labels"),
        (lambda: decay_per_band(CENTRES, [("room", np.ones(7), np.ones(8))]), r"room: times \(7,\)"),
        (lambda: decay_curves(np.zeros(4), {500.0: np.zeros(3)}), "500 Hz: levels"),
    ],
)
def test_wrong_shapes_are_named(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()


def a_page(title: str = "Living room") -> str:
    time = np.linspace(0.0, 1.0, 1000)
    return page(
        title,
        walls=Walls(SIZE, SOURCE, [MICROPHONE], (HOSTILE, *LABELS[1:])),
        centres_hz=CENTRES,
        series=[("room", np.ones(8), np.ones(8)), ("reference", np.ones(8), np.zeros(8))],
        time_s=time,
        level_db=dict.fromkeys(CENTRES, -60.0 * time),
        facts=[("Volume", "72 m3"), (HOSTILE, HOSTILE)],
        notes=["curtains assumed", HOSTILE],
        lead="as described",
    )


class Balance(HTMLParser):
    """Elements are closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    html = a_page(HOSTILE)
    parser = Balance()
    parser.feed(html)
    assert not parser.open
    assert not {"script", "img", "link", "iframe"} & parser.seen
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=", html)
    assert "\x1b" not in html
    assert html.count("<svg viewBox") == 4
    for heading in ("Plan", "Side view", "Reverberation time", "Decay", "Surfaces", "Facts", "Notes"):
        assert f"<h2>{heading}</h2>" in html


def test_the_page_leaves_out_what_it_was_not_given() -> None:
    html = page("R", walls=Walls(SIZE, SOURCE, [], ("",) * 6))
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["Plan", "Side view"]
    assert re.findall(r"<h2>(.*?)</h2>", page("R", notes=["n"])) == ["Notes"]


def test_every_colour_is_defined_in_light_and_dark() -> None:
    used = set(re.findall(r"var\(--(\w+)\)", room.ROOM_CSS))
    light, dark = (set(re.findall(r"--(\w+):", part)) for part in CSS.split("@media", 2)[:2])
    assert used <= light
    assert used <= dark
    classes = set(
        re.findall(r"bar (\w+)", decay_per_band(CENTRES, [(n, np.ones(8), np.ones(8)) for n in "abcdef"]))
    )
    assert classes
    assert all(f".bar.{name} " in room.ROOM_CSS for name in classes)
