"""Truths of the compressor: a loop of its equations, closed forms, pedalboard, ffmpeg, SoX, torchcomp."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.signal import butter, lfilter

from fxstyle.effect import Samples
from fxstyle.effects.compressor import EFFECT, gain_db, start
from fxstyle.features.measure import measure
from fxstyle.units import PEDALBOARD_TIME_RATIO, time_constant

RATE = 44100.0
SETTINGS = (
    {"threshold_db": -20.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 80.0, "knee_db": 6.0, "link": 1.0},
    {"threshold_db": -35.0, "ratio": 20.0, "attack_ms": 0.05, "release_ms": 9.0, "knee_db": 0.0, "link": 0.0},
    {"threshold_db": -28.0, "ratio": 1.7, "attack_ms": 90.0, "release_ms": 6.0, "knee_db": 18.0, "link": 0.4},
)
EXTRAS = (
    {"law": 0.0},
    {"law": 1.0},
    {"law": 0.0, "lookahead_ms": 2.31, "rms_ms": 12.0, "mix": 0.6},
    {"law": 1.0, "lookahead_ms": 5.0, "sidechain_cut_hz": 150.0},
)


def render(x: Samples, **settings: float) -> Samples:
    return EFFECT.render(x, RATE, None, **(EFFECT.defaults() | settings))[0]


def music_like(length: int, channels: int = 2) -> Samples:
    """Return noise whose level jumps by up to 40 dB, twelve times a second, apart in each channel."""
    rng = np.random.default_rng(0)
    steps = 10.0 ** (rng.uniform(-2.0, 0.0, (channels, length // 3675 + 1)))
    return 0.4 * rng.standard_normal((channels, length)) * np.repeat(steps, 3675, axis=1)[:, :length]


def curve_db(level_db: float, threshold_db: float, ratio: float, knee_db: float) -> float:
    """Giannoulis et al., eq. 4: level out from level in."""
    over = level_db - threshold_db
    if 2.0 * abs(over) <= knee_db and knee_db > 0.0:
        return level_db + (1.0 / ratio - 1.0) * (over + knee_db / 2.0) ** 2 / (2.0 * knee_db)
    return level_db if over <= 0.0 else threshold_db + over / ratio


def smoothed(a: Samples, attack: float, release: float) -> Samples:
    e, last = np.empty_like(a), 0.0
    for n, level in enumerate(a.tolist()):
        k = attack if level > last else release
        last = level + k * (last - level)
        e[n] = last
    return e


def naive(x: Samples, settings: dict[str, float]) -> Samples:
    s = EFFECT.defaults() | settings
    attack, release = (math.exp(-1000.0 / (RATE * s[k])) for k in ("attack_ms", "release_ms"))
    ahead = s["lookahead_ms"] * RATE / 1000.0
    key = np.concatenate((x, np.zeros((x.shape[0], math.ceil(ahead) + 1))), axis=1)
    if s["sidechain_cut_hz"]:
        key = lfilter(*butter(1, s["sidechain_cut_hz"], "high", fs=RATE), key)
    heard = np.abs(key)
    if s["rms_ms"]:
        keep = math.exp(-1000.0 / (RATE * s["rms_ms"]))
        heard = np.sqrt(lfilter([1.0 - keep], [1.0, -keep], key**2))
    linked = (1.0 - s["link"]) * heard + s["link"] * heard.max(axis=0)

    def down_db(level: Samples) -> Samples:
        levels = 20.0 * np.log10(np.maximum(level, 1e-20))
        return np.array(
            [v - curve_db(v, s["threshold_db"], s["ratio"], s["knee_db"]) for v in levels.tolist()]
        )

    y = np.empty_like(x)
    for c in range(x.shape[0]):
        if s["law"]:
            turned = smoothed(down_db(linked[c]), attack, release)
        else:
            turned = down_db(smoothed(linked[c], attack, release))
        n = np.arange(x.shape[1])
        gain = np.interp(n + ahead, np.arange(turned.size), 10.0 ** (-turned / 20.0))
        y[c] = x[c] + s["mix"] * (10.0 ** (s["makeup_db"] / 20.0) * gain * x[c] - x[c])
    return y


def aligned(x: Samples, settings: dict[str, float]) -> Samples:
    """Render as a stream and take its latency off."""
    late = EFFECT.latency(RATE, EFFECT.defaults() | settings)
    return render(np.concatenate((x, np.zeros((x.shape[0], late), x.dtype)), axis=1), **settings)[:, late:]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("extra", EXTRAS)
def test_is_the_loop_of_its_equations(settings: dict[str, float], extra: dict[str, float]) -> None:
    x = music_like(9000, 3)
    given = settings | {"makeup_db": 3.0} | extra
    # rounding of the recursions, forgotten after some 1000 samples
    np.testing.assert_allclose(aligned(x, given), naive(x, given), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("settings", SETTINGS)
def test_static_curve_is_the_closed_form(settings: dict[str, float]) -> None:
    level_db = np.linspace(-80.0, 20.0, 301)
    given = EFFECT.defaults() | settings
    expected = [
        curve_db(v, given["threshold_db"], given["ratio"], given["knee_db"]) - v for v in level_db.tolist()
    ]
    np.testing.assert_allclose(gain_db(level_db, given), expected, atol=1e-12)


@pytest.mark.parametrize("level_db", [-30.0, -21.0, -18.0, -15.5, 0.0])
def test_a_steady_level_comes_out_on_the_curve(level_db: float) -> None:
    x = np.full((1, 44100), 10.0 ** (level_db / 20.0))
    y = render(x, threshold_db=-18.0, ratio=4.0, knee_db=8.0)
    assert 20.0 * math.log10(y[0, -1]) == pytest.approx(curve_db(level_db, -18.0, 4.0, 8.0), abs=1e-6)


def detected(y: Samples, x: Samples, threshold_db: float) -> Samples:
    """Return the detector's level from the gain, for ratio 2, knee 0, above the threshold: e = T / g^2."""
    return 10.0 ** (threshold_db / 20.0) / (y / x) ** 2


