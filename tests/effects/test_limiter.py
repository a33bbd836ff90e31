"""Truths of the limiter: the bound for every input, between samples too, its equations, and closed forms."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxstyle.audio import Audio, read, write
from fxstyle.dsp.truepeak import REACH, eighths
from fxstyle.effect import Samples
from fxstyle.effects.limiter import EFFECT, LEAST_RAMP, delay
from fxstyle.loudness import PeakMeter

RATE = 44100.0
TRUE, SAMPLE = 0.0, 1.0

ROUNDING_DB = 0.001
"""What the ramp towards a louder peak may add between samples; measured at most 0.0002."""


def limit(x: Samples, rate: float = RATE, **given_settings: float) -> Samples:
    knobs = {
        k: torch.tensor([v], dtype=torch.float64) for k, v in (EFFECT.defaults() | given_settings).items()
    }
    return EFFECT.forward(torch.from_numpy(x)[None], rate, **knobs)[0].numpy()


def limit_samples(x: Samples, **given_settings: float) -> Samples:
    return limit(x, detect=SAMPLE, **given_settings)


def true_peak_db(y: Samples, rate: float) -> float:
    meter = PeakMeter(round(rate), y.shape[0])
    meter.update(y.astype(np.float64))
    return 20.0 * math.log10(meter.true_peak)


def naive(
    x: Samples, rate: float, gain_db: float, ceiling_db: float, release_ms: float, ahead: int, reach: int
) -> Samples:
    drive, ceiling = 10.0 ** (gain_db / 20.0), 10.0 ** (ceiling_db / 20.0)
    k, past = math.exp(-1000.0 / (rate * release_ms)), ahead + 2 * reach
    u = np.pad(drive * x, ((0, 0), (2 * REACH, past + 2 * REACH)))
    m = np.abs(u).max(axis=0)
    if reach:
        view = np.lib.stride_tricks.sliding_window_view(u, 2 * REACH, axis=1)
        between = np.abs(view @ eighths().T).max(axis=(0, 2))  # entry i: after sample i + REACH - 1
        m[REACH:-REACH] = np.maximum(m[REACH:-REACH], np.maximum(between[:-1], between[1:]))
    r = np.minimum(1.0, ceiling / np.maximum(m, 1e-30))[2 * REACH - reach : m.size - 2 * REACH - reach]
    s = np.ones(r.size)
    for n in range(r.size):
        q = min(1.0, r[max(n - past, 0) : n + 1].min())
        before = s[n - 1] if n else 1.0
        s[n] = min(q, k * before + (1.0 - k) * q)
    g = s
    for length in (ahead // 2, ahead - ahead // 2) if reach else (ahead,):
        g = np.convolve(np.concatenate((np.ones(length), g)), np.ones(length + 1), "valid") / (length + 1)
    return drive * x * g[past:]


@pytest.mark.parametrize("rate", [8000.0, 44100.0])
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("detect", [TRUE, SAMPLE])
@pytest.mark.parametrize("lookahead_ms", [0.5, 2.0, 7.3])
def test_is_the_loop_of_its_equations(rate: float, channels: int, detect: float, lookahead_ms: float) -> None:
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((channels, 3000)) * np.repeat(rng.uniform(0.0, 1.5, 30), 100)
    y = limit(
        x, rate, gain_db=6.0, ceiling_db=-3.0, release_ms=15.0, lookahead_ms=lookahead_ms, detect=detect
    )
    ahead, reach = round(lookahead_ms * rate / 1000.0), 0
    if detect == TRUE:
        ahead, reach = max(LEAST_RAMP, ahead), REACH
    np.testing.assert_allclose(y, naive(x, rate, 6.0, -3.0, 15.0, ahead, reach), atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 700),
    spread=st.floats(0.1, 6.0),
    gain_db=st.floats(0.0, 24.0),
    ceiling_db=st.floats(-24.0, 0.0),
    release_ms=st.floats(5.0, 1000.0),
    lookahead_ms=st.floats(0.5, 20.0),
    detect=st.sampled_from((TRUE, SAMPLE)),
    float32=st.booleans(),
)
def test_no_sample_exceeds_the_ceiling(
    seed: int, length: int, spread: float, float32: bool, **knobs: float
) -> None:
    # Heavy tails: samples from far below the ceiling to far above it, side by side.
    rng = np.random.default_rng(seed)
    x = rng.choice((-1.0, 1.0), (2, length)) * np.exp(spread * rng.standard_normal((2, length)))
    y = limit(x.astype(np.float32 if float32 else np.float64), **knobs)
    ceiling = 10.0 ** (knobs["ceiling_db"] / 20.0)
    # The output is rounded once to its own precision.
    assert np.abs(y).max() <= ceiling * (1.0 + np.finfo(y.dtype).eps)


def ebu_tones(size: int) -> list[Samples]:
    """Return the true-peak signals of EBU Tech 3341, cases 15-23 (table 1): 15-19 tones, 20-23 bursts."""
    n = np.arange(size)
    cases = ((4, 0.0, 0.5), (4, 45.0, 0.5), (6, 60.0, 0.5), (8, 67.5, 0.5), (4, 45.0, 1.41))
    tones = [a * np.sin(2.0 * np.pi * n / period + np.radians(phase)) for period, phase, a in cases]
    # One period of fs/4 at full scale within fs/6 at half of it, at 4 times the rate, decimated in 4 phases.
    carrier, start = 0.5 * np.sin(2.0 * np.pi * np.arange(4 * size) / 24.0), 24 * (size // 12)
    burst = np.concatenate((carrier[:start], np.sin(2.0 * np.pi * np.arange(16) / 16.0), carrier[start:-16]))
    for offset in range(4):
        tones.append(scipy.signal.resample_poly(np.roll(burst, -offset), 1, 4))
    return tones


def families(rate: float, size: int = 22050) -> dict[str, list[Samples]]:
    """Return signals whose peaks lie between the samples, each (channel, time), up to 0 dBFS or above."""
    rng, n = np.random.default_rng(0), np.arange(size)
    fourth = np.sin(0.5 * np.pi * n + 0.25 * np.pi)
    levels = np.repeat(10.0 ** rng.uniform(-1.5, 0.0, size // 49 + 1), 49)[:size]
    clicks = np.zeros(size)
    clicks[::777], clicks[1::777], clicks[100::1001] = 1.0, -1.0, 0.8
    return {
        "ebu": [x[None] for x in ebu_tones(size)],
        "noise": [
            0.3 * rng.standard_normal((2, size)),
            rng.uniform(-1.0, 1.0, (2, size)),
            rng.choice((-1.0, 1.0), (1, size)),
            rng.standard_normal((1, size)) * levels,
        ],
        "quarter": [fourth[None], (fourth * (n % 500 < 100))[None], (fourth * levels)[None]],
        "squares and clicks": [
            np.sign(np.sin(2.0 * np.pi * 997.0 * n / rate + 0.1))[None],
            np.sign(np.sin(2.0 * np.pi * 0.11 * n + 0.1))[None],
            clicks[None],
            (np.sin(2.0 * np.pi * 0.34 * n) * np.sign(np.sin(2.0 * np.pi * 0.003 * n)))[None],
        ],
    }


@pytest.mark.parametrize("family", ["ebu", "noise", "quarter", "squares and clicks"])
@pytest.mark.parametrize("rate", [8000.0, 44100.0, 96000.0])
@pytest.mark.parametrize("lookahead_ms", [0.5, 2.0])
def test_no_peak_between_samples_exceeds_the_ceiling(family: str, rate: float, lookahead_ms: float) -> None:
    for x in families(rate)[family]:
        for gain_db, release_ms in ((0.0, 100.0), (6.0, 5.0), (24.0, 5.0), (24.0, 300.0)):
            knobs = {"gain_db": gain_db, "release_ms": release_ms, "lookahead_ms": lookahead_ms}
            y = limit(x, rate, ceiling_db=-1.0, **knobs)
            assert true_peak_db(y, rate) <= -1.0 + ROUNDING_DB
            y = limit(x.astype(np.float32), rate, ceiling_db=-1.0, **knobs)
            assert true_peak_db(y, rate) <= -1.0 + ROUNDING_DB


def test_samples_alone_leave_peaks_between() -> None:
    x = families(RATE)["quarter"][0]
    y = limit_samples(x, gain_db=6.0, ceiling_db=-1.0)
    # A quarter of the rate at 45 degrees has its crests 3.01 dB above its samples, once the gain is steady.
    steady = y[:, 2000:] * np.hanning(y.shape[1] - 2000)
    assert true_peak_db(steady, RATE) == pytest.approx(-1.0 + 3.01, abs=0.02)
    assert true_peak_db(limit(x, gain_db=6.0, ceiling_db=-1.0), RATE) == pytest.approx(-1.0, abs=0.02)


METER_TIMES, METER_REACH = 16, 64
METER_FIR = scipy.signal.firwin(
    2 * METER_TIMES * METER_REACH + 1, 1.0 / METER_TIMES, window=("kaiser", 8.0)
)  # nearly ideal: 64 samples to either side, -6 dB at half the rate, -80 dB beyond
METER_ERROR_DB = 0.002
"""What its own filter adds or takes, below 0.43 of the rate: -80 dB is 0.001 dB."""

ITU_TAPS = np.array(
    (
        (0.0017089843750, 0.0109863281250, -0.0196533203125, 0.0332031250000, -0.0594482421875,
         0.1373291015625, 0.9721679687500, -0.1022949218750, 0.0476074218750, -0.0266113281250,
         0.0148925781250, -0.0083007812500),
        (-0.0291748046875, 0.0292968750000, -0.0517578125000, 0.0891113281250, -0.1665039062500,
         0.4650878906250, 0.7797851562500, -0.2003173828125, 0.1015625000000, -0.0582275390625,
         0.0330810546875, -0.0189208984375),
    )
)  # fmt: skip
"""Phases 0 and 1 of the interpolator of Rec. ITU-R BS.1770-4, annex 2, table; 3 and 2 are their mirrors."""


def ideal_peak_db(y: Samples) -> float:
    """Return the true peak of (channel, time) by scipy's interpolation through a filter of this module's."""
    wide = np.pad(y, ((0, 0), (2 * METER_REACH, 2 * METER_REACH)))
    between = scipy.signal.resample_poly(wide, METER_TIMES, 1, axis=1, window=METER_FIR)
    return 20.0 * math.log10(np.abs(between).max())


def itu_peak_db(y: Samples) -> float:
    phases = (*ITU_TAPS, *ITU_TAPS[:, ::-1])
    return 20.0 * math.log10(max(np.abs(np.convolve(c, taps)).max() for c in y for taps in phases))


def band_limited(top_hz: float, x: Samples) -> Samples:
    """Return x without what lies above top_hz, by 60 dB both ways."""
    sections = scipy.signal.cheby2(12, 60.0, top_hz, fs=RATE, output="sos")
    return np.ascontiguousarray(scipy.signal.sosfiltfilt(sections, x))


def eighths_miss_db(top_hz: float) -> float:
    """Return how far a tone's crest may lie above the nearer of two points an eighth of a sample apart."""
    return -20.0 * math.log10(math.cos(math.pi * top_hz / (8.0 * RATE)))


