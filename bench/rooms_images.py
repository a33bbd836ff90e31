"""Image sources and the tail by directions: exactness and speed, for the target table of rooms.

    python bench/rooms_images.py

Speed: programs of a case take turns in one process, one thread each; medians of REPEATS. pyroomacoustics (if
it is installed) computes images and response; its bands are those that it makes of eight coefficients at 48
kHz. The windowed sinc that gradients are compared with scatters 81 taps per image and band in torch, in
float32, and each band's response is filtered by the same zero-phase bands.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from rooms_row import Row

from fxstyle.dsp.directions import decay_rates, directions, energies, lattice_gain
from fxstyle.dsp.images import axis_tables, image_count, image_sources
from fxstyle.dsp.nonuniform import PASS_OF_RATE, band_responses
from fxstyle.octaves import BANDS

RATE = 48_000.0
SPEED = 343.0
SIZE, SOURCE, MICROPHONE = (6.3, 4.7, 2.9), (1.7, 3.1, 1.3), (4.4, 1.2, 1.6)
REPEATS = 15
TAPS = 81
HEAD_S = 0.03
"""Silence before the first image, for what low bands ring beforehand."""

TAIL_ROOMS = {
    "living room": ((6.3, 4.7, 2.9), (0.10, 0.12, 0.10, 0.15, 0.20, 0.10)),
    "hard walls": ((5.1, 4.2, 2.7), (0.05,) * 6),
    "absorbing ceiling": ((8.3, 6.1, 3.1), (0.08, 0.08, 0.10, 0.10, 0.10, 0.70)),
    "hall": ((21.7, 15.3, 9.1), (0.10, 0.10, 0.20, 0.15, 0.30, 0.12)),
    "studio": ((4.4, 3.1, 2.5), (0.15, 0.20, 0.10, 0.15, 0.30, 0.25)),
    "corridor": ((14.3, 2.1, 2.6), (0.10, 0.10, 0.07, 0.09, 0.20, 0.30)),
}
"""The last is outside the target's five: flutter between near walls comes in bunches, no mean has them."""

TAIL_SOURCE, TAIL_MICROPHONE = np.array((0.23, 0.61, 0.41)), np.array((0.66, 0.28, 0.72))


def _row(value: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(value), dtype=torch.float64)[None]


def _absorption() -> Any:
    return np.random.default_rng(0).uniform(0.05, 0.5, (6, BANDS))


def _ours(order: int, span: int, beta: torch.Tensor, start_s: float, *, dtype: torch.dtype = torch.float32,
          size: torch.Tensor | None = None) -> torch.Tensor:  # fmt: skip
    tables = axis_tables(_row(SIZE) if size is None else size, _row(SOURCE), _row(MICROPHONE), beta, order)
    air = torch.zeros(1, BANDS, dtype=torch.float64)
    return image_sources(*tables, air, _row(SPEED), _row(start_s), orders=[order], rate=RATE, span=span,
                         dtype=dtype, direct=True)  # fmt: skip