@pytest.mark.parametrize("attack_ms", [0.5, 10.0, 100.0])
@pytest.mark.parametrize("law", ["level", "gain"])
def test_attack_covers_63_percent_of_a_rise_in_its_time(attack_ms: float, law: str) -> None:
    low, high, rise = 0.1, 1.0, 88200
    x = np.concatenate((np.full((1, rise), low), np.full((1, 44100), high)), axis=1)
    y = render(x, law=float(law == "gain"), threshold_db=-40.0, ratio=2.0, knee_db=0.0, attack_ms=attack_ms)
    # The level moves from 0.1 to 1; at ratio 2 the dB turned down move from 10 to 20.
    turned = -20.0 * np.log10(y / x)[0] if law == "gain" else detected(y, x, -40.0)[0]
    first, last = (10.0, 20.0) if law == "gain" else (low, high)
    assert turned[rise - 1] == pytest.approx(first, rel=1e-6)  # 2 s are not for ever
    first = turned[rise - 1]
    n = np.arange(1, 3 * round(attack_ms * RATE / 1000.0))
    k = time_constant(attack_ms, RATE)
    np.testing.assert_allclose(turned[rise + n - 1], last + (first - last) * k**n, rtol=1e-9)
    assert k ** (attack_ms * RATE / 1000.0) == pytest.approx(math.exp(-1.0))


@pytest.mark.parametrize("release_ms", [5.0, 50.0, 500.0])
@pytest.mark.parametrize("law", ["level", "gain"])
def test_release_covers_63_percent_of_a_fall_in_its_time(release_ms: float, law: str) -> None:
    high, low, fall = 1.0, 0.1, 44100
    x = np.concatenate((np.full((1, fall), high), np.full((1, 44100), low)), axis=1)
    y = render(x, law=float(law == "gain"), threshold_db=-40.0, ratio=2.0, knee_db=0.0, release_ms=release_ms)
    turned = -20.0 * np.log10(y / x)[0] if law == "gain" else detected(y, x, -40.0)[0]
    first, last = (20.0, 10.0) if law == "gain" else (high, low)
    assert turned[fall - 1] == pytest.approx(first, rel=1e-6)
    n = np.arange(1, round(release_ms * RATE / 1000.0))
    k = time_constant(release_ms, RATE)
    np.testing.assert_allclose(turned[fall + n - 1], last + (first - last) * k**n, rtol=1e-9)