def test_the_meters_of_this_module_read_a_tone() -> None:
    # Whatever its frequency and phase; it fades in and out, and its highest crest may lie beside the middle.
    n = np.arange(4000)
    fade = np.sin(np.pi * n / 4000.0)
    for cycles in (0.01, 0.1, 0.25, 0.3, 0.41):
        for phase in (0.0, 0.7, 2.0):
            tone = (fade * np.sin(2.0 * np.pi * cycles * n + phase))[None]
            # Sixteenths miss a quarter of what eighths do.
            missed = eighths_miss_db(cycles * RATE) / 4.0
            assert ideal_peak_db(tone) == pytest.approx(0.0, abs=missed + METER_ERROR_DB)
            assert itu_peak_db(tone) == pytest.approx(0.0, abs=0.6)  # its ripple, and quarters


@pytest.mark.parametrize("top_hz", [12000.0, 16000.0, 18000.0])
@pytest.mark.parametrize("gain_db", [0.0, 6.0, 24.0])
def test_independent_meters_read_the_ceiling_of_sound_without_a_last_tenth(
    top_hz: float, gain_db: float
) -> None:
    rng = np.random.default_rng(0)
    noise = band_limited(top_hz, 0.6 * rng.standard_normal((2, 22050)))
    levels = np.repeat(10.0 ** rng.uniform(-1.5, 0.0, 451), 49)[:22050]
    # Hard clipping is as near to a square as the band allows: its peaks lie between the samples.
    for x in (noise, band_limited(top_hz, np.sign(noise)), band_limited(top_hz, noise * levels)):
        for release_ms in (5.0, 100.0):
            y = limit(x, gain_db=gain_db, ceiling_db=-1.0, release_ms=release_ms)
            # The limiter looks at eighths, between which a crest may rise a little higher.
            assert ideal_peak_db(y) <= -1.0 + eighths_miss_db(top_hz) + METER_ERROR_DB
            # The ripple of twelve taps for many tones at once; the least that shows a limiter at all is 3 dB.
            assert itu_peak_db(y) <= -1.0 + 0.25