def _listed(order: int, size: torch.Tensor, beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return distances (image,) and amplitudes (image, band) of all images."""
    x, gains = axis_tables(size, _row(SOURCE), _row(MICROPHONE), beta, order)
    n = torch.arange(-order, order + 1)
    i, j, k = torch.meshgrid(n, n, n, indexing="ij")
    near = i.abs() + j.abs() + k.abs() <= order
    i, j, k = (t[near] + order for t in (i, j, k))
    r = (x[0, 0, i].square() + x[0, 1, j].square() + x[0, 2, k].square()).sqrt()
    return r, gains[0, 0, i] * gains[0, 1, j] * gains[0, 2, k] / (4.0 * math.pi * r)[:, None]


def _oracle_db(order: int, dtype: torch.dtype) -> float:
    """Return the largest error up to 20 kHz over the largest magnitude, against phases summed in float64."""
    beta = _row(np.sqrt(1.0 - _absorption()))
    r, a = (t.numpy() for t in _listed(order, _row(SIZE), beta))
    span = round((r.max() / SPEED + HEAD_S + 0.1) * RATE)
    h = _ours(order, span, beta, -HEAD_S, dtype=dtype)[0].numpy().astype(np.float64)
    hz = np.linspace(0.0, 20_000.0, 500)
    assert hz[-1] <= PASS_OF_RATE * RATE
    worst, largest = 0.0, 0.0
    for f in np.array_split(hz, 50):
        phases = np.exp(-2j * np.pi * f[:, None] * (r / SPEED))
        truth = (band_responses(f) * (phases @ a)).sum(axis=1)
        found = np.exp(-2j * np.pi * f[:, None] * (np.arange(span) / RATE - HEAD_S)) @ h
        worst = max(worst, float(np.abs(found - truth).max()))
        largest = max(largest, float(np.abs(truth).max()))
    return 20.0 * math.log10(worst / largest)


def _scattered(order: int, span: int, beta: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Return the response of a windowed sinc of 81 taps per image, bands filtered by their responses."""
    r, a = _listed(order, size, beta)
    at = r * (RATE / SPEED)
    whole = at.detach().floor()
    offset = torch.arange(TAPS) - TAPS // 2
    u = (offset - (at - whole)[:, None]).float()
    taps = torch.sinc(u) * (0.5 + 0.5 * (2.0 * math.pi * u / TAPS).cos())
    places = (whole[:, None].long() + offset).clamp(0, span - 1).flatten()
    values = (a.float()[:, :, None] * taps[:, None]).transpose(0, 1).flatten(1)
    grid = torch.zeros(BANDS, span).index_add(1, places, values)
    hz = np.arange(span // 2 + 1) * RATE / span
    responses = torch.from_numpy(band_responses(hz).T.astype(np.float32))
    return torch.fft.irfft((torch.fft.rfft(grid) * responses).sum(dim=0), span)


def _seconds(programs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return medians of programs that take turns."""
    for program in programs.values():
        program()
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(REPEATS):
        for name, program in programs.items():
            began = time.perf_counter()
            program()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def _pyroomacoustics(order: int, bands: bool) -> Callable[[], Any]:
    import pyroomacoustics as pra

    pra.constants.set("num_threads", 1)
    pra.constants.set("rir_hpf_enable", False)
    names = ("west", "east", "south", "north", "floor", "ceiling")
    absorption = _absorption()
    centres = [125.0 * 2.0**b for b in range(BANDS - 1)]

    def run() -> Any:
        materials = {
            name: pra.Material(
                {"coeffs": absorption[wall, 1:].tolist(), "center_freqs": centres}
                if bands
                else float(absorption[wall, 3])
            )
            for wall, name in enumerate(names)
        }
        room = pra.ShoeBox(SIZE, fs=int(RATE), materials=materials, max_order=order, air_absorption=False)
        room.add_source(SOURCE)
        room.add_microphone(MICROPHONE)
        room.image_source_model()
        room.compute_rir()
        return room.rir[0][0]

    return run


def _speed_rows() -> Iterator[Row]:
    try:
        import pyroomacoustics  # noqa: F401
    except ImportError:
        yield Row("image sources against pyroomacoustics", "not installed", ">= 10x / >= 3x", None)
        return
    beta = np.sqrt(1.0 - _absorption())
    alike = np.repeat(beta[:, 3:4], BANDS, axis=1)
    for order in (10, 17):
        their_bands, their_one = _pyroomacoustics(order, True), _pyroomacoustics(order, False)
        span = len(their_one())

        @torch.no_grad()
        def ours(b: Any, order: int = order, span: int = span) -> torch.Tensor:
            return _ours(order, span, _row(b), 0.0)

        s = _seconds({"their bands": their_bands, "our bands": lambda: ours(beta)})
        s |= _seconds({"their one": their_one, "our one": lambda: ours(alike)})
        for bands, said, target in (("bands", "8 bands", 10.0), ("one", "1 band", 3.0)):
            ratio = s[f"their {bands}"] / s[f"our {bands}"]
            yield Row(
                f"image sources, N={order} ({image_count(order)}), {said}, against pyroomacoustics",
                f"{ratio:.1f}x ({1e3 * s[f'our {bands}']:.2f} against {1e3 * s[f'their {bands}']:.2f} ms)",
                f">= {target:.0f}x",
                ratio >= target,
            )


def _gradient_row(order: int = 17) -> Row:
    beta = _row(np.sqrt(1.0 - _absorption()))
    span = round((order + 2) * 6.3 / SPEED * RATE)

    def step(respond: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            size, b = _row(SIZE).requires_grad_(), beta.clone().requires_grad_()
            respond(size, b).square().sum().backward()  # type: ignore[no-untyped-call]

        return run

    s = _seconds(
        {
            "ours": step(lambda size, b: _ours(order, span, b, 0.0, size=size)[0]),
            "scatter": step(lambda size, b: _scattered(order, span, b, size)),
        }
    )
    ratio = s["scatter"] / s["ours"]
    return Row(
        f"image sources forward and backward, N={order}, 8 bands, against a scatter of 81 taps in torch",
        f"{ratio:.1f}x ({1e3 * s['ours']:.1f} against {1e3 * s['scatter']:.1f} ms)",
        ">= 5x",
        ratio >= 5.0,
    )


def _tail_errors_db(size: Any, absorption: Any) -> Any:
    """Return the mean over directions against all images' energies, in 20 ms windows, 30 to 510 ms."""
    edges = 0.03 + 0.02 * np.arange(25)
    beta, axes = np.sqrt(1.0 - np.array(absorption)), []
    for axis, length in enumerate(size):
        i = np.arange(-int(edges[-1] * SPEED / length) - 2, int(edges[-1] * SPEED / length) + 3)
        odd = i % 2
        x = (i + odd) * length + (1 - 2 * odd) * TAIL_SOURCE[axis] * length - TAIL_MICROPHONE[axis] * length
        axes.append((x**2, beta[2 * axis] ** np.abs(i - odd) * beta[2 * axis + 1] ** np.abs(i + odd)))
    images = np.zeros(edges.size - 1)
    for square, energy in zip(*axes[0], strict=True):
        r2 = square + axes[1][0][:, None] + axes[2][0]
        power = energy * axes[1][1][:, None] * axes[2][1] / (16.0 * math.pi**2 * r2)
        images += np.histogram(np.sqrt(r2) / SPEED, edges, weights=power)[0]
    walls = _row(np.repeat(beta[:, None], BANDS, axis=1))
    rates = decay_rates(_row(size), walls, _row(SPEED), _row(0.0))
    step_s = 1e-4
    weights = directions()[1][:, None].expand_as(rates[0])[None]
    power = energies(weights, rates, step_s, round(edges[-1] / step_s) + 1)[0, :, 0].numpy()
    power *= SPEED / (4.0 * math.pi * np.prod(size)) * lattice_gain(walls)[0, 0].item()
    whole = np.concatenate([[0.0], np.cumsum((power[1:] + power[:-1]) / 2.0 * step_s)])
    return 10.0 * np.log10(np.diff(np.interp(edges, np.arange(power.size) * step_s, whole)) / images)


def rows() -> Iterator[Row]:
    """Yield what is measured of image sources and the tail, one row per target."""
    torch.set_num_threads(1)
    for order in (10, 17):
        for dtype in (torch.float64, torch.float32):
            error_db = _oracle_db(order, dtype)
            what = f"image sources against phases summed in float64, N={order}, {str(dtype)[6:]}, 0-20 kHz"
            yield Row(what, f"{error_db:.1f} dB", "<= -95 dB", error_db <= -95.0)
    yield from _speed_rows()
    yield _gradient_row()
    for name, room in TAIL_ROOMS.items():
        error_db = _tail_errors_db(*room)
        worst = float(np.abs(error_db).max())
        counted = name != "corridor"
        yield Row(
            f"tail against the energies of all images, 20 ms windows, {name}",
            f"{worst:.2f} dB (mean {error_db.mean():+.2f})",
            "<= 1.5 dB" if counted else "none",
            worst <= 1.5 if counted else None,
        )


if __name__ == "__main__":
    for made in rows():
        mark = {True: "met", False: "NOT met", None: ""}[made.met]
        print(f"{made.what}: {made.measured}; target {made.target} {mark}")
