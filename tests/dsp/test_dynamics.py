"""The kernels of dynamics: logarithm and power, attack and release, side chain; what all settings keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numba import njit
from scipy.signal import butter, lfilter

from fxstyle.dsp import dynamics
from fxstyle.dsp.detector import listen
from fxstyle.dsp.follow import PAST, follow
from fxstyle.dsp.octaves import octaves, power
from fxstyle.dsp.recurrence import Floats
from fxstyle.effect import Samples

RATE = 44100.0
KNOBS = {
    "threshold_db": -30.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 80.0, "knee_db": 6.0,
    "makeup_db": 3.0, "link": 0.3,
}  # fmt: skip
EVERYTHING = {"law": 1.0, "lookahead_ms": 3.37, "rms_ms": 8.0, "sidechain_cut_hz": 120.0, "mix": 0.7}
WAYS = (
    {},
    {"link": 1.0},
    {"link": 1.0, "law": 1.0},
    {"attack_ms": 90.0, "release_ms": 6.0, "rms_ms": 8.0},
    {"sidechain_cut_hz": 120.0, "lookahead_ms": 5.0},
    EVERYTHING,
)


@njit
def _octaves(v: Samples, out: Samples) -> None:
    for n in range(v.size):
        out[n] = octaves(v[n])


@njit
def _powers(z: Samples, out: Samples) -> None:
    for n in range(z.size):
        out[n] = power(z[n])


def rows(*each: dict[str, float]) -> torch.Tensor:
    """Settings of a batch, one mapping per row; all of them name the same knobs."""
    return dynamics.settings(
        RATE,
        **{k: torch.tensor([row[k] for row in each], dtype=torch.float64) for k in each[0]},
    )


def noise(channels: int, length: int, dtype: type = np.float64) -> Samples:
    """Return noise whose level jumps by up to 40 dB."""
    rng = np.random.default_rng(5)
    steps = np.repeat(10.0 ** rng.uniform(-2.0, 0.0, length // 500 + 1), 500)[:length]
    return (0.5 * rng.standard_normal((channels, length)) * steps).astype(dtype)


def in_blocks(x: Samples, p: Floats, sizes: list[int]) -> Samples:
    state, out, begin = None, [], 0
    for size in sizes:
        y, state = dynamics.compress_block(x[:, begin : begin + size], p, state)
        out.append(y)
        begin += size
    assert begin == x.shape[1]
    return np.concatenate(out, axis=1)


# Half a unit in the last place of the octaves themselves, and what the polynomials leave.
@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_logarithms_and_powers(dtype: type, error: float) -> None:
    exponent = np.linspace(-4.0, 4.0, 20001)
    v = np.exp2(exponent).astype(dtype)
    out = np.empty_like(v)
    _octaves(v, out)
    assert np.abs(out - np.log2(v.astype(np.longdouble))).max() < error
    z = np.linspace(-60.0, 60.0, 20001).astype(dtype)
    _powers(z, out)
    assert np.abs(out / np.exp2(z.astype(np.longdouble)) - 1.0).max() < error
    one, zero = np.ones(3, dtype), np.zeros(3, dtype)
    _octaves(np.ones(3, dtype), one)
    _powers(np.zeros(3, dtype), zero)
    assert not one.any()
    assert (zero == 1.0).all()


@pytest.mark.parametrize(("attack", "release"), [(0.97, 0.9993), (0.9993, 0.97), (0.6, 0.6)])
@pytest.mark.parametrize("lanes", [1, 2, 5])
class TestFollow:
    @staticmethod
    def followed(x: Samples, attack: float, release: float, sizes: list[int]) -> Samples:
        a, e = (np.zeros((x.shape[0], PAST + x.shape[1] + PAST)) for _ in range(2))
        out, begin = [], 0
        for size in sizes:
            a[:, PAST : PAST + size] = x[:, begin : begin + size]
            follow(a, e, attack, release, size)
            out.append(e[:, PAST : PAST + size].copy())
            a[:, :PAST], e[:, :PAST] = a[:, size : size + PAST].copy(), e[:, size : size + PAST].copy()
            begin += size
        return np.concatenate(out, axis=1)

    def test_is_its_recursion(self, attack: float, release: float, lanes: int) -> None:
        x = np.abs(noise(lanes, 3001))
        expected = np.empty_like(x)
        for c in range(lanes):
            last = 0.0
            for n, level in enumerate(x[c].tolist()):
                k = attack if level > last else release
                last = k * last + (1.0 - k) * level
                expected[c, n] = last
        # a rounding error at each step, forgotten after 1/(1 - k) steps
        np.testing.assert_allclose(self.followed(x, attack, release, [3001]), expected, rtol=1e-13)

    def test_does_not_see_where_blocks_begin(self, attack: float, release: float, lanes: int) -> None:
        x = np.abs(noise(lanes, 900))
        whole = self.followed(x, attack, release, [900])
        sizes = [1, 1, 2, 3, 5, 7, 1, 480, 399, 1]
        np.testing.assert_array_equal(self.followed(x, attack, release, sizes), whole)
        for c in range(lanes):
            alone = self.followed(x[c : c + 1], attack, release, [900])
            np.testing.assert_array_equal(alone, whole[c : c + 1])


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("cut_hz", "mean_ms"), [(0.0, 0.0), (90.0, 0.0), (0.0, 20.0), (300.0, 3.0)])
def test_the_side_chain_is_scipys_high_pass_and_mean(channels: int, cut_hz: float, mean_ms: float) -> None:
    x = noise(channels, 2000)
    tangent = math.tan(math.pi * cut_hz / RATE)
    keep = math.exp(-1000.0 / (RATE * mean_ms)) if mean_ms else 0.0
    memory, parts = np.zeros((channels, 2)), []
    for begin in range(0, 2000, 700):
        u = x[:, begin : begin + 700].copy()
        size = u.shape[1]
        d, s, t = np.empty_like(u), np.empty((channels, size + 1)), np.empty_like(u)
        listen(u, d, s, t, tangent / (1.0 + tangent), keep, memory, size)
        parts.append(d)
    heard = lfilter(*butter(1, cut_hz, "high", fs=RATE), x) if cut_hz else x
    expected = np.sqrt(lfilter([1.0 - keep], [1.0, -keep], heard**2)) if mean_ms else np.abs(heard)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_of_any_size_give_the_same_bits(way: dict[str, float], dtype: type) -> None:
    x = noise(3, 5000, dtype)
    p = rows(KNOBS | way)[0].numpy()
    whole = in_blocks(x, p, [5000])
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 9, 100).tolist() + rng.integers(1, 1500, 2).tolist()
    np.testing.assert_array_equal(in_blocks(x, p, [*sizes, 5000 - sum(sizes)]), whole)


@pytest.mark.parametrize("way", WAYS)
def test_float32_is_as_good_as_it_holds(way: dict[str, float]) -> None:
    x = noise(2, 20000, np.float32)
    p = rows(KNOBS | way)[0].numpy()
    single, double = (in_blocks(x.astype(t), p, [20000]) for t in (np.float32, np.float64))
    # the logarithm's 3e-7 octaves, the power's 1e-7 and some roundings
    assert np.abs(single - double).max() < 5e-7 * np.abs(double).max()


def test_what_is_not_given_is_off_to_the_bit() -> None:
    x = noise(2, 6000)
    off = {"law": 0.0, "lookahead_ms": 0.0, "rms_ms": 0.0, "sidechain_cut_hz": 0.0, "mix": 1.0}
    plain, given = (in_blocks(x, rows(row)[0].numpy(), [6000]) for row in (KNOBS, KNOBS | off))
    np.testing.assert_array_equal(plain, given)


def test_nothing_changes_below_the_knee_to_the_bit() -> None:
    x = 0.02 * np.sign(noise(2, 4000))
    p = rows(KNOBS | {"threshold_db": -30.0, "makeup_db": 0.0})[0].numpy()
    np.testing.assert_array_equal(in_blocks(x, p, [4000]), x)


def test_rows_may_mix_laws_and_look_aheads() -> None:
    settings = [KNOBS | dict.fromkeys(EVERYTHING, 0.0) | {"mix": 1.0} | way for way in WAYS]
    x = torch.from_numpy(np.stack([noise(2, 3000) for _ in settings]))
    together = dynamics.compress(x, rows(*settings))
    for row, each in enumerate(settings):
        alone = dynamics.compress(x[row : row + 1], rows(each))
        np.testing.assert_array_equal(alone[0].numpy(), together[row].numpy())


def test_past_the_end_the_key_is_silence() -> None:
    p = rows(KNOBS | EVERYTHING)
    x = torch.from_numpy(noise(2, 3000)[None])
    longer = torch.cat((x, torch.zeros(1, 2, 500, dtype=x.dtype)), dim=2)
    np.testing.assert_array_equal(
        dynamics.compress(x, p).numpy(), dynamics.compress(longer, p)[:, :, :3000].numpy()
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_backward_pass_gives_the_same_bits_each_time(way: dict[str, float]) -> None:
    x = torch.from_numpy(noise(3, 2500, np.float32)[None]).requires_grad_()
    p = rows(KNOBS | way).requires_grad_()
    found = []
    for size in range(1, 12):
        elsewhere = [np.empty(64 * size * k) for k in (3, 5, 9)]  # so that arrays lie at other addresses
        found.append(torch.autograd.grad(dynamics.compress(x, p).square().sum(), (x, p)))
        del elsewhere
    for dx, dp in found[1:]:
        assert torch.equal(dx, found[0][0])
        assert torch.equal(dp, found[0][1])


@pytest.mark.parametrize("law", [0.0, 1.0])
def test_a_sample_that_is_no_number_spoils_only_itself(law: float) -> None:
    x = noise(2, 3000)
    p = rows(KNOBS | {"law": law})[0].numpy()
    clean = in_blocks(x, p, [3000])
    x[0, 1000] = np.nan
    spoilt = in_blocks(x, p, [3000])
    assert np.flatnonzero(np.isnan(spoilt).any(axis=0)).tolist() == [1000]
    # the level falls for a sample, and that is forgotten with the release
    assert np.abs(spoilt[:, 1001:] / clean[:, 1001:] - 1.0).max() < 0.01


def test_a_law_turned_between_two_blocks_begins_anew() -> None:
    x = noise(2, 4000)
    first, second = (rows(KNOBS | {"law": law})[0].numpy() for law in (0.0, 1.0))
    _, state = dynamics.compress_block(x[:, :2000], first, None)
    y, _ = dynamics.compress_block(x[:, 2000:], second, state)
    np.testing.assert_array_equal(y, dynamics.compress_block(x[:, 2000:], second, None)[0])


@pytest.mark.parametrize(("before_ms", "after_ms"), [(0.0, 5.0), (5.0, 2.0), (5.0, 0.0)])
def test_a_look_ahead_turned_between_two_blocks_changes_the_delay(before_ms: float, after_ms: float) -> None:
    x = noise(2, 4000)
    off = KNOBS | {"ratio": 1.0, "makeup_db": 0.0}
    first, second = (rows(off | {"lookahead_ms": ms})[0].numpy() for ms in (before_ms, after_ms))
    _, state = dynamics.compress_block(x[:, :2000], first, None)
    y, _ = dynamics.compress_block(x[:, 2000:], second, state)
    late = dynamics.latency(RATE, after_ms)
    np.testing.assert_array_equal(y[:, late:], x[:, 2000 : 4000 - late])