@pytest.mark.parametrize("gain_db", [0.0, 12.0])
@pytest.mark.parametrize("release_ms", [5.0, 100.0])
def test_independent_meters_read_the_ceiling_of_a_quarter_of_the_rate(
    gain_db: float, release_ms: float
) -> None:
    # At 45 degrees every sample lies 3 dB below the crests; begun at once, cut up, and turned over.
    n = np.arange(8000)
    tone = np.sin(0.5 * np.pi * n + 0.25 * np.pi)
    for shape in (n > 2000, (n % 500) < 100, np.where(n < 4000, 1.0, -1.0)):
        y = limit((tone * shape)[None], gain_db=gain_db, ceiling_db=-1.0, release_ms=release_ms)
        # A beginning is full-band; 64 samples of it see 0.041 dB more than 16 do.
        assert -1.02 < ideal_peak_db(y) <= -1.0 + 0.045
        assert itu_peak_db(y) <= -1.0 + 0.06
        rough = limit_samples((tone * shape)[None], gain_db=gain_db, ceiling_db=-1.0, release_ms=release_ms)
        assert ideal_peak_db(rough) > (1.9 if gain_db else -0.01)


def test_above_43_percent_of_the_rate_it_leaves_what_its_docstring_says() -> None:
    rng, n = np.random.default_rng(0), np.arange(22050)
    signals = {
        0.7: np.sin(2.0 * np.pi * 0.45 * n),
        1.8: rng.choice((-1.0, 1.0), n.size),
        2.7: np.where(n < 11000, 1.0, -1.0) * (-1.0) ** n,
    }
    for most_db, x in signals.items():
        over_db = ideal_peak_db(limit(x[None], gain_db=12.0, ceiling_db=-1.0, release_ms=5.0)) + 1.0
        assert 0.8 * most_db < over_db < most_db


