"""`fxstyle effects`: what there is to turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit_json, emit_table

if TYPE_CHECKING:
    from fxstyle.effect import Effect


def effects(name: str | None = None, /, *, json: Flag = False) -> int:
    """List the effects with their settings, units, ranges and defaults.

    Parameters
    ----------
    name
        Show only this effect.
    json
        Print the result as one JSON document.
    """
    from fxstyle.effects import all_effects, get

    chosen = all_effects() if name is None else (get(name),)
    if json:
        emit_json({"command": "effects", "effects": [_as_json(effect) for effect in chosen]})
        return 0
    for effect in chosen:
        rows = [
            (
                param.name,
                param.unit or "-",
                f"{param.low:g}",
                f"{param.high:g}",
                f"{param.default:g}",
                param.scale,
                param.help,
            )
            for param in effect.params
        ]
        emit_table(
            ("setting", "unit", ">from", ">to", ">default", "scale", "what it does"),
            rows,
            title=f"{effect.name}: {effect.summary}",
        )
    return 0


def _as_json(effect: Effect) -> dict[str, Any]:
    return {
        "name": effect.name,
        "summary": effect.summary,
        "settings": [
            {
                "name": param.name,
                "unit": param.unit,
                "low": param.low,
                "high": param.high,
                "default": param.default,
                "scale": param.scale,
                "help": param.help,
            }
            for param in effect.params
        ],
    }
