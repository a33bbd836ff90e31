"""Truths of the transient shaper: its equations in a naive loop, closed forms of steps, any level alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from fxstyle.effect import Samples
from fxstyle.effects.transient import EFFECT, FAST_FALL_MS, FAST_RISE_MS, HOLD_MS

RATE = 44100.0
SETTINGS = (
    {"attack_db": 6.0, "sustain_db": -9.0, "attack_ms": 20.0, "release_ms": 200.0, "link": 1.0},
    {"attack_db": -18.0, "sustain_db": 18.0, "attack_ms": 2.0, "release_ms": 20.0, "link": 0.0},
    {"attack_db": 11.0, "sustain_db": 4.0, "attack_ms": 150.0, "release_ms": 900.0, "link": 0.4},
)
HELD = round(HOLD_MS * RATE / 1000.0)


def constant(time_ms: float) -> float:
    return math.exp(-1000.0 / (RATE * time_ms))


RISE, FALL = constant(FAST_RISE_MS), constant(FAST_FALL_MS)


def render(x: Samples, **settings: float) -> Samples:
    return EFFECT.render(x, RATE, None, **(EFFECT.defaults() | settings))[0]


def gain_db(x: Samples, **settings: float) -> Samples:
    return 20.0 * np.log10(render(x, **settings) / x)


def drums(length: int, channels: int = 2) -> Samples:
    """Return noise that decays from 8 hits a second, apart in each channel."""
    rng, t = np.random.default_rng(0), np.arange(length)
    decay = np.stack([10.0 ** (-((t + 900 * c) % 5512) / 4000.0) for c in range(channels)])
    return 0.5 * rng.standard_normal((channels, length)) * decay


def naive(x: Samples, settings: dict[str, float], link: Samples | None = None) -> Samples:
    """Return the output; link: (time,), where it is turned within the stream."""
    s = EFFECT.defaults() | settings
    link = np.full(x.shape[1], s["link"]) if link is None else link
    attack, release = constant(s["attack_ms"]), constant(s["release_ms"])
    y = np.empty_like(x)
    for c in range(x.shape[0]):
        a = (1.0 - link) * np.abs(x[c]) + link * np.abs(x).max(axis=0)
        fast = slow = long = 0.0
        for n in range(a.size):
            held = a[max(n - HELD, 0) : n + 1].max()
            fast = held + (RISE if held > fast else FALL) * (fast - held)
            slow = fast + attack * (slow - fast) if slow < fast else fast
            long = fast + release * (long - fast) if long > fast else fast
            gain = (
                s["attack_db"] * (1.0 - slow / fast) + s["sustain_db"] * (1.0 - fast / long) + s["output_db"]
            )
            y[c, n] = x[c, n] * 10.0 ** (gain / 20.0)
    return y


@pytest.mark.parametrize("settings", SETTINGS)
def test_is_the_loop_of_its_equations(settings: dict[str, float]) -> None:
    x, given = drums(9000, 3), settings | {"output_db": -2.0}
    # The polynomial of the power is right to 2e-11.
    np.testing.assert_allclose(render(x, **given), naive(x, given), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("level", [1e-4, 0.7])
@pytest.mark.parametrize("attack_ms", [2.0, 25.0, 180.0])
def test_onset_out_of_silence_is_the_closed_form(attack_ms: float, level: float) -> None:
    m = np.arange(1, 20001)
    k = constant(attack_ms)
    fast = 1.0 - RISE**m
    slow = 1.0 - (k * (1.0 - RISE) * k**m - RISE * (1.0 - k) * RISE**m) / (k - RISE)
    gain = gain_db(np.full((1, m.size), level), attack_db=9.0, sustain_db=5.0, attack_ms=attack_ms)[0]
    np.testing.assert_allclose(gain, 9.0 * (1.0 - slow / fast), atol=1e-7)


def test_an_onset_fades_to_37_percent_in_its_time() -> None:
    gain = gain_db(np.full((1, 44100), 0.3), attack_db=10.0, attack_ms=50.0)[0]
    assert gain[0] == pytest.approx(10.0 * constant(50.0), abs=1e-6)
    # the fast envelope is late by its own 1 ms, 2 % of 50 ms
    assert gain[round(0.05 * RATE)] == pytest.approx(10.0 / math.e, rel=0.025)
    assert abs(gain[-1]) < 1e-6


@pytest.mark.parametrize("release_ms", [20.0, 250.0])
def test_a_fall_is_the_closed_form(release_ms: float) -> None:
    start, low = 44100, 1e-12
    x = np.concatenate((np.full((1, start), 0.5), np.full((1, 8000), low)), axis=1)
    gain = gain_db(x, attack_db=7.0, sustain_db=-12.0, attack_ms=2.0, release_ms=release_ms)[0, start:]
    np.testing.assert_allclose(gain[:HELD], 0.0, atol=1e-7)  # held at the level before
    m = np.arange(1, 4001)
    k = constant(release_ms)
    fast = FALL**m
    long = k**m + (1.0 - k) * FALL * (FALL**m - k**m) / (FALL - k)
    # low is 1e-12 of full scale, the fast envelope ends at 1e-4
    np.testing.assert_allclose(gain[HELD : HELD + m.size], -12.0 * (1.0 - fast / long), atol=1e-5)


def smoothed(x: Samples, k: float, before: float) -> Samples:
    """One-pole smoothing by scipy, of time constant k, from the level that it has been at."""
    y: Samples = lfilter([1.0 - k], [1.0, -k], x, zi=[k * before])[0]
    return y


@pytest.mark.parametrize(("attack_ms", "release_ms"), [(2.0, 2000.0), (25.0, 250.0), (200.0, 20.0)])
@pytest.mark.parametrize(("low", "high"), [(0.05, 0.5), (0.3, 0.6), (1e-4, 1.0)])
def test_a_burst_within_a_sound_is_made_of_one_pole_filters(
    low: float, high: float, attack_ms: float, release_ms: float
) -> None:
    # Its envelopes only rise, then only fall: each way a linear filter, run by scipy. Before it 4 s of rest,
    # 20 time constants of the slowest attack.
    begin, count = 4 * 44100, 22050
    x = np.full((1, begin + 2 * count), low)
    x[:, begin : begin + count] = high
    gain = gain_db(x, attack_db=8.0, sustain_db=-5.0, attack_ms=attack_ms, release_ms=release_ms)[0, begin:]

    end = count + HELD  # a fall is held
    fast = smoothed(np.full(end, high), RISE, low)
    fast = np.concatenate((fast, smoothed(np.full(2 * count - end, low), FALL, fast[-1])))
    slow = np.minimum(fast, smoothed(fast, constant(attack_ms), low))
    long = fast.copy()
    long[end:] = smoothed(fast[end:], constant(release_ms), fast[end - 1])
    truth = 8.0 * (1.0 - slow / fast) - 5.0 * (1.0 - fast / long)
    assert truth[:end].max() > 1.0
    assert truth[end:].min() < -1.0
    np.testing.assert_allclose(gain, truth, atol=1e-6)  # 8 dB exp(-20) = 2e-8, over the lowest f


@pytest.mark.parametrize("rise_db", [3.0, 6.0, 20.0])
@pytest.mark.parametrize("attack_db", [-12.0, 9.0])
def test_an_onset_gets_the_share_of_how_far_it_rises(attack_db: float, rise_db: float) -> None:
    begin, low = 4 * 44100, 0.05
    x = np.full((1, begin + 22050), low)
    x[:, begin:] = low * 10.0 ** (rise_db / 20.0)
    gain = gain_db(x, attack_db=attack_db, sustain_db=0.0, attack_ms=200.0)[0, begin:]
    limit_db = attack_db * (1.0 - 10.0 ** (-rise_db / 20.0))
    # In the limit of an attack that is long against the 1 ms of the fast envelope: 200 ms lose 4 % in 8 ms.
    assert 0.95 < gain[np.abs(gain).argmax()] / limit_db < 1.0
    # From there it fades by the time constant of the attack.
    assert gain[round(0.2 * RATE)] == pytest.approx(limit_db / math.e, rel=0.01)


@pytest.mark.parametrize("sustain_db", [-12.0, 9.0])
@pytest.mark.parametrize("fall_db", [6.0, 40.0])
def test_what_dies_away_gets_the_share_of_how_far_it_has_fallen(sustain_db: float, fall_db: float) -> None:
    begin, high = 4 * 44100, 0.5
    x = np.full((1, begin + 22050), high)
    x[:, begin:] = high * 10.0 ** (-fall_db / 20.0)
    gain = gain_db(x, attack_db=0.0, sustain_db=sustain_db, release_ms=2000.0)[0, begin:]
    limit_db = sustain_db * (1.0 - 10.0 ** (-fall_db / 20.0))
    assert np.abs(gain[:HELD]).max() < 1e-6  # 10 ms late
    # In the limit of a release that is long against the 10 ms in which the fast envelope falls.
    assert 0.93 < gain[np.abs(gain).argmax()] / limit_db < 1.0


@pytest.mark.parametrize("settings", SETTINGS)
def test_scaling_the_input_scales_the_output(settings: dict[str, float]) -> None:
    x = drums(20000)
    y = render(x, **settings)
    for power in (-30, -7, 12):
        np.testing.assert_array_equal(render(x * 2.0**power, **settings), y * 2.0**power)
    np.testing.assert_allclose(render(x * 0.3, **settings), 0.3 * y, rtol=1e-12)


def test_no_change_asked_is_the_identity_to_the_bit() -> None:
    x = drums(20000).astype(np.float32)
    x[:, 9000:15000] = 0.0
    np.testing.assert_array_equal(render(x, attack_db=0.0, sustain_db=0.0), x)


# 441 and 1050 Hz repeat their samples within the hold; elsewhere the highest sample varies a little.
@pytest.mark.parametrize(
    ("tone_hz", "error_db"), [(50.0, 1e-6), (441.0, 1e-6), (1050.0, 1e-6), (61.7, 0.01), (3967.3, 0.1)]
)
def test_a_steady_tone_is_left_alone(tone_hz: float, error_db: float) -> None:
    x = np.sin(2.0 * np.pi * tone_hz * np.arange(88200) / RATE + 0.1)[None]
    y = render(x, attack_db=18.0, sustain_db=-18.0)
    change_db = 20.0 * np.log10(np.abs(y[:, 66150:]).max() / np.abs(x[:, 66150:]).max())
    assert abs(change_db) < error_db


@pytest.mark.parametrize("attack_db", [-18.0, 18.0])
@pytest.mark.parametrize("sustain_db", [-18.0, 18.0])
def test_the_gain_stays_within_what_is_asked(attack_db: float, sustain_db: float) -> None:
    gain = gain_db(drums(44100), attack_db=attack_db, sustain_db=sustain_db)
    assert gain.max() <= max(attack_db, 0.0) + max(sustain_db, 0.0)
    assert gain.min() >= min(attack_db, 0.0) + min(sustain_db, 0.0)


def test_attack_raises_hits_and_sustain_what_follows() -> None:
    x = drums(44100, 1)
    after = np.arange(44100) % 5512
    hit, tail = (after < 441)[None], (after > 3000)[None]

    def energy_db(y: Samples, where: Samples) -> float:
        return float(10.0 * np.log10(np.square(y[where]).sum() / np.square(x[where]).sum()))

    harder = render(x, attack_db=9.0, sustain_db=0.0)
    assert energy_db(harder, hit) > 4.0
    assert abs(energy_db(harder, tail)) < 0.5
    longer = render(x, attack_db=0.0, sustain_db=9.0)
    assert energy_db(longer, tail) > 4.0
    # A hit falls by 2.2 dB in its first 10 ms, for which the sustain gives 9 (1 - 10^(-2.2/20)) dB at most.
    assert 0.0 < energy_db(longer, hit) < 9.0 * (1.0 - 10.0 ** (-2.2 / 20.0))


def test_full_link_keeps_the_balance_and_no_link_does_not() -> None:
    x = drums(20000)
    linked = render(x, link=1.0) / x
    np.testing.assert_allclose(linked[0], linked[1], rtol=1e-12)
    apart = render(x, link=0.0)
    for c in range(2):
        np.testing.assert_array_equal(apart[c : c + 1], render(x[c : c + 1], link=0.0))


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_link_turned_between_two_blocks_finds_what_each_channel_remembers(
    settings: dict[str, float],
) -> None:
    x, cut, given = drums(6000, 3), 2500, EFFECT.defaults() | settings
    linked, state = EFFECT.render(x[:, :cut], RATE, None, **(given | {"link": 1.0}))
    apart, _ = EFFECT.render(x[:, cut:], RATE, state, **(given | {"link": 0.0}))
    truth = naive(x, settings, np.where(np.arange(x.shape[1]) < cut, 1.0, 0.0))
    y = np.concatenate((linked, apart), axis=1)
    np.testing.assert_allclose(y, truth, rtol=1e-9, atol=1e-14)  # as of the whole loop


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("length", [20, 1200])
def test_gradient_agrees_with_differences(settings: dict[str, float], length: int) -> None:
    rng = np.random.default_rng(length)
    swell = 10.0 ** np.sin(np.arange(length) / 60.0)
    x = torch.from_numpy(0.2 * swell * rng.standard_normal((1, 3, length))).requires_grad_()
    # Away from the ends of the ranges.
    given = EFFECT.defaults() | settings | {"link": 0.1 + 0.8 * settings["link"], "output_db": 2.0}
    values = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in given.values()]

    def run(signal: torch.Tensor, *knobs: torch.Tensor) -> torch.Tensor:
        return EFFECT.forward(signal, 8000.0, **dict(zip(given, knobs, strict=True)))

    assert torch.autograd.gradcheck(run, (x, *values), atol=1e-7, rtol=1e-5, fast_mode=length > 100)
