"""The five styles of ear_styles.py, made by plugins that no encoder was trained on.

The ranges of settings are the same; what turns them into sound is not. Each passage draws one of two
equalisers and one of two compressors, so that most examples of a query are by others than its own:

equalisers    LSP para_equalizer_x16, its RLC filters (its APO filters are pedalboard's to the tenth of a dB);
              x42 fil4, twice in a row at half the gain, because one reaches 18 dB only
compressors   LSP compressor, on the level over 10 ms; guitarix gx_compressor, each channel by itself

Nothing of sox or FFmpeg is needed: what they lack in these styles, the plugins have. Plugins glide to their
settings as they begin, so PREROLL_S of the passage's end runs through them before it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pedalboard
from counterfx import RATE, Stereo
from ear_retrieval_unseen import MADE_BY, untrained_on
from ear_row import Methods, Rows
from ear_styles import STYLES, Q, at_full_scale, passages, scored, with_headroom
from ear_tasks import HERE, Shelf, Task

from fxstyle.train._ffmpeg import filtered, filters
from fxstyle.train._lv2 import installed
from fxstyle.units import db_to_amplitude

SEED = 6
PREROLL_S = 1.0

LSP_EQ = "http://lsp-plug.in/plugins/lv2/para_equalizer_x16_stereo"
FIL4 = "http://gareus.org/oss/lv2/fil4#stereo"
LSP_COMPRESSOR = "http://lsp-plug.in/plugins/lv2/compressor_stereo"
GX_COMPRESSOR = "http://guitarix.sourceforge.net/plugins/gx_compressor#_compressor"
NEEDED = (LSP_EQ, FIL4, LSP_COMPRESSOR, GX_COMPRESSOR)

UNITS = ("lv2.lsp.compressor_stereo", "lv2.x42.fil4", "lv2.guitarix.gx_compressor")
"""Those that training's list has too, by its names."""

Filter = type[pedalboard.LowShelfFilter | pedalboard.HighShelfFilter | pedalboard.PeakFilter]
Bands = Sequence[tuple[Filter, float, float]]
"""Kind of filter, gain in dB, frequency in Hz."""

LSP_TYPES: Mapping[Filter, float] = {
    pedalboard.PeakFilter: 1.0,
    pedalboard.HighShelfFilter: 3.0,
    pedalboard.LowShelfFilter: 5.0,
}
FIL4_NAMES: Mapping[Filter, tuple[str, str, str]] = {
    pedalboard.LowShelfFilter: ("LSgain", "LSfreq", "LSq"),
    pedalboard.PeakFilter: ("gain3", "freq3", "q3"),
    pedalboard.HighShelfFilter: ("HSgain", "HSfreq", "HSq"),
}
FIL4_TIMES = 2


def _hosted(uri: str, controls: Mapping[str, float]) -> str:
    """Return FFmpeg's filter; the colon of a URI is escaped for the option and for the graph."""
    written = "|".join(f"{name}={value:.6f}" for name, value in controls.items())
    return f"lv2=p={uri.replace(':', chr(92) * 2 + ':')}:c={written}"


def lsp_eq(bands: Bands) -> str:
    """Return the filters by LSP."""
    controls: dict[str, float] = {}
    for i, (kind, gain_db, hz) in enumerate(bands):
        controls |= {
            f"ft_{i}": LSP_TYPES[kind],
            f"f_{i}": hz,
            f"g_{i}": db_to_amplitude(gain_db),
            f"q_{i}": Q,
        }
    return _hosted(LSP_EQ, controls)


def fil4(bands: Bands) -> str:
    """Return the filters by x42."""
    controls: dict[str, float] = {}
    for kind, gain_db, hz in bands:
        values = (gain_db / FIL4_TIMES, hz, Q)
        controls |= dict(zip(FIL4_NAMES[kind], values, strict=True))
    return ",".join([_hosted(FIL4, controls)] * FIL4_TIMES)


def lsp_compressor(threshold_db: float, ratio: float, attack_ms: float, release_ms: float) -> str:
    """Return the compressor by LSP."""
    controls = {"al": db_to_amplitude(threshold_db), "cr": ratio, "at": attack_ms, "rt": release_ms}
    return _hosted(LSP_COMPRESSOR, controls)


def gx_compressor(threshold_db: float, ratio: float, attack_ms: float, release_ms: float) -> str:
    """Return the compressor by guitarix; it takes one channel, and its BYPASS is on when it works."""
    one = _hosted(
        GX_COMPRESSOR,
        {
            "THRESHOLD": threshold_db,
            "RATIO": ratio,
            "ATTACK": attack_ms / 1000.0,
            "RELEASE": release_ms / 1000.0,
            "BYPASS": 1.0,
        },
    )
    return f"channelsplit=channel_layout=stereo[a][b];[a]{one}[c];[b]{one}[d];[c][d]amerge"


EQUALISERS, COMPRESSORS = (lsp_eq, fil4), (lsp_compressor, gx_compressor)


def styled(x: Stereo, style: str, rng: np.random.Generator) -> Stereo:
    """Return a passage in a style by plugins drawn anew, with settings drawn anew."""
    bands, compression = STYLES[style]
    equaliser = EQUALISERS[int(rng.integers(len(EQUALISERS)))]
    graph = equaliser([(band.make, rng.uniform(*band.gain_db), rng.uniform(*band.hz)) for band in bands])
    if compression is not None:
        compressor = COMPRESSORS[int(rng.integers(len(COMPRESSORS)))]
        graph += "," + compressor(*(rng.uniform(*limits) for limits in compression))
    y = with_headroom(x, rng)
    frames = round(PREROLL_S * RATE)
    y = filtered(graph, np.concatenate([y[:, -frames:], y], axis=1), RATE)
    return at_full_scale(y[:, frames:])


def rows(methods: Methods, queries: int) -> Rows:
    """Yield accuracy for speech and for music, and by style over both."""
    if missing := [uri for uri in NEEDED if uri not in installed()]:
        print(f"there is no plugin {', '.join(missing)}", file=sys.stderr)
        return
    if "lv2" not in filters():
        print("FFmpeg has no filter lv2", file=sys.stderr)
        return
    shelf = Shelf("styles-unseen", (*MADE_BY, HERE / "ear_styles.py", Path(__file__)))

    def task(kind: str, count: int) -> Task:
        return shelf.task(f"{kind}-{count}", lambda: passages(kind, count, SEED, styled))

    yield from scored("five styles, unseen plugins", untrained_on(methods, UNITS), queries, task)
