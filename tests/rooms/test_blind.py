"""The room of a recording: laws of its features, the chain against brute force, rooms found again."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import torch

from fxstyle.errors import AudioError
from fxstyle.rooms import blind, posterior
from fxstyle.rooms.iso3382 import measure_response
from fxstyle.rooms.simulate import grid, responses, simulate
from fxstyle.rooms.slopes import (
    DEEPEST_DB,
    FEATURES,
    HOP,
    LOUD_QUANTILE,
    SLOPE_LENGTHS,
    SLOPE_QUANTILES,
    WORK_RATE,
    common_floor,
    describe,
    energies,
    octave_levels,
    octave_signals,
    quantiles,
    transform_size,
)
from fxstyle.units import NEPERS_OF_60_DB

Sound = npt.NDArray[np.float32]
DEEP = torch.full((8, 1), -200.0)


def taps(seconds: float, seed: int) -> Sound:
    """Short bursts of noise, as somebody tapping on things would make; dry, on a quiet hiss."""
    rng = np.random.default_rng(seed)
    x = 1e-5 * rng.standard_normal(round(seconds * WORK_RATE))
    at = 0.05
    while at < seconds - 0.1:
        n = round(rng.uniform(0.02, 0.12) * WORK_RATE)
        begin = round(at * WORK_RATE)
        burst = rng.standard_normal(n) * np.exp(-np.arange(n) / (0.2 * n)) * rng.uniform(0.3, 1.0)
        x[begin : begin + n] += burst[: x.size - begin]
        at += float(rng.choice([0.15, 0.3, 0.6, 0.9]))
    return (0.1 * x).astype(np.float32)


def room(t60_s: float, level_db: float, seed: int, rate: float = WORK_RATE) -> npt.NDArray[np.float64]:
    """A direct sound and fading white noise, none of it from the program."""
    n = np.arange(round(1.5 * t60_s * rate))
    a = NEPERS_OF_60_DB / (t60_s * rate)
    h = np.random.default_rng(seed).standard_normal(n.size) * np.exp(-a * n) * math.sqrt(2.0 * a)
    h *= 10.0 ** (level_db / 20.0)
    h[0] += 1.0
    return h


def played(dry: Sound, h: npt.NDArray[np.float64]) -> Sound:
    return np.asarray(scipy.signal.fftconvolve(dry, h)[: dry.size], np.float32)


def test_levels_of_a_decay_fall_in_a_straight_line() -> None:
    """exp(-a t): every octave falls by 60 dB in T; the window only shifts it."""
    t60_s = 0.5
    n = np.arange(WORK_RATE)
    noise = np.random.default_rng(0).standard_normal((200, n.size))
    x = noise * np.exp(-NEPERS_OF_60_DB * n / (t60_s * WORK_RATE))
    levels = octave_levels(torch.from_numpy(x.astype(np.float32)))
    mean = 10.0 * (10.0 ** (levels / 10.0)).mean(dim=0).log10().numpy()
    for octave in mean[2:]:
        fall = np.polyfit(np.arange(20, 100) * HOP / WORK_RATE, octave[20:100], 1)[0]
        # 200 noises of 80 levels: the line is sure to about 1 %
        assert fall == pytest.approx(-60.0 / t60_s, rel=0.03)


def test_octaves_keep_to_themselves() -> None:
    """A sine in the middle of an octave is an octave lower or higher at least 30 dB down."""
    t = np.arange(WORK_RATE) / WORK_RATE
    for b in range(1, 7):
        x = torch.from_numpy(np.sin(2.0 * np.pi * 62.5 * 2.0**b * t).astype(np.float32))
        size = transform_size(x.shape[0])
        e = [energies(z, size, k, 100)[50] for k, z in enumerate(octave_signals(x, size))]
        assert e[b] == pytest.approx(1.0, rel=1e-3)  # of sin, the analytic signal has the power 1
        assert all(e[k] < 1e-3 for k in range(8) if k != b)


def test_slopes_are_those_of_a_line() -> None:
    """Of a level that falls by 100 dB per s, every quantile of every slope is the root of -100."""
    levels = -100.0 * torch.arange(300) * HOP / WORK_RATE
    found = describe(levels[None], torch.tensor([[-1000.0]]))[0, : len(SLOPE_LENGTHS) * len(SLOPE_QUANTILES)]
    wanted = -100.0 / (1.0 + (100.0 / 20.0) ** 2) ** 0.25
    assert torch.allclose(found, torch.full_like(found, wanted), rtol=1e-3)  # levels are float32


def test_gain_and_equaliser_drop_out() -> None:
    x = torch.from_numpy(taps(2.0, 1))
    sections = scipy.signal.butter(1, 1000.0, "lowpass", fs=WORK_RATE, output="sos")
    louder = torch.from_numpy((4.0 * scipy.signal.sosfilt(sections, x.numpy())).astype(np.float32))
    one, other = (describe(octave_levels(y), torch.full((8, 1), -30.0)) for y in (x, louder))
    assert torch.allclose(describe(octave_levels(8.0 * x), torch.full((8, 1), -30.0)), one, atol=1e-2)
    # the filter turns inside an octave, so a little remains; features are up to 40
    assert (one - other)[1:7].abs().mean() < 1.0


def test_floor_is_of_both_and_has_an_end() -> None:
    quiet, noisy = torch.linspace(-90.0, 0.0, 200)[None], torch.linspace(-20.0, 0.0, 200)[None]
    assert common_floor(quiet, quiet).item() == DEEPEST_DB
    assert common_floor(noisy, quiet).item() == pytest.approx(-20.0 + 0.03 * 20.0 + 3.0, abs=0.05)
    assert common_floor(quiet, noisy).item() == -25.0


def test_quantiles_are_numpys() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 57)))
    wanted = np.quantile(x.numpy(), SLOPE_QUANTILES, axis=-1).T
    assert np.allclose(quantiles(x, SLOPE_QUANTILES).numpy(), wanted, atol=1e-12)


def test_simulated_rooms_measure_as_they_are_called() -> None:
    """T20 and energy of h_T: of one noise, to the 10 % that its chance leaves."""
    t60_s = torch.tensor([0.3, 1.0], dtype=torch.float64)
    for t, h in zip(t60_s.tolist(), responses(t60_s, 2 * WORK_RATE)[:, 0].double().numpy(), strict=True):
        assert np.square(h).sum() == pytest.approx(1.0, rel=0.1)
        found = measure_response(h, WORK_RATE).t20_s[3:7]
        assert np.median(found) == pytest.approx(t, rel=0.1)


def test_simulation_is_the_convolution() -> None:
    """Levels from the octaves' sum, z(x) + g z(w), against those of x + g w made in the open."""
    dry = torch.from_numpy(taps(1.0, 2))
    t60_s, level_db = torch.tensor([0.2, 0.8, 2.0]), torch.tensor([-10.0, 10.0])
    made = simulate(dry, t60_s.double(), level_db.double())
    h = responses(t60_s.double(), dry.shape[0])[:, 0].double().numpy()
    for i, j in itertools.product(range(3), range(2)):
        wet = scipy.signal.fftconvolve(dry.numpy(), h[i])[: dry.shape[0]] * 10.0 ** (
            level_db[j].item() / 20.0
        )
        wanted = octave_levels((dry.double() + torch.from_numpy(wet)).float())
        for b in range(8):
            # float32 at 60 dB under the loud
            assert torch.allclose(made[b][i, j].clamp_min(-60.0), wanted[b].clamp_min(-60.0), atol=0.1)


