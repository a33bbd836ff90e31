"""What one effect does at given settings, measured by feeding its `render` and drawn as one SVG file.

Which pictures there are follows from the laws the effect obeys, not from its name:

    linear, time-invariant    magnitude response, of mid and side where they differ; the decay of its impulse
                              response where it rings on, and where an impulse on the left goes to
    linear, varying           magnitude response at four instants of a period, gain of a tone over time
    not linear                level out over level in, gain over time when a tone gets louder, response to
                              soft and loud noise (|S_xy| / S_xx of a pink spectrum; of varying effects the
                              root of S_yy / S_xx), harmonics of a loud tone; less those that would be flat

The input is the same on both channels unless a title says otherwise; where the outputs differ, both are
drawn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fxstyle.effect import Effect
from fxstyle.report.figures import EQ_LEAST_SPAN_DB, FREQUENCY, FREQUENCY_TICKS
from fxstyle.report.probe import (
    ENVELOPE_S,
    NOTHING_DB,
    RATE,
    Vector,
    gain_db,
    harmonic_levels,
    level_db,
    on_both,
    rendered,
    tone,
    tone_hz,
)
from fxstyle.report.style import CSS
from fxstyle.report.svg import HEIGHT, WIDTH, Axis, Line, Mark, Plot, round_axis, text_of
from fxstyle.units import SILENCE_DB, amplitude_to_db, db_to_amplitude, db_to_power, power_to_db

RESPONSE_S = 6.0
"""Length of impulse responses: the longest reverb has fallen by 40 dB."""

POINTS = 300
RESPONSE_RANGE_DB = 72.0
"""How far below its highest point a response is drawn: there it leaves the panel, as a notch does."""

DECAY_TICKS_DB = (-60.0, -50.0, -40.0, -30.0, -20.0, -10.0, 0.0)

SAME_DB = 0.1
"""Curves never further apart cover each other; one never further from 0 shows nothing."""

INSTANTS_S = (0.0, 0.25, 0.5, 0.75)
"""When a varying effect without a rate is asked for its response."""

PHASES = (0.0, 0.15, 0.4, 0.7)
"""The same for one that has a rate, in periods: no two of them lie alike on a sine that begins anywhere."""

PERIODS, PERIODS_S = 4.0, (0.4, 40.0)
"""How much of a sweep is drawn over time, and its limits in seconds."""

LEVELS_DB = tuple(float(level) for level in range(-80, 1))
"""Every decibel: knees are a few of them wide."""

SETTLING_S, HEARD_S = 0.8, 0.2
"""A tone is given this long to settle, and is measured for as long as that."""

NOISE_S = 12.0
WELCH_FRAMES = 8192
SOFT_DB, LOUD_DB = -50.0, -14.0
"""RMS levels of the noise: below and above where effects of level begin to act."""

HARMONICS = 12
HARMONICS_S = 1.0
HARMONICS_DB = -6.0
HARMONICS_LOWEST_DB = -100.0

STEP_S = (0.3, 0.5, 1.2)
"""Seconds of a soft tone, a loud one and the soft one again."""

CHANNELS = ("left", "right")
CSS_OF = ("output", "term1", "term2", "term3")


def _frequency_axis() -> Axis:
    return Axis(*FREQUENCY, FREQUENCY_TICKS, "frequency (Hz)", log=True)


def _db_axis(lines: tuple[Line, ...], label: str, range_db: float = -SILENCE_DB) -> Axis:
    """Return an axis around all that is not silence and not `range_db` below the highest point."""
    there = [v for line in lines for v in line.y if v > SILENCE_DB]
    lowest = max(there, default=0.0) - range_db
    return round_axis([0.0, *(max(v, lowest) for v in there)], label, least_span=EQ_LEAST_SPAN_DB)


def _same(a: Sequence[float], b: Sequence[float]) -> bool:
    gap = np.maximum(a, SILENCE_DB) - np.maximum(b, SILENCE_DB)
    return bool(np.max(np.abs(gap)) <= SAME_DB)


def _curves(x: Sequence[float], named: Mapping[str, Vector]) -> tuple[Line, ...]:
    """Return a line for each curve, or one with all their names where they cover each other."""
    lines: list[Line] = []
    for name, curve in named.items():
        y = [float(v) for v in curve]
        at = next((i for i, line in enumerate(lines) if _same(line.y, y)), None)
        if at is not None:
            joined = f"{lines[at].name.removesuffix(' (same)')}, {name} (same)"
            lines[at] = replace(lines[at], name=joined)
            continue
        said = f"{name} (silent)" if max(y) <= SILENCE_DB else name
        lines.append(Line(x, y, CSS_OF[len(lines)], said))
    return tuple(lines)


def _channels(x: Sequence[float], both: Vector) -> tuple[Line, ...]:
    """Return the curves (2, n) of left and right, or one without a name where they are the same."""
    lines = _curves(x, dict(zip(CHANNELS, both, strict=True)))
    return lines if len(lines) > 1 else (replace(lines[0], name=""),)


_HZ = np.geomspace(*FREQUENCY, POINTS)


def _around(values: Vector, bin_hz: float) -> Vector:
    """Return the mean of a spectrum's bins around each of _HZ: no line could show a reverb's comb."""
    ratio = (FREQUENCY[1] / FREQUENCY[0]) ** (0.5 / (POINTS - 1))
    first = np.minimum(np.floor(_HZ / ratio / bin_hz).astype(int), values.size - 1)
    last = np.minimum(np.maximum(np.ceil(_HZ * ratio / bin_hz).astype(int), first + 1), values.size)
    # Not by differences of a running sum: beside a loud band they lose a quiet one.
    return np.asarray([float(values[a:b].mean()) for a, b in zip(first, last, strict=True)])


def _magnitude_db(ir: Vector) -> Vector:
    power = _around(np.abs(np.fft.rfft(ir)) ** 2, RATE / ir.size)
    return np.asarray(power_to_db(power, floor_db=NOTHING_DB))


def _impulse(effect: Effect, settings: Mapping[str, float], at_s: float = 0.0, right: float = 1.0) -> Vector:
    """Return what follows an impulse of 1 left and `right` right, `at_s` after the beginning, (2, time)."""
    begin = round(at_s * RATE)
    x = np.zeros((2, begin + round(RESPONSE_S * RATE)))
    x[:, begin] = 1.0, right
    return rendered(effect, x, settings)[:, begin:]


def _response(title: str, lines: tuple[Line, ...]) -> Plot:
    return Plot(title, _frequency_axis(), _db_axis(lines, "dB", RESPONSE_RANGE_DB), lines)


def _fixed_responses(effect: Effect, settings: Mapping[str, float]) -> list[Plot]:
    hz = _HZ.tolist()
    ir = _impulse(effect, settings)
    lines = _channels(hz, np.stack([_magnitude_db(channel) for channel in ir]))
    found = [_response("Magnitude response", lines)]
    opposite = _impulse(effect, settings, right=-1.0)
    pair = {"mid": (ir[0] + ir[1]) / 2.0, "side": (opposite[0] - opposite[1]) / 2.0}
    lines = _curves(hz, {name: _magnitude_db(part) for name, part in pair.items()})
    if len(lines) > 1:
        found.append(_response("Magnitude response of mid and side", lines))
    if effect.tail_s(settings) > 0.05:
        found.append(_decay(ir))
        found += _after_left(_impulse(effect, settings, right=0.0))
    return found


def _instants(effect: Effect, settings: Mapping[str, float]) -> Plot:
    rate_hz = settings.get("rate_hz")
    instants = INSTANTS_S if rate_hz is None else tuple(phase / rate_hz for phase in PHASES)
    irs = [_impulse(effect, settings, at) for at in instants]
    curves = [np.stack([_magnitude_db(channel) for channel in ir]) for ir in irs]
    named = {f"at {at:.3g} s": both[0] for at, both in zip(instants, curves, strict=True)}
    title = "Magnitude response" + (
        "" if all(_same(a.tolist(), b.tolist()) for a, b in curves) else " of the left channel"
    )
    return _response(title, _curves(_HZ.tolist(), named))


def _heard(power: Vector) -> int:
    """Return how many samples of what rings on are worth drawing: some more than until it is 60 dB down."""
    audible = np.flatnonzero(power > db_to_power(DECAY_TICKS_DB[0]) * power.max(initial=0.0))
    return min(int(1.2 * audible[-1]) + POINTS, power.size) if audible.size else power.size


def _decay(ir: Vector) -> Plot:
    """Return the energy of both channels that is still to come (M. R. Schroeder 1965), in dB of all of it."""
    left = np.cumsum(np.sum(ir**2, axis=0)[::-1])[::-1]
    left = left[: _heard(left)]
    step = max(left.size // POINTS, 1)
    curve = power_to_db(left[::step] / max(float(left[0]), 1e-300), floor_db=NOTHING_DB)
    seconds = np.arange(curve.size) * step / RATE
    line = Line(seconds.tolist(), curve.tolist(), "output")
    ticks = Axis(DECAY_TICKS_DB[0], 0.0, DECAY_TICKS_DB, "dB")
    return Plot("Energy decay of the impulse response", round_axis(line.x, "time (s)"), ticks, (line,))


def _after_left(ir: Vector) -> list[Plot]:
    """Return the peaks of both channels after an impulse on the left, where any of it goes to the right."""
    if not ir[1].any():
        return []
    size = round(ENVELOPE_S * RATE)
    count = -(-_heard(np.max(ir**2, axis=0)) // size)
    padded = np.pad(ir, ((0, 0), (0, size)))[:, : count * size]
    peaks = np.max(np.abs(padded.reshape(2, count, size)), axis=2)
    lines = _curves(
        (np.arange(count) * size / RATE).tolist(),
        dict(zip(CHANNELS, amplitude_to_db(peaks, floor_db=NOTHING_DB), strict=True)),
    )
    axis = _db_axis(lines, "dB", -DECAY_TICKS_DB[0])
    return [Plot("After an impulse on the left", round_axis(lines[0].x, "time (s)"), axis, lines)]


def _noise_responses(effect: Effect, settings: Mapping[str, float]) -> tuple[Plot, bool]:
    from scipy.signal import csd, welch

    white = np.random.default_rng(0).standard_normal(round(NOISE_S * RATE))
    spectrum = np.fft.rfft(white)
    frequency = np.fft.rfftfreq(white.size, 1.0 / RATE)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, FREQUENCY[0])), white.size)
    pink /= math.sqrt(float(np.mean(pink**2)))
    named = {}
    for level in (LOUD_DB, SOFT_DB):
        x = db_to_amplitude(level) * pink
        y = rendered(effect, on_both(x), settings)[0]
        f, cross = csd(x, y, RATE, nperseg=WELCH_FRAMES)
        _, power = welch(x, RATE, nperseg=WELCH_FRAMES)
        gain = np.abs(cross / power)
        if not effect.time_invariant:  # a moving delay would be taken for a filter
            gain = np.sqrt(welch(y, RATE, nperseg=WELCH_FRAMES)[1] / power)
        curve = amplitude_to_db(_around(gain, f[1]), floor_db=NOTHING_DB)
        named[f"pink noise at {level:g} dB"] = np.asarray(curve)
    flat = all(np.max(np.abs(curve)) <= SAME_DB for curve in named.values())
    return _response("Response to soft and loud noise", _curves(_HZ.tolist(), named)), flat


def _settled(
    effect: Effect, settings: Mapping[str, float], hz: float, level: float, heard_s: float
) -> Vector:
    """Return the last `heard_s` of the left output for a tone of a peak level in dB."""
    x = db_to_amplitude(level) * tone(hz, SETTLING_S + heard_s)
    return np.asarray(rendered(effect, on_both(x), settings)[0, -round(heard_s * RATE) :])


def _level_curve(effect: Effect, settings: Mapping[str, float], hz: float) -> tuple[Plot, bool]:
    out = [level_db(_settled(effect, settings, hz, level, HEARD_S)) for level in LEVELS_DB]
    lines = (
        Line(LEVELS_DB, LEVELS_DB, "reference", "unchanged"),
        Line(LEVELS_DB, out, "output", f"sine of {hz:g} Hz"),
    )
    x = round_axis(LEVELS_DB, "level in (dBFS)")
    plot = Plot("Level out over level in", x, _db_axis(lines, "level out (dBFS)"), lines)
    return plot, _same(LEVELS_DB, out)


def _harmonics(effect: Effect, settings: Mapping[str, float], hz: float) -> tuple[Plot, bool]:
    highest = min(HARMONICS, int(0.49 * RATE / hz))
    level, between = harmonic_levels(_settled(effect, settings, hz, HARMONICS_DB, HARMONICS_S), hz, highest)
    orders = np.arange(1.0, highest + 1.0)
    lines: list[Line] = []
    for at, levels, css, name in (
        (orders, level, "output", "harmonics"),
        (orders - 0.5, between, "reference", "all between two"),
    ):
        stems = [(float(k), float(v)) for k, v in zip(at, levels, strict=True) if v > HARMONICS_LOWEST_DB]
        lines += [
            Line((k, k), (HARMONICS_LOWEST_DB, v), css, "" if i else name) for i, (k, v) in enumerate(stems)
        ]
    found = tuple(lines)
    x = Axis(0.0, highest + 1.0, tuple(orders.tolist()), "harmonic")
    title = f"Harmonics of {hz:g} Hz at {HARMONICS_DB:g} dBFS"
    return Plot(title, x, _db_axis(found, "level (dBFS)"), found), len(found) == 1


def _gain_over_time(effect: Effect, settings: Mapping[str, float], hz: float) -> tuple[Plot, bool]:
    """Return the gain of a tone's power over time; one that gets louder where level plays a part."""
    marks: tuple[Mark, ...] = ()
    if effect.linear:
        rate_hz = settings.get("rate_hz", PERIODS / sum(STEP_S))
        x = tone(hz, min(max(PERIODS / rate_hz, PERIODS_S[0]), PERIODS_S[1]))
    else:
        ends = np.cumsum(STEP_S)
        x = tone(hz, float(ends[-1]))
        at = np.arange(x.size) / RATE
        loud = (at >= ends[0]) & (at < ends[1])
        x *= np.where(loud, db_to_amplitude(-6.0), db_to_amplitude(-36.0))
        marks = (Mark(float(ends[0]), "+30 dB"), Mark(float(ends[1]), "-30 dB"))
    seconds, gain = gain_db(x, rendered(effect, on_both(x), settings))
    # Where a window holds a step, what rings on either side of it is no gain.
    whole = np.ones(seconds.size, dtype=bool)
    for mark in marks:
        whole &= np.abs(seconds - mark.x) > 2.0 * ENVELOPE_S
    lines = _channels(seconds[whole].tolist(), gain[:, whole])
    title = f"Gain of {hz:g} Hz over time"
    plot = Plot(title, round_axis(lines[0].x, "time (s)"), _db_axis(lines, "gain (dB)"), lines, marks)
    return plot, bool(np.max(np.abs(gain[:, whole])) <= SAME_DB)


