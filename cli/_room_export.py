"""`fxstyle room export`: the impulse response of a preset or of a described room, for any convolver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fxstyle.cli._checks import check_inputs, check_outputs
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_json
from fxstyle.cli._reading import is_preset
from fxstyle.cli.room import RATE, check_rate, check_response_output, write_response
from fxstyle.errors import PresetError, SettingError

if TYPE_CHECKING:
    from fxstyle.chain import Chain
    from fxstyle.effect import Samples

Channels = Literal["mono", "stereo"]

LEAST_S = 0.001
LEAST_DB = -120.0
"""Below, there is no response to speak of."""


def export(
    preset: str,
    ir: Path,
    /,
    *,
    rate: int = RATE,
    seconds: str = "auto",
    channels: Channels = "stereo",
    position: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    wet_only: Flag = False,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Write the impulse response of a preset or of a described room.

    Parameters
    ----------
    preset
        A preset, or a room in words as for `fxstyle room from-description`.
    ir
        The sound file to write.
    rate
        Of the response, in Hz.
    seconds
        Length, or "auto" until it has died away by 90 dB.
    channels
        How many: in stereo, what a click on both channels becomes.
    position
        Where the microphone is: x,y,z in metres from the left, front and floor. For rooms only. May be
        repeated: IR_1.wav, IR_2.wav and so on, with the delays and levels that belong to their distances.
    wet_only
        Leave out the dry sound.
    force
        Overwrite existing files.
    json
        Print the result as one JSON document.
    """
    check_rate(rate)
    wanted_s = _seconds(seconds)
    places = [_position(text) for text in position]
    source = _preset_file(preset)
    check_response_output(ir, str(ir))
    outputs = [ir] if len(places) < 2 else [_numbered(ir, i) for i in range(1, len(places) + 1)]
    check_outputs(outputs, [source] if source is not None else [], force=force)

    from fxstyle.cli._room_response import check_has_response, crosses_channels, cut, length_s

    count = 2 if channels == "stereo" else 1
    chain, notes = _chain(preset, source)
    check_has_response(chain, preset if source is not None else "the room")
    span_s = wanted_s or length_s(chain)
    made = _responses(chain, places, rate, count, span_s, wet_only, preset)
    if wanted_s is None:
        made = [cut(h) for h in made]
    if count == 2 and not places and crosses_channels(chain, rate):
        notes.append(
            "the chain mixes its channels, which a stereo response cannot tell: it is right for a sound that"
            " is the same on both"
        )
    files = []
    for path, h in zip(outputs, made, strict=True):
        write_response(path, h, rate, force=force)
        files.append({"file": str(path), "frames": h.shape[1], "peak_db": _peak_db(h)})
    if json:
        emit_json(
            {
                "command": "room export",
                "preset": preset,
                "rate_hz": rate,
                "channels": count,
                "files": files,
                "wet_only": wet_only,
                "notes": notes,
            }
        )
        return 0
    for path, h in zip(outputs, made, strict=True):
        emit(f"{path}  {h.shape[1] / rate:.2f} s, {rate} Hz, {channels}, peak {_peak_db(h):+.1f} dB")
    for note in notes:
        emit(f"Note: {note}")
    return 0


def _seconds(text: str) -> float | None:
    from fxstyle.responses import LONGEST_S

    if text == "auto":
        return None
    try:
        seconds = float(text)
    except ValueError:
        raise SettingError(f'--seconds {text}: write seconds, as in 2.5, or "auto"') from None
    if not LEAST_S <= seconds <= LONGEST_S:
        raise SettingError(f"--seconds {text} s is outside {LEAST_S:g}..{LONGEST_S:g} s")
    return seconds


def _position(text: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingError(f"--position {text}: write three lengths in metres, as in 2,3.5,1.6") from None
    return x, y, z


def _preset_file(text: str) -> Path | None:
    """Return the file that is meant, or None for a description."""
    path = Path(text)
    try:
        there = path.exists()
    except OSError:  # longer than a file's name can be
        return None
    if not there and path.suffix.lower() != ".json":
        return None
    check_inputs([path])
    if not is_preset(path):
        raise PresetError(
            f"{path} is no preset; of a recording's room or an impulse response, make one:"
            f" fxstyle room from-ir {path} --preset room.json"
        )
    return path


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}_{number}{path.suffix}")


def _chain(text: str, source: Path | None) -> tuple[Chain, list[str]]:
    """Return the chain of a preset, or of a room in words and what was assumed of it."""
    if source is not None:
        from fxstyle.presets import Preset

        return Preset.load(source).chain(), []

    from fxstyle.cli._room_described import chain_of
    from fxstyle.rooms.describe import parse

    try:
        room = parse(text)
    except SettingError as error:
        raise SettingError(f"there is no file {text!r}, and as a description: {error}") from None
    chain, held = chain_of(room)
    return chain, [*room.notes, *held]


def _responses(
    chain: Chain,
    places: list[tuple[float, float, float]],
    rate: int,
    channels: int,
    seconds: float,
    wet_only: bool,
    what: str,
) -> list[Samples]:
    from fxstyle.cli._room_positions import at_positions
    from fxstyle.cli._room_response import response_of, wet_of

    if places:
        return at_positions(chain, places, rate, channels, seconds, wet_only=wet_only)
    if wet_only:
        return [wet_of(chain, rate, channels, seconds, what)]
    return [response_of(chain, rate, channels, seconds)]


def _peak_db(h: Samples) -> float:
    import numpy as np

    from fxstyle.units import amplitude_to_db

    return float(amplitude_to_db(float(np.abs(h).max()), floor_db=LEAST_DB))
