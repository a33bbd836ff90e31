"""The settings of a chain as HTML tables: value, unit, default, and where it lies in its range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fxstyle.chain import Chain, Slot
from fxstyle.param import Param
from fxstyle.report.svg import text_of

_HEAD = (
    '<thead><tr><th scope="col">setting</th><th scope="col"></th><th scope="col" class="number">value</th>'
    '<th scope="col" class="number">default</th><th scope="col">range</th></tr></thead>'
)


class Sure(Protocol):
    """What a setting could be as well, as far as it is shown."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def shown(self) -> str: ...
    @property
    def identified(self) -> bool: ...


def settings_html(chain: Chain, likely: Mapping[str, Sure] | None = None) -> str:
    """Return a heading and a table for every slot of the chain; `likely` by address, where it is known."""
    if not chain.slots:
        return "<p>The chain is empty: the sound passes unchanged.</p>"
    return "\n".join(_slot(index, slot, likely or {}) for index, slot in enumerate(chain, start=1))


def _slot(index: int, slot: Slot, likely: Mapping[str, Sure]) -> str:
    state = "bypassed" if slot.bypass else f"amount {100.0 * slot.amount:.0f} %"
    about = f'<span class="soft">{text_of(slot.effect.summary)}, {state}</span>'
    heading = f"<h3>{index}. {text_of(slot.name)} {about}</h3>"
    moved = [p for p in slot.effect.params if slot.settings[p.name] != p.default]
    still = [p for p in slot.effect.params if slot.settings[p.name] == p.default]
    parts = [heading]
    if moved:
        parts.append(_table(slot, moved, likely))
    if still:
        count = f"{len(still)} setting{'s' if len(still) > 1 else ''} at the default"
        parts.append(f"<details><summary>{count}</summary>{_table(slot, still, likely)}</details>")
    return "\n".join(parts)


def _table(slot: Slot, params: list[Param], likely: Mapping[str, Sure]) -> str:
    rows = "\n".join(
        _row(param, slot.settings[param.name], likely.get(f"{slot.name}.{param.name}")) for param in params
    )
    return f"<table>{_HEAD}<tbody>{rows}</tbody></table>"


def _row(param: Param, value: float, sure: Sure | None) -> str:
    at, home = 100.0 * param.to_unit(value), 100.0 * param.to_unit(param.default)
    span = f"{param.format(param.low)} to {param.format(param.high)}"
    band = ""
    if sure is not None:
        span += f", likely {sure.shown}" + ("" if sure.identified else " (hardly told)")
        low, high = 100.0 * param.to_unit(sure.low), 100.0 * param.to_unit(sure.high)
        kind = "" if sure.identified else ' class="unsure"'
        band = f'<s{kind} style="left:{low:.2f}%;width:{high - low:.2f}%"></s>'
    bar = (
        f'<div class="bar" title="{text_of(span)}">{band}<i style="left:{home:.2f}%"></i>'
        f'<b style="left:{at:.2f}%"></b></div>'
    )
    return (
        f'<tr><td><code>{text_of(param.name)}</code></td><td class="soft">{text_of(param.help)}</td>'
        f'<td class="number">{text_of(param.format(value))}</td>'
        f'<td class="number soft">{text_of(param.format(param.default))}</td>'
        f'<td class="range">{bar}</td></tr>'
    )
