"""Presets: settings a person can read, change, apply to other recordings and take elsewhere."""

from __future__ import annotations

from fxstyle.presets._fields import safe_name
from fxstyle.presets.of_match import preset_of_match
from fxstyle.presets.schema import (
    Place,
    Preset,
    Provenance,
    Recording,
    Score,
    Setting,
    json_schema,
)

__all__ = [
    "Place",
    "Preset",
    "Provenance",
    "Recording",
    "Score",
    "Setting",
    "json_schema",
    "preset_of_match",
    "safe_name",
]