@pytest.mark.parametrize("rate", [8000.0, 44100.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_signal_made_to_break_the_ceiling_hardly_does(rate: float, seed: int) -> None:
    # Gradient ascent on the highest peak, from noise with spikes. Ramps with corners give way by 0.16 dB.
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x = torch.randn(12, 1, 260, dtype=torch.float64)
    for row in range(12):
        x[row, 0, rng.integers(20, 260, 3)] *= 8.0
    x.requires_grad_()
    made = {"release_ms": 5.0, "ceiling_db": 0.0, "lookahead_ms": 0.5}
    knobs = {k: torch.full((12,), v, dtype=torch.float64) for k, v in (EFFECT.defaults() | made).items()}
    taps, optimiser = torch.from_numpy(eighths()[1::2])[:, None], torch.optim.Adam([x], lr=0.03)
    highest = 0.0
    for _ in range(120):
        optimiser.zero_grad()
        peak = torch.nn.functional.conv1d(EFFECT.forward(x, rate, **knobs), taps, padding=40).abs()
        highest = max(highest, peak.max().item())
        (-peak.amax(dim=(1, 2)).sum()).backward()
        optimiser.step()
    assert 20.0 * math.log10(highest) < 0.02


def test_is_transparent_to_the_bit_below_the_ceiling() -> None:
    x = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 5000))
    np.testing.assert_array_equal(limit_samples(x, ceiling_db=-0.3), x)
    np.testing.assert_array_equal(limit_samples(x.astype(np.float32), ceiling_db=-0.3), x.astype(np.float32))
    tone = 0.1 * np.sin(2.0 * np.pi * 997.0 * np.arange(44100) / RATE)[None]  # -20 dBFS
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(limit(tone.astype(dtype)), tone.astype(dtype))
    # Peaks between the samples count: this noise has them above the ceiling, a third of it does not.
    assert (limit(x, ceiling_db=-0.3) != x).any()
    np.testing.assert_array_equal(limit(x / 3.0, ceiling_db=-0.3), x / 3.0)


