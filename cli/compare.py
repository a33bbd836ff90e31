"""`fxstyle compare`: how two recordings differ, in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxstyle.cli._checks import check_inputs
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_json, emit_table
from fxstyle.cli._reading import notes_of, warnings_as_notes
from fxstyle.errors import AudioError

if TYPE_CHECKING:
    from fxstyle.audio import Audio
    from fxstyle.effect import Samples
    from fxstyle.report.summary import Summary, Vector

JUDGE_RATE = 44100
"""Hz. The judge's frames are counted in samples at this rate, as in every match."""

JUDGE_PASSAGE_S = 20.0
"""The judge takes recordings in passages; this long, joints are rare and hours fit into memory."""

BANDS_PER_ROW = 3
"""Third octaves are shown by the octave: nine rows fit a screen, twenty-eight do not."""


def compare(a: Path, b: Path, /, *, truth: Flag = False, json: Flag = False) -> int:
    """Measure how A differs from B.

    Parameters
    ----------
    a
        First recording, for example an output.
    b
        Second recording, for example the reference.
    truth
        B has the same content as A: print the benchmark's distance Ld as well.
    json
        Print the result as one JSON document.
    """
    check_inputs([a, b])

    from fxstyle.audio import read
    from fxstyle.report.summary import ROWS, shown_number, summarise

    with warnings_as_notes():
        first, second = read(a), read(b)
    notes = notes_of(first, second)
    pair = summarise(first, str(a)), summarise(second, str(b))
    silent = [name for name, summary in zip((a, b), pair, strict=True) if summary.silent]
    notes += [f"{name.name} is silent: there is no spectrum to compare" for name in silent]
    distance = _judge_distance(first, second)
    ld = _truth_distance(first, second, (a, b), notes) if truth else None
    if json:
        content: dict[str, Any] = {
            "command": "compare",
            "a": {"file": str(a), **_numbers(pair[0])},
            "b": {"file": str(b), **_numbers(pair[1])},
            "distance": distance,
            "spectrum": {
                "bands_hz": pair[0].bands_hz.tolist(),
                "a_minus_b_db": _difference_db(*pair).tolist(),
            },
            "notes": notes,
        }
        if ld is not None:
            content["ld"] = ld
        emit_json(content)
        return 0
    rows = []
    for attribute, name, unit, meaning in ROWS:
        values = [getattr(s, attribute) for s in pair]
        shown = ["none" if s.silent else shown_number(v, unit) for s, v in zip(pair, values, strict=True)]
        apart = "" if "none" in shown else f"{values[0] - values[1]:+.2f}"
        rows.append((name, *shown, apart, unit, meaning))
    emit_table(("", f">{a.name}", f">{b.name}", ">difference", "unit", ""), rows)
    if not silent:
        emit_table(
            ("octave", ">difference (dB)", ""),
            _octave_rows(*pair),
            title="Spectrum, A minus B at equal loudness",
        )
        emit(f"Distance of sound (judge): {distance:.2f} (1: two passages of one recording)")
    if ld is not None:
        emit(f"Distance from the truth (Ld): {ld:.3f}")
    for note in notes:
        emit(f"Note: {note}")
    return 0


def _judge_distance(a: Audio, b: Audio) -> float:
    from fxstyle.audio import resample
    from fxstyle.fit.judge import crops_distance

    size = int(JUDGE_PASSAGE_S * JUDGE_RATE)

    def passages(audio: Audio) -> list[Samples]:
        x = resample(audio, JUDGE_RATE).samples
        if x.shape[0] > 2:
            x = x.mean(axis=0, keepdims=True)
        return [x[:, start : start + size] for start in range(0, x.shape[1], size)]

    return crops_distance(passages(a), passages(b), JUDGE_RATE)


def _numbers(summary: Summary) -> dict[str, float]:
    from fxstyle.report.summary import ROWS

    return {attribute: float(getattr(summary, attribute)) for attribute, *_ in ROWS}


def _difference_db(a: Summary, b: Summary) -> Vector:
    """Third-octave difference with the loudness taken out, so that it shows colour and not level."""
    return (a.mid_db - a.loudness_lufs) - (b.mid_db - b.loudness_lufs)


def _octave_rows(a: Summary, b: Summary) -> list[tuple[str, str, str]]:
    difference = _difference_db(a, b)
    rows = []
    for start in range(0, len(difference), BANDS_PER_ROW):
        band = slice(start, start + BANDS_PER_ROW)
        mean_db = float(difference[band].mean())
        low, high = a.bands_hz[band][0], a.bands_hz[band][-1]
        bar = ("+" if mean_db > 0 else "-") * min(round(abs(mean_db)), 30)
        span = f"{low:.0f}" if low == high else f"{low:.0f}-{high:.0f}"  # the last band is alone
        rows.append((f"{span} Hz", f"{mean_db:+.1f}", bar))
    return rows


def _truth_distance(first: Audio, second: Audio, names: tuple[Path, Path], notes: list[str]) -> float:
    from fxstyle.audio import resample
    from fxstyle.features.truth_distance import ld

    if first.rate != second.rate:
        notes.append(f"Ld: {names[1].name} was resampled from {second.rate} to {first.rate} Hz")
        second = resample(second, first.rate)
    a, b = first.samples, second.samples
    if a.shape[0] != b.shape[0]:
        raise AudioError(
            f"--truth: {names[0]} has {a.shape[0]} channels and {names[1]} has {b.shape[0]};"
            " both must have the same content"
        )
    frames = min(a.shape[1], b.shape[1])
    if a.shape[1] != b.shape[1]:
        longer_s = abs(a.shape[1] - b.shape[1]) / first.rate
        notes.append(f"Ld: the last {longer_s:.3f} s of the longer recording were left out")
    try:
        return ld(a[:, :frames], b[:, :frames], first.rate)
    except ValueError as error:
        raise AudioError(f"--truth: {error}") from error
