"""The head of a preset: whether a file is one, and of a version that can be read."""

from __future__ import annotations

from typing import Any

from fxstyle.errors import PresetError
from fxstyle.presets._text import shown

FORMAT = "fxstyle-preset"
VERSION = 1


def check_head(content: Any) -> None:
    """Refuse what is no preset, or one of another version, before complaining about its details."""
    if not isinstance(content, dict):
        raise PresetError(f"not a preset: expected an object {{...}}, found {shown(content)}")
    if content.get("format") != FORMAT:
        raise PresetError(
            f'format: {shown(content.get("format", "(missing)"))} is not "{FORMAT}": no fxstyle preset'
        )
    version = content.get("version", "(missing)")
    if version == str(VERSION):
        raise PresetError(
            f'version: "{VERSION}" is text; write the number {VERSION}, without quotation marks'
        )
    if isinstance(version, bool) or not isinstance(version, int) or version != VERSION:
        raise PresetError(
            f"version: {shown(version)} is not known; this program reads version {VERSION},"
            " so update fxstyle or save the preset again"
        )
