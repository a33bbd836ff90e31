"""The preset: a chain with its settings in physical units, and where they came from, as JSON.

    {"format": "fxstyle-preset", "version": 1, "name": "...", "description": "...",
     "chain": [{"effect": "compressor", "name": "compressor", "amount": 1.0, "bypass": false,
                "settings": {"threshold_db": {"value": -18.0, "unit": "dB"}, ...}}, ...],
     "provenance": {"program": "fxstyle 0.1.0", "created": "2026-01-31T12:00:00+00:00", ...},
     "responses": {"hall.wav#3f2a9c01": {"rate": 48000, "channels": 2, "flac": "..."}}}

Numbers are written with the shortest text that reads back to the same float64 (Python's `repr`), so
a chain survives save and load to the bit.

Written by hand, a preset needs only what differs from a new chain:

    {"format": "fxstyle-preset", "version": 1,
     "chain": [{"effect": "compressor", "settings": {"threshold_db": -24, "ratio": 4}}]}

What is left out is filled in on loading: names, amounts, every other setting, and the units, for a knob has
but one. Everything that is there must be known, of the right kind, in its unit and in range, or the whole
file is refused with the path of the first offending field.

`preset.schema.json` beside this file is the JSON Schema (draft 2020-12) of the structure.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fxstyle import responses
from fxstyle.chain import AMOUNT, MOST_SLOTS, Chain, Slot
from fxstyle.effect import Effect
from fxstyle.errors import FxstyleError, PresetError, SettingError
from fxstyle.files import write_text
from fxstyle.param import Param
from fxstyle.presets._fields import Name, Number, Record, Sha256, Text, Time, Value
from fxstyle.presets._head import check_head
from fxstyle.presets._plugins import StoredPlugin, effect_of
from fxstyle.presets._plugins import stored as stored_plugin
from fxstyle.presets._responses import MOST_SAMPLES, StoredResponse, beside, restore, stored
from fxstyle.presets._text import address, as_written, parse_json, read_json, shown
from fxstyle.presets._words import in_words


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, by which it can be told again whatever its name."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _without_default(schema: dict[str, Any]) -> None:
    """Drop a default that stands for nothing and is filled in."""
    schema.pop("default", None)


class Setting(Record):
    """One knob's value and the unit it is in."""

    value: Value = Field(description="a number in its unit, or the word of a choice")
    unit: Annotated[str, Field(max_length=8)] = Field(
        default="",
        description='"dB", "Hz", "ms", "s", ":1" or ""; by default the knob\'s own',
        json_schema_extra=_without_default,
    )


def _setting(given: Any) -> Any:
    """Take a bare number or word for the value of a setting."""
    return given if isinstance(given, (dict, Setting)) else {"value": given}


AnySetting = Annotated[
    Setting,
    BeforeValidator(
        _setting, json_schema_input_type=Setting | float | bool | Annotated[str, Field(max_length=64)]
    ),
]


class Place(Record):
    """One effect in the chain."""

    effect: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = Field(description="kind of effect")
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = Field(
        default="",
        description="name in this chain, once only; by default that of the effect: eq, eq_2",
        json_schema_extra=_without_default,
    )
    amount: Annotated[Number, Field(ge=AMOUNT.low, le=AMOUNT.high)] = Field(
        default=AMOUNT.default, description=AMOUNT.help
    )
    bypass: bool = False
    settings: dict[str, AnySetting] = Field(
        default={}, description="by knob; a missing one takes its default"
    )
    plugin: StoredPlugin | None = Field(
        default=None, description="of another maker, where the effect is none of this program"
    )

    @property
    def kind(self) -> Effect:
        """Return the effect that stands here."""
        return effect_of(self.effect, self.plugin)


class Recording(Record):
    """A file that took part in the match."""

    name: Name = Field(description="file name without its folder")
    sha256: Sha256 | None = Field(default=None, description="of the file's bytes")
    rate: Annotated[int, Field(gt=0)] | None = Field(default=None, description="sample rate in Hz")
    channels: Annotated[int, Field(gt=0)] | None = None
    duration_s: Annotated[Number, Field(ge=0.0)] | None = None


class Score(Record):
    """What the judge said: distances to the reference, smaller is closer."""

    before: Number
    after: Number
    accepted: bool
    amount: Annotated[Number, Field(ge=0.0, le=1.0)] = 1.0
    message: Text = ""


class Likely(Record):
    """What a setting could be as well: one standard deviation to either side, in its unit."""

    setting: Annotated[str, Field(max_length=160)] = Field(description="slot.knob")
    low: Number
    high: Number
    identified: bool = Field(description="whether the recordings say more of it than an engineer's habit")


