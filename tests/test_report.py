"""The report: whole, self-contained, true to the match, and safe whatever the files are called."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from fxstyle import __version__
from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.effects.eq import response_db
from fxstyle.errors import AudioError
from fxstyle.features.measure import measure
from fxstyle.fit.acceptance import Verdict
from fxstyle.fit.result import Match
from fxstyle.fit.search import Step
from fxstyle.formats import Source
from fxstyle.report import figures
from fxstyle.report.summary import mean, shown_number, summarise
from fxstyle.report.svg import Axis, Line, Plot, round_axis, round_ticks, text_of, tick_text

RATE = 44100
HOSTILE = '<script>alert("x")</script>&amp;\x1b[2J.wav'
VOID = {"meta", "br", "line", "polyline"}


def noise(seed: int, level: float = 0.1, channels: int = 2, seconds: float = 0.7) -> Audio:
    x = np.random.default_rng(seed).normal(0.0, level, (channels, int(seconds * RATE)))
    return Audio(x.astype(np.float32), RATE, Source(f"take{seed}.wav", "WAV", "PCM_16"))


def make_match() -> Match:
    source, reference = noise(0), noise(1, 0.02)
    chain = Chain.parse("eq,compressor,gain").with_settings(
        {"eq.peak2_db": -6.0, "eq.amount": 0.5, "compressor.ratio": 4.0, "gain.gain_db": -14.0}
    )
    return Match(
        chain=chain,
        source=source,
        references=(reference,),
        source_measured=measure(source.samples, RATE),
        reference_measured=measure(reference.samples, RATE),
        verdict=Verdict(4.0, 1.0, True, 1.0, "75 % nearer to the reference."),
        history=tuple(
            Step(t, 8 if t < 5 else 2, 9.0 / (t + 1), {"tone": 6.0 / (t + 1), "level": 1.0}) for t in range(9)
        ),
        pruned=("reverb",),
        notes=("the reference is quiet",),
        quality="draft",
        seed=7,
        seconds=1.25,
    )  # fmt: skip


@pytest.fixture(scope="module")
def match() -> Match:
    return make_match()


@pytest.fixture(scope="module")
def page(match: Match) -> str:
    return match.report()


class Balance(HTMLParser):
    """Checks that every element is closed in order, and collects names, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Balance:
    balance = Balance()
    balance.feed(page)
    balance.close()
    assert balance.open == []
    return balance


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    found = parsed(page)
    names = {name for name, _ in found.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    for _, attributes in found.seen:
        assert not {"src", "href", "onload", "onclick"} & set(attributes)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert page.startswith("<!doctype html>")


def test_the_page_says_what_matters(match: Match, page: str) -> None:
    text = parsed(page).text
    for words in (
        "take0.wav, made to sound like take1.wav",
        "75 % nearer to the reference.",
        "input4.00output1.00",
        "-6.0 dB",
        "4.00:1",
        "Left out, for it brought nothing: reverb.",
        "the reference is quiet",
        "fxstyle apply preset.json OTHER.wav -o OUT.wav",
        f"fxstyle {__version__}",
        "quality draft, seed 7, 1.2 s",
    ):
        assert words in text, words
    assert match.preset.to_json() in text


def test_every_picture_is_well_formed_and_described(page: str) -> None:
    pictures = re.findall(r"<svg.*?<svg.*?</svg>.*?</svg>", page, re.S)  # each holds one, its panel
    assert len(pictures) == 5
    for picture in pictures:
        tree = ElementTree.fromstring(picture)
        title = tree.find("title")
        assert title is not None
        assert title.text
        assert "nan" not in picture
        assert tree.findall(".//polyline")


def test_hostile_names_and_notes_stay_text() -> None:
    match = make_match()
    source = replace(match.source, source=Source(HOSTILE, "WAV", "PCM_16"))
    verdict = replace(match.verdict, message=HOSTILE)
    page = replace(match, source=source, notes=(HOSTILE,), pruned=(HOSTILE,), verdict=verdict).report()
    found = parsed(page)
    assert "script" not in {name for name, _ in found.seen}
    assert "\x1b" not in page
    assert 'alert("x")' in found.text


def test_no_gain_is_said_plainly() -> None:
    match = make_match()
    verdict = Verdict(2.0, 2.0, False, 0.0, "No gain.")
    page = replace(match, chain=Chain(), verdict=verdict, history=()).report()
    text = parsed(page).text
    assert "No gain." in text
    assert "The chain is empty" in text
    assert "Equaliser" not in text
    assert "course" not in text


def test_several_references_are_averaged() -> None:
    match = make_match()
    assert "mean of 2 references" in parsed(replace(match, references=(noise(1), noise(2))).report()).text
    a, b = summarise(noise(1, 0.1), "a"), summarise(noise(2, 0.01), "b")
    both = mean([a, b])
    assert both.loudness_lufs == pytest.approx((a.loudness_lufs + b.loudness_lufs) / 2)
    np.testing.assert_allclose(both.mid_db, (a.mid_db + b.mid_db) / 2)


def test_white_noise_measures_as_theory_says() -> None:
    # Independent channels carry equal power in mid and side. White noise rises by 3.01 dB per octave
    # in bands of constant relative width. 20 s keep the lowest bands' random error near 0.2 dB.
    white = summarise(noise(3, 0.1, seconds=20.0), "noise")
    assert white.width_db == pytest.approx(0.0, abs=0.1)
    assert white.tilt_db == pytest.approx(10.0 * np.log10(2.0), abs=0.1)
    assert summarise(noise(3, channels=1), "noise").width_db == -120.0


def test_too_short_a_recording_is_refused_by_name() -> None:
    with pytest.raises(AudioError, match=r"the input is 0\.100 s long; at least 0\.5 s"):
        summarise(noise(0, seconds=0.1), "the input")


def test_the_equalisers_curve_is_its_response() -> None:
    chain = Chain.parse("eq").with_settings({"eq.peak3_db": 9.0, "eq.peak3_hz": 1000.0})
    tree = ElementTree.fromstring(figures.equaliser(chain, RATE))
    line = tree.find(".//polyline")
    assert line is not None
    points = np.array([[float(v) for v in p.split(",")] for p in line.attrib["points"].split()])
    top = points[points[:, 1].argmin()]
    f = 20.0 * 1000.0 ** ((top[0] - 58.0) / (760.0 - 14.0 - 58.0))
    assert f == pytest.approx(1000.0, rel=0.03)
    assert response_db(np.array([f]), RATE, chain.slot("eq").settings)[0] == pytest.approx(9.0, abs=0.1)
    assert figures.equaliser(Chain.parse("gain"), RATE) == ""


def test_axes_are_round_and_hold_their_values() -> None:
    assert round_ticks(-37.2, 11.0) == (-40.0, -30.0, -20.0, -10.0, 0.0, 10.0, 20.0)
    assert round_ticks(0.0, 0.0)[0] <= 0.0
    axis = round_axis([3.0, float("nan"), 4.0], "dB", least_span=12.0)
    assert axis.low <= -2.5
    assert axis.high >= 9.5
    log = Axis(20.0, 20000.0, (), "Hz", log=True)
    assert log.place(20.0 * 10**1.5) == pytest.approx(0.5)
    assert log.place(1.0) == 0.0
    assert [tick_text(v) for v in (20000.0, -12.0, 0.5)] == ["20k", "\N{MINUS SIGN}12", "0.5"]


def test_text_is_escaped_wherever_it_goes() -> None:
    axis = Axis(0.0, 1.0, (), "<a>")
    picture = Plot("<b>", axis, axis, (Line([0, 1], [0, 1], "input", "<i>"),)).svg()
    assert {e.tag for e in ElementTree.fromstring(picture).iter()} == {
        "svg",
        "title",
        "text",
        "line",
        "polyline",
    }
    assert text_of('"<\x00') == "&quot;&lt;\N{REPLACEMENT CHARACTER}"


def test_numbers_are_written_as_people_read_them() -> None:
    assert shown_number(-120.0, "dB") == "none"
    assert shown_number(-23.04, "LUFS") == "-23.0"
    assert shown_number(0.456, "s") == "0.46"
