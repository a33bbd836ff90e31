"""What one effect does at given settings, measured by feeding its `render` and drawn as one SVG file.

Which pictures there are follows from the laws the effect obeys, not from its name:

    linear, time-invariant    magnitude response, and the decay of its impulse response where it rings on
    linear, varying           magnitude response at four instants, gain of a tone over time
    not linear                response to soft and loud noise (|S_xy| / S_xx of a pink spectrum; of varying
                              effects the root of S_yy / S_xx), level out
                              over level in, harmonics of a loud tone, gain over time when a tone gets louder

All figures are of the left channel of two equal ones (a picture of width would need both, see `inspect`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fxstyle.effect import Effect
from fxstyle.report.figures import EQ_LEAST_SPAN_DB, FREQUENCY, FREQUENCY_TICKS
from fxstyle.report.style import CSS
from fxstyle.report.svg import HEIGHT, WIDTH, Axis, Line, Mark, Plot, round_axis, text_of
from fxstyle.units import amplitude_to_db, db_to_amplitude, db_to_power, power_to_db

Vector = npt.NDArray[np.float64]

RATE = 44100.0
TONE_HZ = 1000.0
BLOCK = 8192

RESPONSE_S = 6.0
"""Length of impulse responses: the longest reverb has fallen by 40 dB."""

POINTS = 300
LOWEST_DB = -60.0
"""A response lower than this is a notch; how deep does not matter."""

INSTANTS_S = (0.0, 0.25, 0.5, 0.75)
"""When a varying effect is asked for its response; slow sweeps have moved on between them."""

LEVELS_DB = tuple(float(level) for level in range(-60, 1, 3))
SETTLING_S, HEARD_S = 0.8, 0.2
"""A tone is given this long to settle, and is measured for as long as that: whole periods of TONE_HZ."""

NOISE_S = 12.0
SOFT_DB, LOUD_DB = -50.0, -14.0
"""RMS levels of the noise: below and above where effects of level begin to act."""

HARMONICS = 12
HARMONICS_DB = -6.0
HARMONICS_LOWEST_DB = -100.0

STEP_S = (0.3, 0.5, 1.2)
"""Seconds of a soft tone, a loud one and the soft one again."""

ENVELOPE_S = 0.004
"""Window of the gain over time: four periods of TONE_HZ."""


def _render(effect: Effect, x: Vector, settings: Mapping[str, float]) -> Vector:
    """Return the effect's output for a mono signal (time,) on both of two channels, aligned: the left one."""
    left: Vector = _render_both(effect, x, settings)[0]
    return left


def _render_both(effect: Effect, x: Vector, settings: Mapping[str, float]) -> Vector:
    """Return both channels (2, time) of the same."""
    late = effect.latency(RATE, settings)
    stream = np.pad(np.stack([x, x]), ((0, 0), (0, late)))
    state: Any = None
    blocks = []
    for begin in range(0, stream.shape[1], BLOCK):
        y, state = effect.render(stream[:, begin : begin + BLOCK], RATE, state, **settings)
        blocks.append(np.asarray(y, dtype=np.float64))
    return np.asarray(np.concatenate(blocks, axis=1)[:, late:])


def _frequency_axis() -> Axis:
    return Axis(*FREQUENCY, FREQUENCY_TICKS, "frequency (Hz)", log=True)


def _db_axis(lines: tuple[Line, ...], label: str) -> Axis:
    return round_axis([0.0, *(v for line in lines for v in line.y)], label, least_span=EQ_LEAST_SPAN_DB)


_HZ = np.geomspace(*FREQUENCY, POINTS)


def _around(values: Vector, bin_hz: float) -> Vector:
    """Return the mean of a spectrum's bins around each of _HZ: no line could show a reverb's comb."""
    ratio = (FREQUENCY[1] / FREQUENCY[0]) ** (0.5 / (POINTS - 1))
    first = np.minimum(np.floor(_HZ / ratio / bin_hz).astype(int), values.size - 1)
    last = np.minimum(np.maximum(np.ceil(_HZ * ratio / bin_hz).astype(int), first + 1), values.size)
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((total[last] - total[first]) / (last - first))


def _magnitude_db(ir: Vector) -> Vector:
    power = _around(np.abs(np.fft.rfft(ir)) ** 2, RATE / ir.size)
    return np.asarray(power_to_db(power, floor_db=LOWEST_DB))


def _impulse(effect: Effect, settings: Mapping[str, float], at_s: float) -> Vector:
    """Return what follows an impulse at `at_s` after the beginning of a stream, (2, time)."""
    begin = round(at_s * RATE)
    x = np.zeros(begin + round(RESPONSE_S * RATE))
    x[begin] = 1.0
    return _render_both(effect, x, settings)[:, begin:]


