"""`fxstyle effects`: what there is to turn, and what one effect does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fxstyle.cli._options import Flag, Texts
from fxstyle.cli._output import emit, emit_json, emit_paragraph, emit_table, remark
from fxstyle.errors import SettingError

if TYPE_CHECKING:
    from fxstyle.effect import Effect


def effects(
    name: str | None = None,
    /,
    *,
    plot: Annotated[Path | None, Parameter(show_default=False)] = None,
    set: Texts = (),
    force: Flag = False,
    json: Flag = False,
) -> int:
    """List the effects, or explain one: its equation, settings, and the programs that compute the same.

    Parameters
    ----------
    name
        Explain only this effect, or a plugin of another maker: plugin:/usr/lib/vst3/ZamComp.vst3.
    plot
        Draw what the effect does into this SVG file: response, level curve, gain over time, harmonics.
    set
        A setting for the plot other than its default, such as ratio=8 or compressor.ratio=8; may be given
        again.
    force
        Overwrite an existing plot.
    json
        Print the result as one JSON document.
    """
    from fxstyle.effects import all_effects
    from fxstyle.hosted.plugin import kind

    if name is None:
        if plot is not None or set or force:
            raise SettingError(
                "--plot, --set and --force are about one effect: name it, as in fxstyle effects eq"
            )
        if json:
            emit_json({"command": "effects", "effects": [_as_json(effect) for effect in all_effects()]})
        for effect in () if json else all_effects():
            _emit_settings(effect)
        return 0
    effect = kind(name)
    settings = {**effect.defaults(), **_given(effect, set)}
    if plot is None and (set or force):
        raise SettingError(f"{'--set' if set else '--force'} is for the plot: add --plot FILE.svg")
    if plot is not None:
        _draw(effect, settings, plot, force)
    if json:
        emit_json({"command": "effects", "effects": [_as_json(effect)]})
        return 0
    emit(f"{effect.name}: {effect.summary}")
    emit()
    for line in effect.explanation.splitlines():
        emit(f"    {line}".rstrip())
    emit()
    _emit_settings(effect)
    emit("The same elsewhere:" if effect.hosts else "No other program is known to compute the same.")
    for host, terms in effect.hosts.items():
        emit_paragraph(f"{host}: {terms}")
    return 0


def _given(effect: Effect, texts: tuple[str, ...]) -> dict[str, float]:
    """Read --set KNOB=VALUE or EFFECT.KNOB=VALUE against the effect's knobs."""
    found: dict[str, float] = {}
    for text in texts:
        address, _, value = (part.strip() for part in text.partition("="))
        owner, dot, knob = address.rpartition(".")
        if not knob or not value:
            example = effect.params[0]
            raise SettingError(f"--set {text}: write KNOB=VALUE, as in {example.name}={example.default:g}")
        if dot and owner != effect.name:
            raise SettingError(
                f"--set {text}: the plot is of {effect.name}, so write {effect.name}.KNOB=VALUE"
            )
        if knob in found:
            raise SettingError(f"--set {text}: {knob} is given twice; give one value")
        try:
            found[knob] = effect.param(knob).read(value, effect.name)
        except SettingError as error:
            raise SettingError(f"--set {text}: {error}") from None
    return found


def _draw(effect: Effect, settings: dict[str, float], path: Path, force: bool) -> None:
    from fxstyle.files import check_writable, write_text
    from fxstyle.report.response import picture

    if path.suffix.lower() != ".svg":
        raise SettingError(f"--plot {path}: the picture is an SVG file; name it something.svg")
    check_writable(path, force=force)
    write_text(path, picture(effect, settings), force=force)
    remark(f"{path}: what {effect.name} does at these settings")


def _emit_settings(effect: Effect) -> None:
    rows = [
        (
            param.name,
            param.unit or "-",
            "" if param.choices else f"{param.low:g}",
            "" if param.choices else f"{param.high:g}",
            param.format(param.default) if param.choices else f"{param.default:g}",
            "choice" if param.choices else param.scale,
            f"{param.help} ({', '.join(param.choices)})" if param.choices else param.help,
        )
        for param in effect.params
    ]
    emit_table(
        ("setting", "unit", ">from", ">to", ">default", "scale", "what it does"),
        rows,
        title=f"{effect.name}: {effect.summary}",
    )


def _as_json(effect: Effect) -> dict[str, Any]:
    return {
        "name": effect.name,
        "summary": effect.summary,
        "explanation": effect.explanation,
        "linear": effect.linear,
        "time_invariant": effect.time_invariant,
        "hosts": dict(effect.hosts),
        "settings": [
            {
                "name": param.name,
                "unit": param.unit,
                "low": param.written(param.low),
                "high": param.written(param.high),
                "default": param.written(param.default),
                "choices": list(param.choices),
                "scale": param.scale,
                "fitted": param.fitted,
                "help": param.help,
            }
            for param in effect.params
        ],
    }