def _drawn(effect: Effect, settings: Mapping[str, float]) -> tuple[list[Plot], list[str]]:
    """Return the pictures, and the titles of those left out because they would be flat."""
    hz = tone_hz(settings)
    if effect.linear and effect.time_invariant:
        return _fixed_responses(effect, settings), []
    if effect.linear:
        return [_instants(effect, settings), _gain_over_time(effect, settings, hz)[0]], []
    judged = [
        _level_curve(effect, settings, hz),
        _gain_over_time(effect, settings, hz),
        _noise_responses(effect, settings),
        _harmonics(effect, settings, hz),
    ]
    telling = [plot for plot, flat in judged if not flat]
    if not telling:
        return [judged[0][0]], [plot.title for plot, _ in judged[1:]]
    return telling, [plot.title for plot, flat in judged if flat]


def plots(effect: Effect, settings: Mapping[str, float]) -> list[Plot]:
    """Return the pictures of an effect at settings by knob, all of them given."""
    return _drawn(effect, settings)[0]


def _light() -> str:
    """Return the style sheet in the light colours, without variables: few viewers of SVG know them."""
    palette = dict(re.findall(r"--(\w+): (#\w+)", CSS.split("@media", 1)[0]))
    rules = "\n".join(line for line in CSS.splitlines() if line.startswith(("svg ", ".output", ".input")))
    return re.sub(r"var\(--(\w+)\)", lambda m: palette[m[1]], rules)