def _responses(effect: Effect, settings: Mapping[str, float]) -> list[Plot]:
    instants = (0.0,) if effect.time_invariant else INSTANTS_S
    irs = [_impulse(effect, settings, at) for at in instants]
    names = [""] if effect.time_invariant else [f"at {at:g} s" for at in instants]
    lines = tuple(
        Line(_HZ.tolist(), _magnitude_db(ir[0]).tolist(), "output" if i == 0 else f"term{i}", name)
        for i, (ir, name) in enumerate(zip(irs, names, strict=True))
    )
    plots = [Plot("Magnitude response", _frequency_axis(), _db_axis(lines, "dB"), lines)]
    if effect.time_invariant and effect.tail_s(settings) > 0.05:
        plots.append(_decay(irs[0]))
    return plots


def _decay(ir: Vector) -> Plot:
    """Return the energy of both channels that is still to come (M. R. Schroeder 1965), in dB of all of it."""
    left = np.cumsum(np.sum(ir**2, axis=0)[::-1])[::-1]
    audible = np.flatnonzero(left > db_to_power(LOWEST_DB) * left[0])
    left = left[: min(2 * int(audible[-1]) + POINTS, left.size)] if audible.size else left
    step = max(left.size // POINTS, 1)
    curve = power_to_db(left[::step] / max(float(left[0]), 1e-300), floor_db=LOWEST_DB)
    seconds = np.arange(curve.size) * step / RATE
    line = Line(seconds.tolist(), curve.tolist(), "output")
    ticks = Axis(LOWEST_DB, 0.0, (-60.0, -50.0, -40.0, -30.0, -20.0, -10.0, 0.0), "dB")
    return Plot("Energy decay of the impulse response", round_axis(line.x, "time (s)"), ticks, (line,))


def _noise_responses(effect: Effect, settings: Mapping[str, float]) -> Plot:
    from scipy.signal import csd, welch

    white = np.random.default_rng(0).standard_normal(round(NOISE_S * RATE))
    spectrum = np.fft.rfft(white)
    frequency = np.fft.rfftfreq(white.size, 1.0 / RATE)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, FREQUENCY[0])), white.size)
    pink /= math.sqrt(float(np.mean(pink**2)))
    lines = []
    for level_db, css in ((SOFT_DB, "term1"), (LOUD_DB, "output")):
        x = db_to_amplitude(level_db) * pink
        y = _render(effect, x, settings)
        f, cross = csd(x, y, RATE, nperseg=BLOCK)
        _, power = welch(x, RATE, nperseg=BLOCK)
        gain = np.abs(cross / power)
        if not effect.time_invariant:  # a moving delay would be taken for a filter
            gain = np.sqrt(welch(y, RATE, nperseg=BLOCK)[1] / power)
        curve = amplitude_to_db(_around(gain, f[1]), floor_db=LOWEST_DB)
        lines.append(Line(_HZ.tolist(), curve.tolist(), css, f"pink noise at {level_db:g} dB"))
    both = tuple(lines)
    return Plot("Response to soft and loud noise", _frequency_axis(), _db_axis(both, "dB"), both)


def _tone(seconds: float) -> Vector:
    return np.asarray(np.sin(2.0 * math.pi * TONE_HZ / RATE * np.arange(round(seconds * RATE))))


def _settled(effect: Effect, settings: Mapping[str, float], level_db: float) -> Vector:
    """Return the last HEARD_S of the output for a tone of a peak level."""
    y = _render(effect, db_to_amplitude(level_db) * _tone(SETTLING_S + HEARD_S), settings)
    return y[-round(HEARD_S * RATE) :]


def _level_curve(effect: Effect, settings: Mapping[str, float]) -> Plot:
    sine_db = 10.0 * math.log10(2.0)
    out = [
        float(power_to_db(float(np.mean(_settled(effect, settings, level) ** 2)), LEVELS_DB[0] - 20.0))
        + sine_db
        for level in LEVELS_DB
    ]
    lines = (
        Line(LEVELS_DB, LEVELS_DB, "reference", "unchanged"),
        Line(LEVELS_DB, out, "output", f"sine of {TONE_HZ:g} Hz"),
    )
    x = Axis(LEVELS_DB[0], 0.0, (-60.0, -50.0, -40.0, -30.0, -20.0, -10.0, 0.0), "level in (dBFS)")
    return Plot("Level out over level in", x, _db_axis(lines, "level out (dBFS)"), lines)


