"""Rendering one file from the command line, with progress and what came of it in both forms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxstyle.cli._checks import Tail
from fxstyle.cli._output import progress

if TYPE_CHECKING:
    from fxstyle.chain import Chain
    from fxstyle.render import RenderReport


def render_shown(
    chain: Chain, source: Path, output: Path, *, tail: Tail, force: bool, label: str
) -> RenderReport:
    """Render a file and show how far the work is."""
    from fxstyle.render import render_file

    with progress(label) as advance:
        return render_file(
            chain,
            source,
            output,
            tail_s=tail,
            force=force,
            progress=lambda done, total: advance("render", min(done / max(total, 1), 1.0)),
        )


def as_json(report: RenderReport) -> dict[str, Any]:
    """Return what programs want to know of a rendered file."""
    return {
        "output": str(report.output.path),
        "frames": report.frames,
        "rate_hz": report.rate,
        "channels": report.channels,
        "container": report.output.container,
        "subtype": report.output.subtype,
        "peak_db": report.peak_db,
        "true_peak_dbtp": report.true_peak_dbtp,
        "lowered_db": report.lowered_db,
        "seconds": report.seconds,
        "notes": list(report.notes),
    }


def in_words(report: RenderReport) -> str:
    """Return one line about a rendered file."""
    length_s = report.frames / report.rate
    return f"{report.output.path}  {length_s:.2f} s, true peak {report.true_peak_dbtp:+.1f} dBTP"
