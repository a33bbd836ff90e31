"""`fxstyle room`: rooms from recordings, impulse responses and words; one file per subcommand.

What the subcommands share: their options, the checks of what they write, and the sentence that goes with
every room that was fitted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from fxstyle.cli._checks import check_inputs
from fxstyle.cli._reading import is_preset, notes_of, warnings_as_notes
from fxstyle.errors import AudioError, SettingError

if TYPE_CHECKING:
    from fxstyle.audio import Audio
    from fxstyle.chain import Chain
    from fxstyle.effect import Samples
    from fxstyle.fit.rooms import RoomFit

HELP = "Rooms and reverbs: measure, match, describe and export them."

COMMANDS = {
    "estimate": """Say how the room of a recording rings, or measure an impulse response.

A recording is estimated, which tells decay times and clarity (C50) and how sure
they are; a dry recording of the same kind of sound (--dry) makes that better.
An impulse response is measured after ISO 3382.""",
    "match": """Put INPUT into the room of REFERENCE, and hand over the settings.

Of the same content in both the impulse response is taken; else the room is
estimated from the reference. Without an output the settings are only shown.""",
    "from-ir": """Turn an impulse response into the settings of a reverb.

With --as convolution the response itself is kept, inside the preset.""",
    "from-description": """Make a room from words, such as "12x8x4 m, wood floor, brick walls, curtains".

The text holds, in any order, with commas between:
  size       5x4x2.6 m; 20 x 15 x 7 ft; 20' x 15'6" x 8'; 4 m wide, 6 m long,
             3 m high: length (left to right) x width (front to back) x
             height, 1.5..40 m, height up to 20 m
  room       bathroom, bedroom, living room, office, classroom, studio, vocal
             booth, concert hall, church, cathedral, stairwell, garage, ...;
             small, large and huge before it change its size
  materials  brick walls; carpet; glass front wall; acoustic tile ceiling;
             foam on the ceiling: one wall goes before "walls", and a material
             without a surface goes where it usually lies
  shares     30 % curtains on left wall; half the walls tiled; 8 m2 foam; two
             windows; 50 people: curtains without a share or a wall cover 25 %
             of each wall, rugs 30 % of the floor
  numbers    walls absorption 0.3 (0..1, the same in all octaves)
  state      furnished, empty, with audience
  places     source at 2,3,1.5, mic at 4,5,1.6: from the left, front and floor

What is not said is assumed and listed. A word that is not understood is an
error, never passed over. Absorption is published data for typical samples, and
63 Hz is extrapolated: the result is a plausible room, not a measured one.""",
    "export": """Write the impulse response of a preset or of a described room.

It is written as 32 bit float and begins with the sound itself, unless
--wet-only leaves that out. Presets with effects that depend on the level, or
that move, have no impulse response and are refused.""",
}
"""The subcommands with their help: the first line is for the list, line ends are printed as they are."""

Kind = Literal["reverb", "fdn", "room", "convolution"]
"""Effects that a room can become."""

FLOAT = "FLOAT"
"""Impulse responses are written in 32 bit float: their level is part of them, whatever their peak."""

RATE = 48_000
LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000


def room_app() -> App:
    """Return the parser of `fxstyle room`; subcommands are loaded when they are called."""
    app = App(name="room", help=HELP, help_epilogue="")
    for name, help_text in COMMANDS.items():
        module = name.replace("-", "_")
        app.command(f"fxstyle.cli._room_{module}:{module}", name=name, help=help_text)
    return app


def check_rate(rate: int) -> int:
    """Refuse a --rate that no room is made at."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise SettingError(f"--rate {rate} Hz is outside {LOWEST_RATE}..{HIGHEST_RATE} Hz")
    return rate


def check_response_output(path: Path, option: str) -> None:
    """Refuse a file for an impulse response whose container has no floats."""
    from fxstyle.formats import container_for

    try:
        container = container_for(path)
    except AudioError as error:
        raise SettingError(f"{option}: {error}") from None
    if FLOAT not in container.subtypes:
        raise SettingError(
            f"{option} {path}: an impulse response is written as float, which {container.name} cannot carry;"
            " name it something.wav"
        )


def read_recording(path: Path) -> Audio:
    """Read a recording; raises AudioError for a preset in its place."""
    from fxstyle.audio import read

    check_inputs([path])
    if is_preset(path):
        raise AudioError(
            f"{path} is a preset and no recording; its impulse response comes from:"
            f" fxstyle room export {path} IR.wav"
        )
    with warnings_as_notes():
        return read(path)


def write_response(path: Path, samples: Samples, rate: int, *, force: bool) -> None:
    """Write an impulse response (channel, time) as 32 bit float, whole or not at all."""
    from fxstyle.audio import Audio, write

    write(path, Audio(samples, rate), subtype=FLOAT, force=force)


def notes_of_fit(fit: RoomFit, *recordings: Audio) -> list[str]:
    """Return what is to be known of recordings and of what was fitted to them, each note once."""
    from fxstyle.fit.rooms import PLAUSIBLE

    sure = f"confidence in its decay {100.0 * fit.confidence:.0f} %"
    said = [f"{note} ({sure})" if note == PLAUSIBLE else note for note in fit.notes]
    return list(dict.fromkeys([*notes_of(*recordings), *said]))


def chain_json(chain: Chain) -> list[dict[str, Any]]:
    """Return a chain as presets have it."""
    from fxstyle.presets import Preset

    places: list[dict[str, Any]] = Preset.from_chain(chain).model_dump(mode="json", exclude_none=True)[
        "chain"
    ]
    return places