def _harmonics(effect: Effect, settings: Mapping[str, float]) -> Plot:
    y = _settled(effect, settings, HARMONICS_DB)
    order = np.arange(1, HARMONICS + 1)
    n = np.arange(y.size)
    amplitude = 2.0 * np.abs(np.exp(-2j * math.pi * TONE_HZ / RATE * np.outer(order, n)) @ y) / y.size
    level = amplitude_to_db(amplitude, floor_db=HARMONICS_LOWEST_DB)
    lines = tuple(
        Line((float(k), float(k)), (HARMONICS_LOWEST_DB, float(v)), "output")
        for k, v in zip(order, level, strict=True)
    )
    x = Axis(0.0, HARMONICS + 1.0, tuple(map(float, order)), "harmonic")
    return Plot(
        f"Harmonics of {TONE_HZ:g} Hz at {HARMONICS_DB:g} dBFS", x, _db_axis(lines, "level (dBFS)"), lines
    )


def _gain_over_time(effect: Effect, settings: Mapping[str, float]) -> Plot:
    """Return the gain of a tone's power over time; one that gets louder where level plays a part."""
    ends = np.cumsum(STEP_S)
    x = _tone(float(ends[-1]))
    marks: tuple[Mark, ...] = ()
    if not effect.linear:
        at = np.arange(x.size) / RATE
        loud = (at >= ends[0]) & (at < ends[1])
        x *= np.where(loud, db_to_amplitude(-6.0), db_to_amplitude(-36.0))
        marks = (Mark(float(ends[0]), "+30 dB"), Mark(float(ends[1]), "-30 dB"))
    y = _render(effect, x, settings)
    size = round(ENVELOPE_S * RATE)
    count = x.size // size
    powers = [np.mean(v[: count * size].reshape(count, size) ** 2, axis=1) for v in (x, y)]
    gain = power_to_db(powers[1] / np.maximum(powers[0], 1e-30), floor_db=LOWEST_DB)
    seconds = (np.arange(count) + 0.5) * size / RATE
    # Where a window holds a step, what rings on either side of it is no gain.
    whole = np.ones(count, dtype=bool)
    for mark in marks:
        whole &= np.abs(seconds - mark.x) > 2.0 * ENVELOPE_S
    lines = (Line(seconds[whole].tolist(), gain[whole].tolist(), "output"),)
    title = f"Gain of {TONE_HZ:g} Hz over time"
    return Plot(title, round_axis(lines[0].x, "time (s)"), _db_axis(lines, "gain (dB)"), lines, marks)


def plots(effect: Effect, settings: Mapping[str, float]) -> list[Plot]:
    """Return the pictures of an effect at settings by knob, all of them given."""
    if effect.linear:
        found = _responses(effect, settings)
        return found if effect.time_invariant else [*found, _gain_over_time(effect, settings)]
    return [
        _level_curve(effect, settings),
        _gain_over_time(effect, settings),
        _noise_responses(effect, settings),
        _harmonics(effect, settings),
    ]


def _light() -> str:
    """Return the style sheet in the light colours, without variables: few viewers of SVG know them."""
    palette = dict(re.findall(r"--(\w+): (#\w+)", CSS.split("@media", 1)[0]))
    rules = "\n".join(line for line in CSS.splitlines() if line.startswith(("svg ", ".output", ".input")))
    return re.sub(r"var\(--(\w+)\)", lambda m: palette[m[1]], rules)


def picture(effect: Effect, settings: Mapping[str, float]) -> str:
    """Return all plots of an effect below each other, as the text of an SVG file."""
    found = plots(effect, settings)
    changed = [p for p in effect.params if settings[p.name] != p.default]
    said = ", ".join(f"{p.name} {p.format(settings[p.name])}" for p in changed) or "all at their defaults"
    head = 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {head + len(found) * (HEIGHT + 30)}">',
        f"<style>{_light()}</style>",
        '<rect width="100%" height="100%" fill="#fcfbf9"/>',
        f'<text x="14" y="22" style="font-size:16px;fill:#1c1e21">{text_of(effect.name)}</text>',
        f'<text x="14" y="42">{text_of(said)}</text>',
    ]
    for index, plot in enumerate(found):
        y = head + index * (HEIGHT + 30)
        parts += [
            f'<text x="14" y="{y + 14}" style="fill:#1c1e21">{text_of(plot.title)}</text>',
            f'<svg y="{y + 20}" width="{WIDTH}" height="{HEIGHT}">{plot.svg()}</svg>',
        ]
    return "\n".join([*parts, "</svg>\n"])