def test_chain_is_the_sum_over_all_paths() -> None:
    """Marginals and evidence against every path of 4 octaves on a grid of 3 by 2."""
    rng = np.random.default_rng(0)
    log_p = torch.from_numpy(rng.normal(size=(4, 3, 2)).astype(np.float32))
    t60_s, level_db = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.0, 5.0])
    metric = replace(
        posterior.learned(), step=torch.tensor([0.4, 3.0]), prior=torch.tensor([0.0, 1.0, 1.0, 4.0])
    )
    log_t = t60_s.log().numpy()

    def gauss(x: float, deviation: float) -> float:
        return math.exp(-0.5 * (x / deviation) ** 2)

    def step(values: npt.NDArray[np.floating], deviation: float) -> npt.NDArray[np.float64]:
        w = np.array([[gauss(u - v, deviation) + posterior.STRAY for v in values] for u in values])
        return w / w.sum(axis=1, keepdims=True)

    st, sl = step(log_t, 0.4), step(level_db.numpy(), 3.0)
    prior = np.array([[gauss(t, 1.0) * gauss(v - 1.0, 4.0) for v in (0.0, 5.0)] for t in log_t])
    prior /= prior.sum()
    wanted, total = np.zeros((4, 3, 2)), 0.0
    states = list(itertools.product(range(3), range(2)))
    for path in itertools.product(states, repeat=4):
        p = prior[path[0]]
        for (t, v), (u, w) in itertools.pairwise(path):
            p *= st[t, u] * sl[v, w]
        p *= math.exp(sum(float(log_p[b][s]) for b, s in enumerate(path)))
        total += p
        for b, s in enumerate(path):
            wanted[(b, *s)] += p
    found, evidence = posterior.marginals(metric, log_p, t60_s, level_db)
    assert np.allclose(found.numpy(), wanted / total, atol=1e-5)  # float32
    assert evidence.item() == pytest.approx(math.log(total), abs=1e-4)