class Provenance(Record):
    """Where the settings came from; every field may be absent."""

    program: Text | None = None
    created: Time | None = None
    input: Recording | None = None
    reference: Annotated[tuple[Recording, ...], Field(strict=False, max_length=1000)] = ()
    text: Text | None = Field(default=None, description="what was asked for in words")
    understood: Annotated[tuple[Text, ...], Field(strict=False, max_length=200)] | None = Field(
        default=None, description="how the text was understood, word by word"
    )
    reached: Annotated[tuple[Text, ...], Field(strict=False, max_length=50)] | None = Field(
        default=None, description="changes that the text asked for, as measured of the output"
    )
    seed: int | None = None
    quality: Literal["draft", "standard", "best"] | None = None
    seconds: Annotated[Number, Field(ge=0.0)] | None = Field(default=None, description="time the fit took")
    score: Score | None = None
    likely: Annotated[tuple[Likely, ...], Field(strict=False, max_length=1000)] = Field(
        default=(), description="how sure the fit was of its settings"
    )
    settings_sha256: Sha256 | None = Field(
        default=None, description="of the settings that all this is about; others were changed since"
    )
    notes: Annotated[tuple[Text, ...], Field(strict=False, max_length=100)] = ()


class Preset(Record):
    """A chain with its settings and their provenance; checks itself against the effects there are."""

    model_config = ConfigDict(
        title="fxstyle preset", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    format: Literal["fxstyle-preset"] = "fxstyle-preset"
    version: Literal[1] = 1
    name: Name = ""
    description: Text = ""
    places: Annotated[tuple[Place, ...], Field(strict=False, max_length=MOST_SLOTS)] = Field(
        alias="chain", description="effects in the order the sound passes them"
    )
    provenance: Provenance = Provenance()
    responses: dict[Name, StoredResponse] = Field(
        default={},
        max_length=MOST_SLOTS,
        description="impulse responses, by the word that settings call them",
    )

    @model_validator(mode="after")
    def _check_and_fill(self) -> Self:
        # what no setting names is left alone, and left out
        named = {str(setting.value) for place in self.places for setting in place.settings.values()}
        room = MOST_SAMPLES
        for word, given in self.responses.items():
            if word not in named:
                continue
            try:
                room -= restore(word, given, room)
            except ValueError as error:
                raise ValueError(f"{address(('responses', word))}.{error}") from None
        taken: set[str] = set()
        for index, place in enumerate(self.places):
            where = address(("chain", index))
            if place.name and place.name in taken:
                raise ValueError(
                    f"{where}.name: {place.name!r} is taken by an earlier effect; rename one, or leave it out"
                )
            taken.add(place.name)
            try:
                effect = place.kind
            except SettingError as error:
                raise ValueError(f"{where}.effect: {error}") from None
            except ValueError as error:
                raise ValueError(f"{where}.plugin.{error}") from None
            for knob, setting in place.settings.items():
                _check_setting(f"{where}.settings.{shown(knob)}", effect, knob, setting)
        about = self.provenance
        told = about.settings_sha256 == self.settings_sha256()
        filled = []
        for place in self.places:
            name, count = place.name or place.effect, 1
            while not place.name and name in taken:
                count += 1
                name = f"{place.effect}_{count}"
            taken.add(name)
            filled.append(_filled(place, name))
        # The record is frozen for all but its own construction.
        object.__setattr__(self, "places", tuple(filled))
        object.__setattr__(self, "responses", _used(filled, self.responses))
        if told:
            # A knob that came later, at its default, is no change of what the story is about.
            digest = {"settings_sha256": self.settings_sha256()}
            object.__setattr__(self, "provenance", about.model_copy(update=digest))
        return self

    def settings_sha256(self) -> str:
        """Return a digest of all that makes the sound: effects, their order, amounts, bypass and settings."""
        sound = [
            [
                p.effect,
                p.amount,
                p.bypass,
                {knob: s.value for knob, s in p.settings.items()},
                *([] if p.plugin is None else [p.plugin.path, p.plugin.state]),
            ]
            for p in self.places
        ]
        return hashlib.sha256(json.dumps(sound, sort_keys=True, allow_nan=False).encode()).hexdigest()

    @property
    def edited(self) -> bool:
        """Whether the settings are other than those that the provenance tells about."""
        told = self.provenance.settings_sha256
        return told is not None and told != self.settings_sha256()

    @classmethod
    def from_chain(
        cls, chain: Chain, *, name: str = "", description: str = "", provenance: Provenance | None = None
    ) -> Self:
        """Write down a chain, every setting included."""
        places = tuple(
            Place(
                effect=slot.effect.name,
                name=slot.name,
                amount=slot.amount,
                bypass=slot.bypass,
                settings={
                    p.name: Setting(value=p.written(slot.settings[p.name]), unit=p.unit)
                    for p in slot.effect.params
                },
                plugin=stored_plugin(slot),
            )
            for slot in chain
        )
        return cls(name=name, description=description, places=places, provenance=provenance or Provenance())

    def chain(self) -> Chain:
        """Return the chain that the preset describes."""
        return Chain(
            tuple(
                Slot(
                    effect=place.kind,
                    settings={
                        knob: place.kind.param(knob).check(setting.value)
                        for knob, setting in place.settings.items()
                    },
                    amount=place.amount,
                    bypass=place.bypass,
                    name=place.name,
                )
                for place in self.places
            )
        )

    def to_json(self) -> str:
        """Return the preset as indented JSON; each number reads back to the same float64."""
        content = self.model_dump(mode="json", exclude_none=True)
        if not self.responses:
            del content["responses"]
        if self.provenance is not None and not self.provenance.likely:
            del content["provenance"]["likely"]
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a preset from JSON text; raises PresetError with the path of the offending field."""
        # A lone surrogate cannot be encoded; as a replacement byte it fails the UTF-8 check by position.
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        return cls._validated(parse_json(data))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a preset file; raises PresetError naming the file and the offending field."""
        source = Path(path)
        content = read_json(source)
        try:
            return cls._validated(beside(content, source.parent))
        except PresetError as error:
            raise PresetError(f"{source}: {error}") from None

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the preset, whole or not at all; an existing file only with `force`. Raises PresetError."""
        try:
            write_text(Path(path), self.to_json(), force=force)
        except FxstyleError as error:
            raise PresetError(str(error)) from error

    @classmethod
    def _validated(cls, content: Any) -> Self:
        check_head(content)
        try:
            # Only the names of the file format are accepted from a file, not those of the Python model.
            return cls.model_validate(content, by_alias=True, by_name=False)
        except ValidationError as error:
            raise PresetError(in_words(error, content, _FIELDS)) from None


def _check_setting(where: str, effect: Effect, knob: str, setting: Setting) -> None:
    try:
        param: Param = effect.param(knob)
    except SettingError as error:
        raise ValueError(f"{where}: {shown(str(error), 400)}") from None
    if "unit" in setting.model_fields_set and setting.unit != param.unit:
        raise ValueError(
            f"{where}.unit: {shown(setting.unit)!r} is not the unit of {knob};"
            f" convert the value and write {param.unit!r}"
        )
    # Where nothing but a value was given it may have been a bare one, which has no field of its own.
    where += ".value" if "unit" in setting.model_fields_set else ""
    value = _word(param, setting.value)
    if param.choices or isinstance(value, (str, bool)):
        named = isinstance(value, str) and param.responses and responses.number_of(value) is not None
        if value not in param.choices and not named:
            allowed = ", ".join(param.choices) or f"a number from {param.low:g} to {param.high:g}"
            raise ValueError(f"{where}: {as_written(setting.value)} is not {allowed}")
    elif not param.low <= value <= param.high:
        raise ValueError(f"{where}: {value:g} outside {param.low:g}..{param.high:g} {param.unit}".rstrip())


def _word(param: Param, value: float | str) -> float | str:
    """Return the word of a choice that true, false or a number such as 24 stands for; else the value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        word = "on" if value else "off"
        return word if word in param.choices else value
    return next((word for word in param.choices if word == f"{value:g}"), value)


def _filled(place: Place, name: str) -> Place:
    """Return the place with its name, its units, and every setting of its effect in the effect's order."""
    settings = {}
    for param in place.kind.params:
        given = place.settings.get(param.name)
        value = param.written(param.default) if given is None else _word(param, given.value)
        settings[param.name] = Setting(value=value, unit=param.unit)
    return place.model_copy(update={"name": name, "settings": settings})


def _used(places: list[Place], there: dict[str, StoredResponse]) -> dict[str, StoredResponse]:
    """Return the responses that settings name, those of `there` as they are."""
    used = {}
    for place in places:
        for param in place.kind.params:
            word = place.settings[param.name].value
            number = responses.number_of(str(word)) if param.responses else None
            if number is not None:
                used[str(word)] = there.get(str(word)) or stored(number)
    return used


def _names(record: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in record.model_fields.items())


_FIELDS = {
    "": _names(Preset),
    "chain": _names(Place),
    "settings": _names(Setting),
    "provenance": _names(Provenance),
    "input": _names(Recording),
    "reference": _names(Recording),
    "score": _names(Score),
    "responses": _names(StoredResponse),
    "plugin": _names(StoredPlugin),
}
"""The fields of the objects of a preset, by what they stand under."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a preset file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Preset.model_json_schema(by_alias=True),
        # Whoever reads a file must know what it is: both have defaults in Python only.
        "required": ["format", "version", "chain"],
    }


def schema_text() -> str:
    """Return the text of preset.schema.json; `python -m fxstyle.presets` prints it."""
    return json.dumps(json_schema(), indent=2) + "\n"
