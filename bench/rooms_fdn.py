"""Feedback delay network: accuracy against a loop over time, decays, echo density and speed.

    python -m bench.rooms_fdn

The loop runs in float64, with whole delays; each line has its loss as a filter of 2^14 taps, computed apart
from what is measured here. Decays are Schroeder's from -5 to -35 dB, over four channels and seven sizes.
Times are the least of seven, taking turns, on one thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import scipy.signal
import scipy.special
import torch
from rooms_row import Row

from fxstyle.dsp import attenuation
from fxstyle.dsp.attenuation import BAND_NAMES, CENTRES_HZ, GUARD
from fxstyle.dsp.network import DELAYS_S, INPUT_SIGNS, OUTPUT_SIGNS, matrix, network
from fxstyle.effects import fdn, reverb

Floats = npt.NDArray[np.float64]

RATE = 48_000.0
TARGETS_S: Mapping[str, tuple[float, ...]] = {
    "flat": (1.0,) * 9,
    "smooth": (1.3, 1.3, 1.2, 1.1, 1.0, 0.9, 0.75, 0.6, 0.45),
    "hall": (3.2, 3.0, 2.6, 2.3, 2.1, 1.9, 1.5, 1.0, 0.6),
    "jagged": (2.0, 0.8, 1.8, 0.7, 2.0, 0.9, 1.6, 0.6, 0.5),
}
SIZES = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)
ROWS, SPEED_RATE, SPEED_S, ROUNDS = 8, 44_100.0, 1.5, 7
TAPS = 1 << 14
"""Of a line's filter: by then it has faded below rounding."""


def _knobs(t60_s: tuple[float, ...], rows: int = 1, **changed: float) -> dict[str, torch.Tensor]:
    bands = {f"t60_{name}_s": value for name, value in zip(BAND_NAMES, t60_s, strict=True)}
    settings = {**fdn.EFFECT.defaults(), "predelay_ms": 0.0, **bands, **changed}
    return {name: torch.full((rows,), value, dtype=torch.float64) for name, value in settings.items()}


def _ir(
    t60_s: tuple[float, ...], channels: int = 2, dtype: torch.dtype = torch.float64, **changed: float
) -> Floats:
    made: Floats = fdn.response(RATE, channels, dtype, torch.device("cpu"), None, **_knobs(t60_s, **changed))[
        0
    ].numpy()
    return made


def _least_phase(log_magnitude: Floats, room: int = 1 << 18) -> Floats:
    """Return the first taps of the filter of minimum phase, by its cepstrum on the unit circle."""
    cepstrum = np.fft.irfft(log_magnitude, room)
    cepstrum[1 : room // 2] *= 2.0
    cepstrum[room // 2 + 1 :] = 0.0
    taps: Floats = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), room)[:TAPS]
    return taps


def _loop(t60_s: tuple[float, ...], count: int) -> Floats:
    """Return what two outputs hear of the network, run in time in blocks within its shortest delay."""
    octave = np.log2(np.maximum(np.linspace(0.0, RATE / 2.0, (1 << 17) + 1), 1e-9) / CENTRES_HZ[0]).clip(
        0.0, 8.0
    )
    band = np.minimum(octave.astype(int), 7)
    share = np.sin(np.pi / 2.0 * (octave - band)) ** 2
    log_t60 = np.log(t60_s)
    loss = math.log(1000.0) / np.exp((1.0 - share) * log_t60[band] + share * log_t60[band + 1])
    delays = np.round(np.array(DELAYS_S) * RATE).astype(int)
    filters = [_least_phase(-loss * delay) for delay in DELAYS_S]
    block, reach = int(delays.min()), TAPS + int(delays.max())
    fed, late = np.zeros((16, reach + count + block)), np.zeros((16, count + block))
    fed[:, reach] = INPUT_SIGNS
    for n in range(0, count, block):
        for i, m in enumerate(delays):
            seen = fed[i, reach + n - m - TAPS + 1 : reach + n - m + block]
            late[i, n : n + block] = scipy.signal.fftconvolve(seen, filters[i], "valid")
        fed[:, reach + n : reach + n + block] += matrix() @ late[:, n : n + block]
    left = np.mean([np.exp(-2.0 * delay * loss) for delay in DELAYS_S], axis=0)
    colour = _least_phase(0.5 * np.log((1.0 - left) / left))
    size = attenuation.fitting(count)
    on = attenuation.grid(RATE, size)
    # the fade-out's taps, of linear phase, from where it reaches ahead
    grown = np.exp(math.log(float(on.growth[1])) * np.fft.fftfreq(size, 1.0 / size))
    fade = np.fft.irfft(on.taper.numpy(), size) * grown
    taps = np.concatenate((fade[-GUARD:], fade[: GUARD + 1]))
    heard = scipy.signal.fftconvolve(OUTPUT_SIGNS[:2] @ late, np.convolve(colour, taps)[None])
    made: Floats = heard[:, GUARD : GUARD + count]
    return made


def _accuracy() -> Iterator[Row]:
    precisions = (torch.float64, torch.float32)
    errors_db: list[list[float]] = [[], []]
    for t60_s in TARGETS_S.values():
        found = [_ir(t60_s, dtype=dtype).astype(np.float64) for dtype in precisions]
        truth = _loop(t60_s, found[0].shape[1])
        truth = truth * np.sqrt((found[0] ** 2).sum(axis=1) / (truth**2).sum(axis=1))[:, None]
        for ir, errors in zip(found, errors_db, strict=True):
            errors.append(20.0 * math.log10(float(np.abs(ir - truth).max() / np.abs(truth).max())))
    for errors, limit_db, what in zip(errors_db, (-100.0, -80.0), ("float64", "as shipped"), strict=True):
        worst = max(errors)
        yield Row(
            f"FDN against a loop over time, {what}",
            f"{worst:.0f} dB",
            f"<= {limit_db:.0f} dB",
            worst <= limit_db,
        )


