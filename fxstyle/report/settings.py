"""The settings of a chain as HTML tables: value, unit, default, and where it lies in its range."""

from __future__ import annotations

from fxstyle.chain import Chain, Slot
from fxstyle.param import Param
from fxstyle.report.svg import text_of

_HEAD = (
    '<thead><tr><th scope="col">setting</th><th scope="col"></th><th scope="col" class="number">value</th>'
    '<th scope="col" class="number">default</th><th scope="col">range</th></tr></thead>'
)


def settings_html(chain: Chain) -> str:
    """Return a heading and a table for every slot of the chain."""
    if not chain.slots:
        return "<p>The chain is empty: the sound passes unchanged.</p>"
    return "\n".join(_slot(index, slot) for index, slot in enumerate(chain, start=1))


def _slot(index: int, slot: Slot) -> str:
    state = "bypassed" if slot.bypass else f"amount {100.0 * slot.amount:.0f} %"
    about = f'<span class="soft">{text_of(slot.effect.summary)}, {state}</span>'
    heading = f"<h3>{index}. {text_of(slot.name)} {about}</h3>"
    moved = [p for p in slot.effect.params if slot.settings[p.name] != p.default]
    still = [p for p in slot.effect.params if slot.settings[p.name] == p.default]
    parts = [heading]
    if moved:
        parts.append(_table(slot, moved))
    if still:
        count = f"{len(still)} setting{'s' if len(still) > 1 else ''} at the default"
        parts.append(f"<details><summary>{count}</summary>{_table(slot, still)}</details>")
    return "\n".join(parts)


def _table(slot: Slot, params: list[Param]) -> str:
    rows = "\n".join(_row(param, slot.settings[param.name]) for param in params)
    return f"<table>{_HEAD}<tbody>{rows}</tbody></table>"


def _row(param: Param, value: float) -> str:
    at, home = 100.0 * param.to_unit(value), 100.0 * param.to_unit(param.default)
    span = f"{param.format(param.low)} to {param.format(param.high)}"
    bar = (
        f'<div class="bar" title="{text_of(span)}"><i style="left:{home:.2f}%"></i>'
        f'<b style="left:{at:.2f}%"></b></div>'
    )
    return (
        f'<tr><td><code>{text_of(param.name)}</code></td><td class="soft">{text_of(param.help)}</td>'
        f'<td class="number">{text_of(param.format(value))}</td>'
        f'<td class="number soft">{text_of(param.format(param.default))}</td>'
        f'<td class="range">{bar}</td></tr>'
    )
