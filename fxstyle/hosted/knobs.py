"""A plugin's knobs as ours: what the numbers 0..1 that a host turns mean in the plugin's own words.

A plugin tells the text of a knob at any place r of 0..1. Read at equal steps these give the law

    linear   v = v_0 + (v_1 - v_0) r        log   v = v_0 (v_1 / v_0)^r

in the unit that the plugin shows, whichever fits all of them; where neither does, the knob keeps 0..1, and
its help says what the ends are. A knob of a few steps is a choice, by its texts.

The law is how the plugin turns; the scale of the Param is how the ear hears: frequencies and times over a
wide range are searched on a logarithmic scale whatever the plugin's law.

Left out is what no one turns for its sound: meters (a plugin's outputs, which no host automates), what the
plugin's framework knows of the host, and the choice of a program, which would turn all other knobs.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fxstyle.param import Param

MOST_KNOBS = 1000

_NUMBER = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*(\S{0,8})\s*")
_PROGRAMS = frozenset({"current_program", "program", "preset"})

_TAKEN = frozenset({"amount", "x", "rate", "state"})
"""The amount of a slot and the other arguments of an effect's functions."""

MOST_OFF = 2e-3
"""By how much of the range, or of the logarithm of its ends' ratio, a shown text may be off the law."""

COARSEST = 0.01
"""The last digit shown, as a share of the range, up to which texts may be off by half of it as well."""

WIDE = 20.0
"""Ratio of the ends of a range from which on frequencies and times are heard by their ratio."""

_DIGITS = 6
"""Digits of a range that a default has: plugins keep float32, and 9.99999931 ms of 100 is 10 ms."""

USUAL_SPREAD, BOOST_OR_CUT_DB = 0.25, 6.0
"""How far knobs are turned: as our own usually; but what boosts and cuts by some dB, whatever its range."""

_LONGEST_UNIT, _LONGEST_WORD = 8, 60


@dataclass(frozen=True)
class Knob:
    """A knob of a plugin: its name there, ours, and the law of its values from `first` to `last`."""

    key: str
    param: Param
    law: Literal["linear", "log"]
    first: float
    last: float

    def raw(self, value: float) -> float:
        """Return the plugin's 0..1 of a value."""
        if self.law == "log":
            r = math.log(value / self.first) / math.log(self.last / self.first)
        else:
            r = (value - self.first) / (self.last - self.first)
        return min(max(r, 0.0), 1.0)


def knobs_of(described: Sequence[Mapping[str, Any]]) -> tuple[Knob, ...]:
    """Return the knobs that can be turned, of all that worker.py tells about; raises ValueError."""
    found: list[Knob] = []
    taken: set[str] = set()
    for told in described[:MOST_KNOBS]:
        key, texts, stepped = str(told["name"]), [str(t) for t in told["texts"]], bool(told["stepped"])
        default = min(max(float(told["default"]), 0.0), 1.0)
        if key in _PROGRAMS or len(texts) < 2 or not (told["automatable"] or stepped):
            continue
        name = _named(key, taken)
        taken.add(name)
        title = _clean(str(told["title"]), _LONGEST_WORD)
        make = _choice if stepped else _continuous
        found.append(make(key, name, title, _clean(str(told["label"]), _LONGEST_UNIT), texts, default))
    return tuple(found)


def _named(key: str, taken: set[str]) -> str:
    name = re.sub(r"\W", "_", key, flags=re.ASCII).lower().strip("_")[:_LONGEST_WORD] or "knob"
    name = name if name[0].isalpha() else f"knob_{name}"
    name = f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name
    number, other = 1, name
    while other in taken:
        number += 1
        other = f"{name}_{number}"
    return other


def _clean(text: str, longest: int) -> str:
    return "".join(c for c in text if c.isprintable()).strip()[:longest].strip()


def _choice(key: str, name: str, title: str, unit: str, texts: list[str], default: float) -> Knob:
    words = [_word(text) for text in texts]
    if words == ["0", "1"]:
        words = ["off", "on"]
    if len(set(words)) < len(words) or not all(words):
        words = [f"{number}" for number in range(len(texts))]
    chosen = words[round(default * (len(words) - 1))]
    return Knob(key, Param.choice(name, tuple(words), chosen, title), "linear", 0.0, len(words) - 1.0)


def _word(text: str) -> str:
    found = _NUMBER.fullmatch(text)
    return f"{float(found[1]):g}{found[2]}" if found else _clean(text, _LONGEST_WORD)


def _continuous(key: str, name: str, title: str, label: str, texts: list[str], default: float) -> Knob:
    read = [_NUMBER.fullmatch(text) for text in texts]
    values = [float(found[1]) for found in read if found]
    units = {found[2] for found in read if found}
    law = _law(values, texts) if len(values) == len(texts) and len(units) == 1 else None
    if law is None:
        told = f"{title} (0 is {_word(texts[0])}, 1 is {_word(texts[-1])})"
        return Knob(key, Param(name, "", 0.0, 1.0, default, help=told), "linear", 0.0, 1.0)
    unit = label or _clean(units.pop(), _LONGEST_UNIT)
    first, last = values[0], values[-1]
    low, high = min(first, last), max(first, last)
    value = first * (last / first) ** default if law == "log" else first + (last - first) * default
    start = min(max(round(value, _DIGITS - math.ceil(math.log10(high - low))), low), high)
    by_ratio = law == "log" or (unit in {"Hz", "kHz", "ms", "s"} and low > 0.0 and high / low >= WIDE)
    both_ways = unit == "dB" and low < start < high
    spread = min(BOOST_OR_CUT_DB / (high - low), USUAL_SPREAD) if both_ways else USUAL_SPREAD
    scale: Literal["linear", "log"] = "log" if by_ratio else "linear"
    return Knob(key, Param(name, unit, low, high, start, scale, title, spread), law, first, last)


def _law(values: Sequence[float], texts: Sequence[str]) -> Literal["linear", "log"] | None:
    """Return which law the values at equal steps obey."""
    first, last, steps = values[0], values[-1], len(values) - 1
    if not all(map(math.isfinite, values)) or first == last:
        return None
    span = abs(last - first)
    digit = 10.0 ** -max(len(re.sub(r"[^0-9.]", "", text).partition(".")[2]) for text in texts)
    rounding = 0.5 * digit if digit <= COARSEST * span else 0.0
    line = (first + (last - first) * i / steps for i in range(steps + 1))
    if all(abs(v - w) <= MOST_OFF * span + rounding for v, w in zip(values, line, strict=True)):
        return "linear"
    if min(values) <= 0.0:
        return None
    wide = math.log(last / first)
    off = (abs(math.log(v / first) - wide * i / steps) - rounding / v for i, v in enumerate(values))
    return "log" if all(o <= MOST_OFF * abs(wide) for o in off) else None