def test_drive_is_gain_below_the_ceiling() -> None:
    x = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 1000))
    np.testing.assert_allclose(limit(x, gain_db=12.0), 10.0 ** (12.0 / 20.0) * x, rtol=1e-12)


@pytest.mark.parametrize("detect", [TRUE, SAMPLE])
def test_a_steady_tone_comes_out_at_the_ceiling(detect: float) -> None:
    x = 2.0 * np.sin(2.0 * np.pi * 1000.0 * np.arange(44100) / RATE)[None]
    y = limit(x, ceiling_db=-6.0, release_ms=1000.0, detect=detect)
    assert 20.0 * np.log10(np.abs(y[0, 22050:]).max()) == pytest.approx(-6.0, abs=0.01)


@pytest.mark.parametrize("lookahead_ms", [2.0, 5.0])
def test_gain_falls_in_a_ramp_within_the_look_ahead(lookahead_ms: float) -> None:
    x = np.full((1, 4000), 0.4)
    x[0, 2000:] = 1.0
    gain = limit_samples(x, ceiling_db=-6.0206, lookahead_ms=lookahead_ms)[0] / x[0]
    length = round(lookahead_ms * RATE / 1000.0)
    # From 1 to 1/2 in L + 1 equal steps, the last of them at the step itself, which is met exactly.
    steps = np.diff(gain[2000 - length - 1 : 2001])
    np.testing.assert_array_equal(gain[: 2000 - length], 1.0)
    np.testing.assert_allclose(steps, -0.5 / (length + 1), rtol=1e-4)
    assert gain[2000] == pytest.approx(0.5, rel=1e-5)


def test_the_ramp_of_true_peaks_has_no_corners() -> None:
    x = np.full((1, 4000), 0.1)
    x[0, 2000] = 1.0
    gain = limit(x, ceiling_db=-6.0206, lookahead_ms=2.0, release_ms=1000.0)[0] / x[0]
    # Two averages over 45 samples each: a slope that changes by equal steps, down, then up, and no more.
    begin = int(np.flatnonzero(gain < 1.0)[0])
    bends = np.diff(gain[begin - 1 : begin + 90], 2)
    # The very first and last steps are a little less: the sample beside the click is lower than the click.
    np.testing.assert_allclose(bends[:43], -0.5 / 45**2, rtol=1e-6)
    np.testing.assert_allclose(bends[45:87], 0.5 / 45**2, rtol=1e-6)
    # It is down REACH samples before the click, and stays down as long after it.
    assert begin + 88 < 2000 - REACH
    np.testing.assert_allclose(gain[2000 - REACH : 2001 + REACH], 0.5, rtol=1e-6)