def picture(effect: Effect, settings: Mapping[str, float]) -> str:
    """Return all plots of an effect below each other, as the text of an SVG file."""
    found, left_out = _drawn(effect, settings)
    changed = [p for p in effect.params if settings[p.name] != p.default]
    said = ", ".join(f"{p.name} {p.format(settings[p.name])}" for p in changed) or "all at their defaults"
    head = 74 if left_out else 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {head + len(found) * (HEIGHT + 30)}">',
        f"<style>{_light()}</style>",
        '<rect width="100%" height="100%" fill="#fcfbf9"/>',
        f'<text x="14" y="22" style="font-size:16px;fill:#1c1e21">{text_of(effect.name)}</text>',
        f'<text x="14" y="42">{text_of(said)}</text>',
    ]
    if left_out:
        words = f"left out, as nothing changes there: {'; '.join(left_out)}"
        parts.append(f'<text x="14" y="60">{text_of(words)}</text>')
    for index, plot in enumerate(found):
        y = head + index * (HEIGHT + 30)
        parts += [
            f'<text x="14" y="{y + 14}" style="fill:#1c1e21">{text_of(plot.title)}</text>',
            f'<svg y="{y + 20}" width="{WIDTH}" height="{HEIGHT}">{plot.svg()}</svg>',
        ]
    return "\n".join([*parts, "</svg>\n"])
