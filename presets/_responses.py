"""Impulse responses in presets: kept inside, so that one file is all there is to carry.

A setting names one by its word, "hall.wav#3f2a9c01"; under that word `responses` of the preset holds it as
FLAC in base64, which comes back to the bit. Written by hand, a setting may name a sound file beside the
preset.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from fxstyle import effects, responses
from fxstyle.errors import FxstyleError, PresetError, SettingError
from fxstyle.param import Param
from fxstyle.presets._fields import Record
from fxstyle.presets._text import address, shown


class StoredResponse(Record):
    """An impulse response as a preset holds it."""

    rate: Annotated[int, Field(gt=0)] = Field(description="in Hz")
    channels: Annotated[int, Field(ge=1, le=responses.MOST_CHANNELS)]
    flac: Annotated[str, Field(max_length=30_000_000)] = Field(
        description="24 bit FLAC in base64, the largest sample at full scale"
    )


MOST_SAMPLES = 2 * responses.MOST_SAMPLES
"""Of all responses of a preset."""


def stored(number: float) -> StoredResponse:
    """Return what a preset holds of the response of a number."""
    import soundfile

    found = responses.get(number)
    data = io.BytesIO()
    # libsndfile takes the upper 24 of 32 bits
    soundfile.write(data, found.samples.T << 8, found.rate, subtype="PCM_24", format="FLAC")
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return StoredResponse(rate=found.rate, channels=found.samples.shape[0], flac=text)


def restore(word: str, given: StoredResponse, room: int) -> int:
    """Add a preset's response of at most `room` samples to the library, and return how many it has.

    Raises ValueError saying what is wrong.
    """
    import soundfile

    name = word.rpartition("#")[0]
    try:
        data = base64.b64decode(given.flac, validate=True)
    except binascii.Error as error:
        raise ValueError(f"flac: not base64 ({error}); save the preset again") from None
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if (file.format, file.samplerate, file.channels) != ("FLAC", given.rate, given.channels):
                raise ValueError(
                    f"flac: holds {file.channels} channels of {file.format} at {file.samplerate} Hz, not"
                    f" {given.channels} of FLAC at {given.rate} Hz; save the preset again"
                )
            responses.check_size(name, file.channels, file.frames, file.samplerate)
            if file.frames * file.channels > room:
                raise ValueError(f"flac: a preset's responses have at most {MOST_SAMPLES} samples in all")
            samples = file.read(dtype="int32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"flac: cannot be read ({error}); save the preset again") from None
    except FxstyleError as error:
        raise ValueError(str(error)) from None
    try:
        found = responses.of_whole(name, np.ascontiguousarray(samples.T >> 8), given.rate)
        if found.word == word:
            responses.add(found)
    except FxstyleError as error:
        raise ValueError(str(error)) from None
    if found.word != word:
        raise ValueError(f"holds another response, {found.word}; name that one in the setting, or save again")
    return int(samples.size)


def beside(content: Any, folder: Path) -> Any:
    """Return a preset's content in which settings that name sound files in `folder` name their responses.

    Raises PresetError with the path of a setting whose file is not there or no response. What is wrong
    otherwise is left for the check of the whole preset.
    """
    places = content.get("chain") if isinstance(content, dict) else None
    if not isinstance(places, list):
        return content
    kept = content.get("responses")
    there = kept if isinstance(kept, dict) else {}
    chain = [_with_words(place, ("chain", i), folder, there) for i, place in enumerate(places)]
    return {**content, "chain": chain}


def _with_words(place: Any, where: tuple[str | int, ...], folder: Path, there: dict[str, Any]) -> Any:
    settings = place.get("settings") if isinstance(place, dict) else None
    if not isinstance(settings, dict):
        return place
    changed = {}
    for knob, setting in settings.items():
        param = _param(place.get("effect"), knob)
        value = setting.get("value") if isinstance(setting, dict) else setting
        if param is None or not isinstance(value, str) or value in param.choices or value in there:
            continue
        if responses.number_of(value) is None:
            word = _read(value, address((*where, "settings", knob)), folder, param)
            changed[knob] = {**setting, "value": word} if isinstance(setting, dict) else word
    return {**place, "settings": {**settings, **changed}}


def _param(effect: Any, knob: Any) -> Param | None:
    """Return a knob that takes responses, or None."""
    try:
        param = effects.get(effect).param(knob)
    except (SettingError, TypeError, AttributeError):
        return None
    return param if param.responses else None


def _read(name: str, where: str, folder: Path, param: Param) -> str:
    """Return the word of the response in the file of this name, without a folder, in `folder`."""
    if name != Path(name).name or name in {"", ".", ".."} or "\\" in name:
        raise PresetError(f"{where}: {shown(name)!r} is no plain file name; put the file beside the preset")
    path = folder / name
    if path.is_symlink():
        raise PresetError(f"{where}: {shown(name)!r} is a link; put the file itself beside the preset")
    if not path.is_file():
        raise PresetError(
            f"{where}: {shown(name)!r} is not {', '.join(param.choices)}, and there is no such sound file"
            " beside the preset; put it there"
        )
    try:
        return responses.get(responses.add(responses.read(path))).word
    except FxstyleError as error:
        raise PresetError(f"{where}: {error}") from None
