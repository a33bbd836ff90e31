"""Note values at a tempo, for effects whose time or rate may follow the song.

    t = 60/tempo_bpm q            seconds; a beat is a quarter note
    q = 4 a/b                     quarters in the note a/b; a dot makes it 3/2 as long, a t (triplet) 2/3

With `sync` off the effect's own knob counts and the tempo does not; else the note at that tempo, in closed
form, takes the place of the knob, whatever the knob's range. Both have gradients, each where it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from fxstyle.param import Param

OFF = "off"

WORDS = (
    OFF,
    "1/1",
    *(f"1/{part}{kind}" for part in (2, 4, 8, 16) for kind in ("", ".", "t")),
    "1/32",
)
"""The words of `sync`, in the order of their numbers."""

TEMPO_BPM = Param(
    "tempo_bpm", "bpm", 30.0, 300.0, default=120.0, scale="log", fitted=False,
    help="tempo of the song; used only when sync is on",
)  # fmt: skip


def sync(help: str) -> Param:
    """Return the knob that chooses a note value."""
    return Param.choice("sync", WORDS, OFF, help)


def idle(knob: str) -> Callable[[Mapping[str, float]], list[str]]:
    """Return which knobs do not count at given settings: `knob` beside a note, the tempo without one."""
    return lambda settings: [knob if settings["sync"] else TEMPO_BPM.name]


def _quarters(word: str) -> float:
    if word == OFF:
        return 1.0  # never heard, but finite: it takes part in gradients
    above, _, below = word.rstrip(".t").partition("/")
    return 4.0 * int(above) / int(below) * {".": 1.5, "t": 2.0 / 3.0}.get(word[-1], 1.0)


_QUARTERS = torch.tensor([_quarters(word) for word in WORDS], dtype=torch.float64)


def _or_note(free: torch.Tensor, number: torch.Tensor, note: torch.Tensor) -> torch.Tensor:
    return torch.where(number.round() == 0.0, free, note)


def time_ms(free_ms: torch.Tensor, sync: torch.Tensor, tempo_bpm: torch.Tensor) -> torch.Tensor:
    """Return the length of the note in float64, or `free_ms` where sync is off; all (batch,)."""
    note_ms = 60_000.0 / tempo_bpm.double() * _QUARTERS[sync.detach().round().long()]
    return _or_note(free_ms.double(), sync, note_ms)


def rate_hz(free_hz: torch.Tensor, sync: torch.Tensor, tempo_bpm: torch.Tensor) -> torch.Tensor:
    """Return one over the length of the note, or `free_hz` where sync is off; all (batch,)."""
    note_hz = tempo_bpm.double() / 60.0 / _QUARTERS[sync.detach().round().long()]
    return _or_note(free_hz.double(), sync, note_hz)
