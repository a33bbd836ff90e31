"""Oversampling against its own equations in numpy, and its filters against what is stated of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fxstyle.dsp import oversample
from fxstyle.dsp.oversample import (
    ENTRANCE,
    LANES,
    LATE,
    ROWS,
    STAGES,
    carry,
    down,
    load,
    passage,
    pieces,
    store,
    tile,
    up,
)

Floats = npt.NDArray[Any]
STAGE_COUNTS = range(1, STAGES + 1)


def taps(stage: int) -> Floats:
    """Return h_0 .. h_{K-1}."""
    begin = oversample._OFFSETS[stage]
    return oversample.TAPS[begin : begin + oversample.COUNTS[stage]]


def half_band(stage: int) -> Floats:
    """Return the whole impulse response at twice the rate, gain 2 at frequency 0, 4 K - 1 taps."""
    h = taps(stage)
    whole = np.zeros(4 * h.size - 1)
    middle = 2 * h.size - 1
    whole[middle] = 1.0
    whole[middle + 1 :: 2] = h
    whole[middle - 1 :: -2] = h
    return whole


def naive_up(x: Floats, stages: int) -> Floats:
    """Zeros in between, then the half-band, for each stage; what rings on both sides is kept."""
    for stage in range(stages):
        stuffed = np.zeros(2 * x.size)
        stuffed[::2] = x
        x = np.convolve(stuffed, half_band(stage))
    return x


def naive_down(x: Floats, stages: int) -> Floats:
    """The half-band at gain 1, then every other sample, for each stage."""
    for stage in reversed(range(stages)):
        whole = np.convolve(x, half_band(stage))
        # the middle tap of odd length falls on an even sample: naive_up's x began 2 K - 1 early
        x = whole[2 * (2 * taps(stage).size - 1) :: 2] / 2.0
    return x


def run(x: Floats, stages: int, first: int, count: int) -> tuple[Floats, Floats, Floats]:
    """Send x up and down by pieces: even and odd rows aligned with x's first sample, and 2^J D of both."""
    half = ROWS << stages - 1
    lower, evens, odds = (passage(stages, x.dtype) for _ in range(3))
    rows, late, step = tile(half, x.dtype), LATE[stages], pieces(count)
    y, wide = np.zeros(count), np.zeros((2, LANES, (step + 2 * late + ROWS) << stages - 1))
    for begin in range(-2 * late, step, ROWS):
        load(x, x[:0], first + late + begin, step, lower[ENTRANCE : ENTRANCE + ROWS * LANES])
        even = up(lower, stages, rows)
        evens[evens.size - rows.size :] = even
        odds[odds.size - rows.size :] = rows
        at = (begin + 2 * late) << stages - 1
        wide[0, :, at : at + half] = even.reshape(half, LANES).T
        wide[1, :, at : at + half] = rows.reshape(half, LANES).T
        down(evens, odds, stages, rows)
        store(rows, begin, step, max(-begin, 0), min(ROWS, step - begin), y)
        for space in (lower, evens, odds):
            carry(space, stages)
    return wide[0], wide[1], y


@pytest.mark.parametrize("stages", STAGE_COUNTS)
@pytest.mark.parametrize("length", [1, 40, 3000])
def test_up_and_down_are_the_filters_between_zeros(stages: int, length: int) -> None:
    x = np.random.default_rng(length).standard_normal(length)
    _, _, y = run(x, stages, 0, length)
    truth = naive_down(naive_up(x, stages), stages)
    np.testing.assert_allclose(y / (1 << stages), truth[:length], atol=1e-14 * 50)


@pytest.mark.parametrize("stages", STAGE_COUNTS)
def test_rows_in_between_are_the_interpolated_signal(stages: int) -> None:
    x = np.random.default_rng(0).standard_normal(300)
    even, odd, _ = run(x, stages, 0, x.size)
    late, step = LATE[stages], pieces(x.size)
    truth = naive_up(x, stages)
    # naive_up begins sum (2 K_j - 1) samples of its stage early, the first lane 2 LATE of x, both LATE/2 late
    early = 0
    for stage in range(stages):
        early = 2 * early + 2 * taps(stage).size - 1
    began = (late + late // 2) << stages
    lane = np.stack((even[0], odd[0]), axis=1).ravel()[began : began + (step << stages)]
    np.testing.assert_allclose(lane, truth[early : early + lane.size], atol=1e-14 * 50)


@pytest.mark.parametrize("stages", STAGE_COUNTS)
def test_where_a_signal_is_cut_changes_no_bit(stages: int) -> None:
    x = np.random.default_rng(1).standard_normal(2500).astype(np.float32)
    whole = run(x, stages, 0, x.size)[2]
    for begin, count in ((0, 1), (1, 700), (701, 64), (765, 1735)):
        np.testing.assert_array_equal(run(x, stages, begin, count)[2], whole[begin : begin + count])


@pytest.mark.parametrize("stages", STAGE_COUNTS)
def test_nothing_beyond_the_latency_reaches_a_sample(stages: int) -> None:
    x = np.zeros(1000)
    x[500] = 1.0
    y = run(x, stages, 0, x.size)[2]
    reached = np.flatnonzero(y)
    assert reached[0] > 500 - LATE[stages]
    assert reached[-1] < 500 + LATE[stages]
    np.testing.assert_allclose(y, y[(1000 - np.arange(1000)) % 1000], atol=1e-16)  # linear phase


@pytest.mark.parametrize(
    ("stage", "edge", "attenuation_db"),
    # Of twice the rate at that stage, as stated where the taps are.
    [(0, 0.455 / 2, 88.5), (1, 0.545 / 4, 89.5), (2, 0.545 / 8, 111.0)],
)
def test_filters_pass_and_stop_as_stated(stage: int, edge: float, attenuation_db: float) -> None:
    h = half_band(stage) / 2.0
    n = np.arange(h.size) - (h.size - 1) // 2
    for begin, end, wanted in ((0.0, edge, 1.0), (0.5 - edge, 0.5, 0.0)):
        f = np.linspace(begin, end, 2000)
        response = np.cos(2.0 * math.pi * f[:, None] * n) @ h
        assert 20.0 * math.log10(np.abs(response - wanted).max()) < -attenuation_db


@pytest.mark.parametrize("size", [1, 16, 1000, 16 * 1024, 16 * 1024 + 1, 65_536])
def test_pieces_hold_everything_and_do_not_begin_a_page_apart(size: int) -> None:
    step = pieces(size)
    assert step * LANES >= size
    assert step < size / LANES + 2 * LANES
    for width in (4, 8):
        lines = {lane * step * width // 64 % 64 for lane in range(LANES)}
        assert (
            len(lines) == LANES
        )  # each piece has a set of the first-level cache (64 lines a page) to itself