def test_c50_is_that_of_the_response() -> None:
    """The closed form against ISO 3382 on a direct sound and fading noise, median of the octaves."""
    for t60_s, level_db in ((0.4, 5.0), (1.5, 10.0), (1.5, -5.0)):
        measured = measure_response(room(t60_s, level_db, 3), WORK_RATE)
        closed = blind.c50_of(torch.tensor(t60_s), torch.tensor(level_db)).item()
        # one noise: the energy in 50 ms of an octave scatters by about a dB
        assert np.median(measured.c50_db[2:7]) == pytest.approx(closed, abs=1.0)


def test_grid_is_even_and_as_large_as_asked() -> None:
    t60_s, level_db = grid(384)
    assert (len(t60_s), len(level_db)) == (24, 16)
    assert torch.allclose(t60_s.log().diff(), t60_s.log().diff()[0])
    assert torch.allclose(level_db.diff(), level_db.diff()[0])


def test_what_was_learned_has_its_shapes() -> None:
    metric = posterior.learned()
    assert metric.weight.shape == (FEATURES,)
    assert metric.projection.shape[0] == FEATURES
    assert metric.band.shape == (8,)
    assert all(
        (v > 0.0).all() for v in (metric.weight, metric.band, metric.tail, metric.step, metric.prior[1::2])
    )


@pytest.mark.parametrize("t60_s", [0.35, 0.9, 2.0])
def test_rooms_are_found_again(t60_s: float) -> None:
    """Taps in a room of another noise, compared with other taps: the aim for like material is 16 %."""
    found = blind.estimate(played(taps(5.0, 3), room(t60_s, 8.0, 4))[None], WORK_RATE, taps(4.0, 5)[None])
    assert np.median(np.abs(found.t60_s[2:7] / t60_s - 1.0)) < 0.2
    closed = blind.c50_of(torch.tensor(t60_s), torch.tensor(8.0)).item()
    assert np.abs(found.c50_db[2:7] - closed).mean() < 2.5
    assert not found.dry
    assert 0.0 < found.confidence < 1.0


def test_a_longer_room_is_found_longer_at_another_rate() -> None:
    rate = 44_100
    dry = scipy.signal.resample_poly(taps(4.0, 6), 147, 80)[None]
    x = scipy.signal.resample_poly(taps(4.0, 7), 147, 80)
    found = [
        blind.estimate(scipy.signal.fftconvolve(x, room(t, 6.0, 8, rate))[None, : x.size], rate, dry).t60_s
        for t in (0.4, 0.8, 1.6)
    ]
    assert np.all(np.diff([np.exp(np.log(t[2:7]).mean()) for t in found]) > 0.2)


def test_a_dry_reference_is_dry() -> None:
    found = blind.estimate(taps(4.0, 9)[None], WORK_RATE, taps(4.0, 10)[None])
    assert found.dry
    assert found.c50_db[2:7].mean() > 18.0


def test_the_same_again_to_the_bit_and_nothing_changed() -> None:
    x, dry = played(taps(2.0, 11), room(0.6, 5.0, 1))[None], taps(1.0, 12)[None]
    before = x.copy(), dry.copy()
    one, other = (blind.estimate(x, WORK_RATE, dry) for _ in range(2))
    assert np.array_equal(one.t60_s, other.t60_s)
    assert np.array_equal(one.level_db, other.level_db)
    assert np.array_equal(x, before[0])
    assert np.array_equal(dry, before[1])


def test_two_channels_of_one_sound_are_one() -> None:
    x, dry = played(taps(2.0, 13), room(0.6, 5.0, 2)), taps(2.0, 14)[None]
    mono, stereo = (blind.estimate(y, WORK_RATE, dry) for y in (x[None], np.stack([x, x])))
    assert np.allclose(mono.t60_s, stereo.t60_s, rtol=1e-4)


def test_warnings_say_what_stands_in_the_way() -> None:
    rng = np.random.default_rng(0)
    x = played(taps(1.2, 15), room(0.6, 5.0, 3))
    noisy = x + (0.3 * np.abs(x).max() * rng.standard_normal(x.size)).astype(np.float32)
    said = " ".join(blind.estimate(noisy[None], WORK_RATE).warnings)
    assert "1.2 s long" in said
    assert "above its noise" in said
    assert "no dry input" in said


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (np.zeros((1, WORK_RATE), np.float32), "silent"),
        (np.ones(WORK_RATE, np.float32), r"shape \(channel, time\)"),
        (np.full((1, WORK_RATE), np.nan, np.float32), "not a number"),
        (np.ones((1, WORK_RATE // 4), np.float32), "0.25 s of sound"),
    ],
)
def test_what_cannot_be_heard_is_refused(reference: Sound, text: str) -> None:
    with pytest.raises(AudioError, match=text):
        blind.estimate(reference, WORK_RATE)


def test_loud_is_the_quantile_levels_are_measured_from() -> None:
    levels = octave_levels(torch.from_numpy(taps(2.0, 16)))
    assert torch.allclose(quantiles(levels, (LOUD_QUANTILE,)), torch.zeros(8, 1), atol=1e-4)