def test_only_the_gain_law_turns_down_at_once() -> None:
    # From silence the level has to climb to the threshold first; the gain moves with the first sample.
    x = np.ones((1, 4410))
    at = {"threshold_db": -6.0, "ratio": 4.0, "knee_db": 0.0, "attack_ms": 10.0}
    level, gain = (render(x, law=law, **at)[0] for law in (0.0, 1.0))
    waits = math.ceil(-math.log(1.0 - 10.0 ** (-6.0 / 20.0)) * 10.0 * RATE / 1000.0)
    assert (level[: waits - 1] == 1.0).all()
    assert level[waits] < 1.0
    assert gain[0] < 1.0


def sine(hz: float, amplitude: float, seconds: float = 1.0) -> Samples:
    # no sample is 0, by which tests divide
    return amplitude * np.sin(0.1 + 2.0 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)[None]


def test_rms_of_a_sine_is_3_db_below_its_peak() -> None:
    at = {"threshold_db": -40.0, "ratio": 2.0, "knee_db": 0.0, "attack_ms": 0.05, "release_ms": 5.0}
    x = sine(1000.0, 0.5, 2.0)
    level = detected(render(x, rms_ms=100.0, **at), x, -40.0)[0]
    # the mean of squares ripples by 1/(4 pi f t) = 8e-4
    np.testing.assert_allclose(level[-20000:], 0.5 / math.sqrt(2.0), rtol=1e-3)


def test_the_mean_follows_63_percent_of_a_rise_of_power_in_its_time() -> None:
    rms_ms = 40.0
    at = {"threshold_db": -40.0, "ratio": 2.0, "knee_db": 0.0, "attack_ms": 0.05, "release_ms": 5.0}
    x = np.ones((1, 8820))
    power = detected(render(x, rms_ms=rms_ms, **at), x, -40.0)[0] ** 2
    n = round(rms_ms * RATE / 1000.0)
    assert power[n] == pytest.approx(1.0 - math.exp(-1.0), abs=2e-3)  # late by the attack of 0.05 ms


def test_a_mean_over_no_time_is_the_peak() -> None:
    x = music_like(5000)
    np.testing.assert_array_equal(render(x, rms_ms=0.0), render(x))
    np.testing.assert_allclose(render(x, rms_ms=1e-3), render(x), rtol=1e-7)  # e^-23 of the sample before


@pytest.mark.parametrize("cut_hz", [40.0, 150.0, 500.0])
def test_the_side_chain_is_3_db_down_at_its_cut(cut_hz: float) -> None:
    at = {"threshold_db": -60.0, "ratio": 2.0, "knee_db": 0.0, "attack_ms": 0.05, "release_ms": 2000.0}
    x = sine(cut_hz, 0.5, 3.0)
    heard, all_of_it = (
        detected(render(x, sidechain_cut_hz=hz, **at), x, -60.0)[0, 88200:].max() for hz in (cut_hz, 0.0)
    )
    assert 20.0 * math.log10(heard / all_of_it) == pytest.approx(10.0 * math.log10(0.5), abs=0.02)


def test_the_side_chain_is_only_listened_to() -> None:
    # Both tones come out; but a low one turns nothing down.
    low, high = sine(30.0, 0.5), sine(3000.0, 0.01)
    y = render(low + high, sidechain_cut_hz=500.0, threshold_db=-20.0, ratio=20.0, knee_db=0.0)
    np.testing.assert_array_equal(y, low + high)
    turned_down = render(low + high, threshold_db=-20.0, ratio=20.0, knee_db=0.0)
    assert np.abs(turned_down[:, 22050:]).max() < 0.2