def _t60_s(irs: list[Floats], centre_hz: float, octaves: float) -> float:
    edges = [centre_hz * 2.0 ** (-octaves / 2.0), centre_hz * 2.0 ** (octaves / 2.0)]
    sos = scipy.signal.butter(4, edges, "bandpass", fs=RATE, output="sos")
    energy = np.sum([(scipy.signal.sosfilt(sos, ir[:, ::-1]) ** 2).sum(axis=0) for ir in irs], axis=0)
    level_db = 10.0 * np.log10(np.maximum(np.cumsum(energy)[::-1] / energy.sum(), 1e-12))
    span = np.flatnonzero((level_db <= -5.0) & (level_db >= -35.0))
    return float(-60.0 / np.polyfit(span / RATE, level_db[span], 1)[0])


def _decays() -> Iterator[Row]:
    for name, t60_s in TARGETS_S.items():
        irs = [_ir(t60_s, 4, size=size) for size in SIZES]
        longest = max(ir.shape[1] for ir in irs)
        irs = [np.pad(ir, ((0, 0), (0, longest - ir.shape[1]))) for ir in irs]
        for octaves, where, bands in ((1 / 3, "thirds of an octave at the centres", 9), (1.0, "octaves", 8)):
            pairs = list(zip(CENTRES_HZ[:bands], t60_s[:bands], strict=True))
            worst = max(abs(_t60_s(irs, centre, octaves) / t60 - 1.0) for centre, t60 in pairs)
            wanted = octaves < 1.0 and name != "jagged"
            yield Row(
                f"FDN decays, {name}, {where}",
                f"{100.0 * worst:.1f} %",
                "<= 5 %" if wanted else "",
                worst <= 0.05 if wanted else None,
            )


def _density() -> Row:
    """Echo density after J. S. Abel, P. Huang, AES 121, 2006, eq. 1, in 20 ms; 1 is Gaussian noise."""
    window = np.hanning(round(0.02 * RATE))
    window /= window.sum()
    found = []
    for at_s in (0.05, 0.1, 0.2):
        begin = round(at_s * RATE) - len(window) // 2
        here = _ir((2.0,) * 9, 4)[:, begin : begin + len(window)]
        outside = np.abs(here) > np.sqrt((window * here**2).sum(axis=1, keepdims=True))
        found.append(float((outside @ window).mean() / scipy.special.erfc(math.sqrt(0.5))))
    return Row("FDN echo density at 50, 100, 200 ms", ", ".join(f"{d:.2f}" for d in found), "", None)


def _least_s(programs: list[Callable[[], object]]) -> list[float]:
    """Return the least time of each program; they take turns."""
    times = [[math.inf] * ROUNDS for _ in programs]
    for _ in range(2):
        for n in range(ROUNDS):
            for program, spent in zip(programs, times, strict=True):
                begin = time.perf_counter()
                program()
                spent[n] = time.perf_counter() - begin
    return [min(spent) for spent in times]


def _speed() -> Iterator[Row]:
    here = torch.device("cpu")
    lasting = {
        "fdn": (SPEED_S - 0.1) * 0.75,
        "reverb": SPEED_S * 0.75,
    }  # 60 of 80 dB; the fdn ends a line later

    def make(effect: str, gradient: bool) -> None:
        module = fdn if effect == "fdn" else reverb
        knobs = {}
        for param in module.EFFECT.params:
            value = lasting[effect] if param.name.startswith("t60") else param.default
            knobs[param.name] = torch.full((ROWS,), value, dtype=torch.float64, requires_grad=gradient)
        made = module.response(SPEED_RATE, 2, torch.float32, here, None, **knobs)
        if gradient:
            made.backward(made.detach())

    cases = [(effect, gradient) for gradient in (False, True) for effect in ("fdn", "reverb")]
    spent = _least_s([lambda case=case: make(*case) for case in cases])  # type: ignore[misc]  # a default, not a type
    for k, what in enumerate(("forward", "forward and backward")):
        ours, theirs = spent[2 * k], spent[2 * k + 1]
        yield Row(
            f"FDN response, {ROWS} rows of {SPEED_S:g} s, {what}",
            f"{1000.0 * ours:.0f} ms; reverb {1000.0 * theirs:.0f} ms",
            "",
            None,
        )
    s = torch.complex(
        torch.full((1, 4096), 7.0, dtype=torch.float64), 30.0 * torch.arange(4096, dtype=torch.float64)[None]
    )
    delay = torch.exp(-s[0, :, None] * torch.tensor(DELAYS_S))
    system = torch.eye(16) - torch.from_numpy(matrix()) * delay[:, None, :]
    fed = torch.from_numpy(INPUT_SIGNS).expand(4096, 16)[..., None].to(system.dtype)
    ours, theirs = _least_s([lambda: network(s, 2), lambda: torch.linalg.solve(system, fed)])
    yield Row(
        "FDN, one frequency: six unknowns against torch.linalg.solve of 16",
        f"{1e9 * ours / 4096:.0f} against {1e9 * theirs / 4096:.0f} ns",
        "",
        None,
    )


def rows() -> Iterator[Row]:
    """Yield what is measured of the network."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _accuracy()
        yield from _decays()
        yield _density()
        yield from _speed()
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Print the rows."""
    for row in rows():
        met = "" if row.met is None else "met" if row.met else "MISSED"
        print(f"{row.what:75s} {row.measured:28s} {row.target:12s} {met}", flush=True)


if __name__ == "__main__":
    main()
