"""White noise in octave bands, the same on every machine and for every length.

    N_kb[n]: noise number (k, b), uniform with unit variance, through an octave band around 62.5 Hz * 2^b

The noise is a function of (seed, k, b, n) alone, a counter through SplitMix64 (G. L. Steele, D. Lea,
C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, fig. 17), so that a longer
request begins with the same samples. The bands share the edges of Butterworth filters, for which
|low|^2 + |high|^2 = 1, and their noises are independent: all bands together are white. The last band has
no upper edge, the first no lower one. Another rate is another noise.
"""

from __future__ import annotations

import math
import threading
from functools import cache

import numpy as np
import numpy.typing as npt
import scipy.signal
from numba import njit

from fxstyle.dsp.threads import for_each
from fxstyle.octaves import BANDS, CENTRES_HZ

EDGE_ORDER = 8
"""Butterworth order of the band edges, 48 dB per octave: less, and a long decay shines through next door."""

HIGHEST_EDGE_OF_RATE = 0.45
"""A band edge above this share of the rate is left out, with the band above it."""

SETTLE_S = 0.2
"""Noise run through the filters before it is used: by then the 62.5 Hz low-pass has rung out by 100 dB."""

SEED = 7
"""Of all noise."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _split_mix(counter: np.uint64) -> np.uint64:
    z = counter * _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(sos: npt.NDArray[np.float64], key: np.uint64, settle: int, out: npt.NDArray[np.float32]) -> None:
    """out[n]: uniform white noise of unit variance through the sections sos (section, 6)."""
    sections = sos.shape[0]
    memory = np.zeros((sections, 2))
    start = _split_mix(key)
    for n in range(settle + out.size):
        uniform = np.float64(_split_mix(start + np.uint64(n)) >> _S11) * 2.0**-53
        v = (2.0 * uniform - 1.0) * math.sqrt(3.0)
        for s in range(sections):
            u = sos[s, 0] * v + memory[s, 0]
            memory[s, 0] = sos[s, 1] * v - sos[s, 4] * u + memory[s, 1]
            memory[s, 1] = sos[s, 2] * v - sos[s, 5] * u
            v = u
        if n >= settle:
            out[n - settle] = v


@cache
def centres_hz(rate: float) -> tuple[float, ...]:
    """Return the band centres there are at this rate."""
    return tuple(
        f for f in CENTRES_HZ if f == CENTRES_HZ[0] or f / math.sqrt(2.0) <= HIGHEST_EDGE_OF_RATE * rate
    )


@cache
def noise_shares(rate: float) -> tuple[float, ...]:
    """Return the share of each band in the power of all: its width over half the rate."""
    edges_hz = [f / math.sqrt(2.0) for f in centres_hz(rate)[1:]]
    return tuple((np.diff([0.0, *edges_hz, rate / 2.0]) / (rate / 2.0)).tolist())


def _band_sections(rate: float) -> npt.NDArray[np.float64]:
    """Return the filters of the bands, (band, section, 6)."""
    edges = [f / math.sqrt(2.0) for f in centres_hz(rate)[1:]]
    through = np.tile([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], (EDGE_ORDER // 2, 1))
    high = [through] + [scipy.signal.butter(EDGE_ORDER, e, "highpass", fs=rate, output="sos") for e in edges]
    low = [scipy.signal.butter(EDGE_ORDER, e, "lowpass", fs=rate, output="sos") for e in edges] + [through]
    return np.concatenate([np.stack(high), np.stack(low)], axis=1)


_NOISE: dict[tuple[float, int], npt.NDArray[np.float32]] = {}
_NOISE_LOCK = threading.Lock()
_NOISE_KEPT = 3
"""Noises kept in memory, by rate and number of streams."""


def noise_bands(rate: float, streams: int, count: int) -> npt.NDArray[np.float32]:
    """Return (streams, band, at least `count`) of noise; a longer call begins with the same samples.

    The result is shared: it is not to be written to.
    """
    key = (float(rate), streams)
    with _NOISE_LOCK:
        kept = _NOISE.pop(key, None)
        if kept is None or kept.shape[2] < count:
            # Steps of a quarter of an octave, so that a fit whose decays grow does not start over each time.
            step = 1 << max(count.bit_length() - 3, 10)
            kept = np.empty((streams, len(centres_hz(rate)), -(-count // step) * step), np.float32)
            sections, settle = _band_sections(rate), round(SETTLE_S * rate)

            def fill(stream: int, band: int, out: npt.NDArray[np.float32] = kept) -> None:
                key = np.uint64(SEED + 1 + stream * BANDS + band)
                _fill(sections[band], key, settle, out[stream, band])

            for_each(fill, *zip(*np.ndindex(kept.shape[:2]), strict=True))
            kept.flags.writeable = False
        _NOISE[key] = kept
        while len(_NOISE) > _NOISE_KEPT:
            del _NOISE[next(iter(_NOISE))]
    return kept