@pytest.mark.parametrize("law", [0.0, 1.0])
@pytest.mark.parametrize("samples", [1, 220, 882])
def test_the_gain_is_down_before_a_step_by_the_look_ahead(samples: int, law: float) -> None:
    x = np.concatenate((np.full((1, 2000), 1e-3), np.ones((1, 2000))), axis=1)
    at = {"threshold_db": -20.0, "knee_db": 0.0, "attack_ms": 0.05, "law": law}
    plain = aligned(x, at) / x
    ahead = aligned(x, at | {"lookahead_ms": samples * 1000.0 / RATE}) / x
    # A look-ahead in ms is a whole number of samples but for rounding.
    assert np.flatnonzero(plain[0] < 1.0 - 1e-9)[0] == 2000
    assert np.flatnonzero(ahead[0] < 1.0 - 1e-9)[0] == 2000 - samples
    # nothing else changes: the same gain, sooner
    np.testing.assert_allclose(ahead[0, :-samples], plain[0, samples:], rtol=1e-9)


def test_between_samples_the_gain_is_interpolated() -> None:
    x = music_like(6000)
    at = {"threshold_db": -40.0, "ratio": 4.0}
    three, four, between = (
        aligned(x, at | {"lookahead_ms": samples * 1000.0 / RATE}) for samples in (3.0, 4.0, 3.25)
    )
    np.testing.assert_allclose(between, 0.75 * three + 0.25 * four, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_mix_adds_what_came_in(mix: float) -> None:
    x = music_like(6000)
    at = {"threshold_db": -40.0, "ratio": 8.0, "makeup_db": 9.0}
    wet = render(x, **at)
    np.testing.assert_allclose(render(x, mix=mix, **at), x + mix * (wet - x), rtol=1e-12, atol=1e-15)


def null_db(y: Samples, truth: Samples) -> float:
    return 20.0 * math.log10(np.abs(y - truth).max() / np.abs(truth).max())


# Its float32 detector limits the null: the residual is -102 dB of the peak at worst, most of it rounding.
@pytest.mark.parametrize(
    ("threshold_db", "ratio", "attack_ms", "release_ms"),
    [(-20.0, 4.0, 5.0, 100.0), (-40.0, 10.0, 0.5, 30.0), (-10.0, 2.0, 50.0, 800.0), (-30.0, 20.0, 20.0, 8.0)],
)
def test_nulls_against_pedalboard(
    threshold_db: float, ratio: float, attack_ms: float, release_ms: float
) -> None:
    pedalboard = pytest.importorskip("pedalboard", reason="pedalboard is not installed")
    x = music_like(3 * 44100).astype(np.float32)
    truth = pedalboard.Pedalboard([pedalboard.Compressor(threshold_db, ratio, attack_ms, release_ms)])(
        x, RATE
    )
    y = render(
        x,
        threshold_db=threshold_db,
        ratio=ratio,
        attack_ms=attack_ms / PEDALBOARD_TIME_RATIO,
        release_ms=release_ms / PEDALBOARD_TIME_RATIO,
        knee_db=0.0,
        link=0.0,
    )
    assert null_db(y, truth) < -100.0


def piped(command: Sequence[str], x: Samples) -> Samples:
    """Return what a program makes of samples (channel, time), in and out as raw float64."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    run = subprocess.run(command, input=np.ascontiguousarray(x.T).tobytes(), capture_output=True, check=True)
    return np.frombuffer(run.stdout).reshape(-1, x.shape[0]).T


# Its curve joins both slopes by the cubic that has their values and slopes at both ends of the knee: that is
# the quadratic. Its times are 1/(coefficient rate/4). float64 throughout.
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("makeup_db", "mix"), [(0.0, 1.0), (6.0, 0.4)])
def test_nulls_against_ffmpeg(settings: dict[str, float], makeup_db: float, mix: float) -> None:
    x = np.clip(music_like(3 * 44100), -0.99, 0.99)
    given = settings | {"link": 1.0, "makeup_db": makeup_db, "mix": mix, "attack_ms": 1.5}
    options = {
        "threshold": 10.0 ** (given["threshold_db"] / 20.0),
        "ratio": given["ratio"],
        "knee": 10.0 ** (given["knee_db"] / 20.0),
        "makeup": 10.0 ** (makeup_db / 20.0),
        "mix": mix,
    } | {
        name: 4000.0 / (RATE * (1.0 - time_constant(given[f"{name}_ms"], RATE)))
        for name in ("attack", "release")
    }
    words = ":".join(f"{name}={value:.17g}" for name, value in options.items())
    raw = ["-f", "f64le", "-ar", "44100", "-ac", "2"]
    truth = piped(
        ["ffmpeg", "-v", "error", *raw, "-i", "-", "-af", f"acompressor={words}:link=maximum:detection=peak",
         "-f", "f64le", "-"],
        x,
    )  # fmt: skip
    assert null_db(render(x, **given), truth) < -250.0


# SoX works in 32-bit integers, and rounds its corner off over 0.01 dB, hence by 0.001 dB at most. Its delay
# is a whole number of samples; past the end of the input it holds the last gain, where ours hears silence.
@pytest.mark.parametrize(("channels", "late"), [(2, 0), (1, 220)])
def test_nulls_against_sox(channels: int, late: int) -> None:
    x = np.clip(music_like(3 * 44100, channels), -0.99, 0.99)
    at = {"threshold_db": -20.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 80.0, "knee_db": 0.0}
    raw = ["-t", "f64", "-r", "44100", "-c", str(channels), "-"]
    delay = ["0", "-200", f"{late / RATE:.17g}"] if late else []
    truth = piped(
        ["sox", "-D", *raw, *raw, "compand", "0.005,0.08", "1e-6:-20,-20,0,-15", *(delay or ["0", "-200"])], x
    )
    y = aligned(x, at | {"lookahead_ms": late * 1000.0 / RATE})
    inside = slice(0, x.shape[1] - 2 * late)
    assert null_db(y[:, inside], truth[:, inside]) < -78.0
    assert np.median(np.abs(y - truth)) < 1e-9


# Its smoother on our curve in dB; times are coefficients there. What it calls compexp_gain smooths factors.
def test_gain_law_nulls_against_torchcomp() -> None:
    torchcomp = pytest.importorskip("torchcomp.core", reason="torchcomp is not installed")
    x = music_like(20000)
    at = {
        "threshold_db": -35.0,
        "ratio": 6.0,
        "attack_ms": 3.0,
        "release_ms": 60.0,
        "knee_db": 9.0,
        "law": 1.0,
    }
    target = gain_db(20.0 * np.log10(np.abs(x)), EFFECT.defaults() | at)
    smooth_db = torchcomp.compressor_core(
        torch.from_numpy(target),
        torch.zeros(2, dtype=torch.float64),
        *(torch.full((2,), 1.0 - time_constant(ms, RATE), dtype=torch.float64) for ms in (3.0, 60.0)),
    )
    assert null_db(render(x, link=0.0, **at), x * 10.0 ** (smooth_db.numpy() / 20.0)) < -250.0


def test_ratio_one_is_the_identity() -> None:
    x = music_like(5000)
    np.testing.assert_allclose(render(x, ratio=1.0, threshold_db=-60.0), x, rtol=1e-12)


def test_full_link_keeps_the_balance_and_no_link_does_not() -> None:
    x = music_like(20000)
    linked = render(x, threshold_db=-40.0, link=1.0) / x
    np.testing.assert_array_equal(np.abs(linked[0] - linked[1]) < 1e-12, np.True_)
    apart = render(x, threshold_db=-40.0, link=0.0)
    for c in range(2):
        np.testing.assert_array_equal(apart[c : c + 1], render(x[c : c + 1], threshold_db=-40.0, link=0.0))


def test_mono_does_not_know_a_link() -> None:
    x = music_like(5000, 1)
    np.testing.assert_allclose(render(x, link=0.3), render(x, link=1.0), rtol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("length", [20, 2200])
def test_gradient_agrees_with_differences(
    settings: dict[str, float], extra: dict[str, float], length: int
) -> None:
    rng = np.random.default_rng(length)
    x = torch.from_numpy(0.5 * rng.standard_normal((1, 3, length))).requires_grad_()
    # Within each branch of the knee and away from the ends of the ranges.
    given = EFFECT.defaults() | settings | {"link": 0.1 + 0.8 * settings["link"], "makeup_db": 2.0} | extra
    # A hard knee has no slope in its width at 0, a mean none in its time; differences of one side would step
    # over that, as over the kink of a look-ahead of a whole number of samples (5 ms at 8 kHz).
    edges = {"knee_db": 0.0, "rms_ms": 0.0, "lookahead_ms": 5.0, "law": given["law"]}
    free = [name for name in given if given[name] != edges.get(name)]
    values = [torch.tensor([given[name]], dtype=torch.float64, requires_grad=True) for name in free]
    fixed = {k: torch.tensor([v], dtype=torch.float64) for k, v in given.items() if k not in free}

    def run(signal: torch.Tensor, *knobs: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(signal, 8000.0, **dict(zip(free, knobs, strict=True)), **fixed)

    assert torch.autograd.gradcheck(run, (x, *values), atol=1e-7, rtol=1e-5, fast_mode=length > 100)


# One-sided differences at the lower limits, where both are off, and of a look-ahead at a whole number of
# samples, where the derivative is that from the left.
@pytest.mark.parametrize(
    ("name", "value", "step"),
    [("sidechain_cut_hz", 0.0, 1e-5), ("lookahead_ms", 0.0, 1e-6), ("lookahead_ms", 5.0, -1e-6)],
)
@pytest.mark.parametrize("law", [0.0, 1.0])
def test_knobs_have_a_derivative_where_they_are_off(name: str, value: float, step: float, law: float) -> None:
    def of(number: float) -> torch.Tensor:
        return torch.tensor([number], dtype=torch.float64)

    x = torch.from_numpy(music_like(6000)[None])
    given = {k: of(v) for k, v in EFFECT.defaults().items()}
    given |= {"threshold_db": of(-40.0), "law": of(law)}
    weight = torch.from_numpy(np.random.default_rng(2).standard_normal(x.shape))

    def run(knob: torch.Tensor) -> torch.Tensor:
        return (weight * EFFECT.forward(x, 8000.0, **(given | {name: knob}))).sum()

    knob = of(value).requires_grad_()
    run(knob).backward()
    difference = (run(of(value + step)) - run(of(value))) / step
    assert knob.grad is not None
    assert knob.grad.item() == pytest.approx(difference.item(), rel=1e-3)
    # a knob that asks for its gradient takes another way to the same samples
    off = EFFECT.forward(x, 8000.0, **given)
    asked = EFFECT.forward(x, 8000.0, **(given | {name: of(0.0).requires_grad_()}))
    np.testing.assert_array_equal(asked.detach().numpy(), off.numpy())


class TestStart:
    @pytest.fixture
    def dynamic(self) -> Samples:
        # 4 s of noise whose level swings by 24 dB, slowly enough for every window to have one level
        t = np.arange(4 * 44100) / RATE
        swing = 10.0 ** (-12.0 * (1.0 - np.sin(2.0 * np.pi * 0.5 * t)) / 20.0)
        return 0.3 * swing * np.random.default_rng(1).standard_normal((1, t.size))

    def test_narrows_the_levels_towards_the_reference(self, dynamic: Samples) -> None:
        settings = {"threshold_db": -30.0, "ratio": 3.0, "attack_ms": 10.0, "release_ms": 100.0}
        reference = render(dynamic, **settings)
        guess = start(measure(dynamic, RATE), measure(reference, RATE))
        assert 1.5 < guess["ratio"] < 5.0

        def spread_db(x: Samples) -> float:
            quantiles = measure(x, RATE).level_quantiles_db
            return float(quantiles[6] - quantiles[3])

        before = spread_db(dynamic) - spread_db(reference)
        after = spread_db(render(dynamic, **guess)) - spread_db(reference)
        assert abs(after) < 0.6 * abs(before)

    def test_leaves_alone_what_is_no_more_dynamic(self, dynamic: Samples) -> None:
        steady = 0.1 * np.random.default_rng(2).standard_normal((1, 4 * 44100))
        assert start(measure(steady, RATE), measure(dynamic, RATE))["ratio"] == 1.0
        assert start(measure(dynamic, RATE), measure(dynamic, RATE))["ratio"] == 1.0