def test_recovers_63_percent_in_the_release_time() -> None:
    release_ms = 200.0
    x = np.full((1, 44100), 0.1)
    x[0, :4000] = 2.0
    for detect, held in ((SAMPLE, 88 // 2), (TRUE, 88 // 2 + REACH)):
        gain = limit(x, ceiling_db=0.0, release_ms=release_ms, detect=detect)[0] / x[0]
        # The minimum lets go L (and 2R) samples after the last loud one, as seen from the input; the output
        # is aligned L (and R) earlier, and the average is late by L/2.
        at = 4000 + held + round(release_ms * RATE / 1000.0)
        low = gain[:3000].min()
        assert (gain[at] - low) / (1.0 - low) == pytest.approx(1.0 - math.exp(-1.0), abs=0.01)


def test_all_channels_share_one_gain() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 5000)) * np.array([[2.0], [0.5], [0.1]])
    gain = limit(x) / x
    np.testing.assert_allclose(gain[1], gain[0], rtol=1e-12)
    np.testing.assert_allclose(gain[2], gain[0], rtol=1e-12)


@pytest.mark.parametrize("detect", [TRUE, SAMPLE])
def test_nothing_accumulates_over_a_long_stream(detect: float) -> None:
    # After 40 s of hard limiting the gain of quiet sound is 1 again, not 1 plus the errors of a running sum.
    rng = np.random.default_rng(4)
    fixed = EFFECT.defaults() | {"release_ms": 5.0, "detect": detect}
    state = None
    for _ in range(40):
        loud = 3.0 * rng.standard_normal((1, 44100))
        _, state = EFFECT.render(loud, RATE, state, **(fixed | {"gain_db": 24.0, "ceiling_db": -24.0}))
    quiet = np.full((1, 44100), 1e-3)
    y, state = EFFECT.render(quiet, RATE, state, **(fixed | {"ceiling_db": 0.0}))
    np.testing.assert_allclose(y[0, -100:], 1e-3, rtol=1e-13)


def test_latency_is_the_look_ahead_and_the_reach() -> None:
    assert EFFECT.latency(44100.0, EFFECT.defaults()) == 88 + 2 * REACH
    assert delay(44100.0, lookahead_ms=2.0, detect=SAMPLE) == 88
    assert delay(1000.0, lookahead_ms=2.0, detect=SAMPLE) == 2
    assert delay(100.0, lookahead_ms=2.0, detect=SAMPLE) == 1
    assert delay(8000.0, lookahead_ms=2.0, detect=TRUE) == LEAST_RAMP + 2 * REACH
    x = np.zeros((1, 300))
    x[0, 10] = 0.5
    y, _ = EFFECT.render(x, RATE, None, **EFFECT.defaults())
    assert np.flatnonzero(y[0]).tolist() == [10 + 88 + 2 * REACH]


# The last of them has the delay of the defaults.
@pytest.mark.parametrize(
    "turned",
    [
        {"lookahead_ms": 0.6},
        {"lookahead_ms": 15.0},
        {"detect": SAMPLE},
        {"detect": SAMPLE, "lookahead_ms": 1000.0 * (88 + 2 * REACH) / RATE},
    ],
)
def test_a_look_ahead_turned_between_two_blocks_keeps_the_ceiling(turned: dict[str, float]) -> None:
    x = 3.0 * np.random.default_rng(5).standard_normal((2, 6000))
    first, state = EFFECT.render(x[:, :3000], RATE, None, **EFFECT.defaults())
    changed = EFFECT.defaults() | turned
    second, _ = EFFECT.render(x[:, 3000:], RATE, state, **changed)
    assert max(np.abs(first).max(), np.abs(second).max()) <= 10.0 ** (-0.3 / 20.0) * (1.0 + 1e-15)
    # What was late then comes out now, turned down, as far as the new delay goes; before that, silence.
    old, new = EFFECT.latency(RATE, EFFECT.defaults()), EFFECT.latency(RATE, changed)
    heard = np.pad(x[:, 3000 - old :], ((0, 0), (new, 0)))[:, old : 3000 + old]
    assert (second * heard >= 0.0).all()
    assert (np.abs(second) <= np.abs(heard)).all()
    np.testing.assert_array_equal(second != 0.0, heard != 0.0)


@pytest.mark.parametrize("length", [12, 1500])
@pytest.mark.parametrize("detect", [TRUE, SAMPLE])
def test_gradient_agrees_with_differences(length: int, detect: float) -> None:
    rng = np.random.default_rng(length)
    x = torch.from_numpy(rng.standard_normal((2, 2, length))).requires_grad_()
    knobs = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in ((3.0, 9.0), (-6.0, -1.0), (8.0, 300.0), (1.1, 9.2))
    ]
    choice = torch.full((2,), detect, dtype=torch.float64)

    def run(signal: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(signal, 2000.0, **dict(zip(EFFECT.defaults(), (*values, choice), strict=True)))

    assert torch.autograd.gradcheck(run, (x, *knobs), atol=1e-7, rtol=1e-5, fast_mode=length > 100)


def ffmpeg_true_peak_db(folder: Path, y: Samples, rate: int) -> float:
    write(folder / "a.wav", Audio(y.astype(np.float32), rate), subtype="FLOAT", force=True)
    filters = "ebur128=peak=true:framelog=verbose"
    command = ["ffmpeg", "-nostats", "-i", str(folder / "a.wav"), "-af", filters, "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, check=True, text=True, errors="replace").stderr
    return float(re.findall(r"Peak:\s+(-?[\d.]+)", log.rpartition("Summary:")[2])[-1])


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@needs_ffmpeg
@pytest.mark.parametrize("family", ["ebu", "noise", "quarter", "squares and clicks"])
@pytest.mark.parametrize("rate", [44100, 48000])
def test_ffmpeg_reads_the_ceiling(tmp_path: Path, family: str, rate: int) -> None:
    for x in families(rate)[family]:
        # Silence around it: ffmpeg mirrors what a file begins with, which turns the phase of a tone.
        y = limit(np.pad(x, ((0, 0), (1000, 1000))), rate, gain_db=18.0, ceiling_db=-1.0)
        # One decimal is printed; its filter passes more of what is above 0.43 of the rate, and at 44.1 kHz
        # its points lie elsewhere: 0.08 dB measured.
        assert ffmpeg_true_peak_db(tmp_path, y, rate) <= -0.9


@needs_ffmpeg
@pytest.mark.data
@pytest.mark.parametrize("gain_db", [6.0, 24.0])
def test_recordings_keep_the_ceiling(tmp_path: Path, data_dir: Path, gain_db: float) -> None:
    paths = sorted(p for p in (data_dir / "music").iterdir() if p.suffix in (".flac", ".ogg", ".wav"))
    if not paths:
        pytest.skip(f"{data_dir}/music holds no recordings")
    for path in paths[:: max(1, len(paths) // 6)]:
        audio = read(path)
        middle = audio.frames // 2
        x = audio.samples[:, middle : middle + 6 * audio.rate]
        y = limit(x / np.abs(x).max(), audio.rate, gain_db=gain_db, ceiling_db=-1.0)
        assert true_peak_db(y, audio.rate) <= -1.0 + ROUNDING_DB
        assert ffmpeg_true_peak_db(tmp_path, np.pad(y, ((0, 0), (1000, 1000))), audio.rate) <= -0.9
