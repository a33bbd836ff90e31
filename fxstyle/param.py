"""A knob: its name, unit, range, default, and the map from its range to (0, 1) used by the fit.

    linear   u = (v - low) / (high - low)
    log      u = ln(v / low) / ln(high / low)

The map is monotonic and smooth, so that a step in u is a step of like size to the ear:
frequencies, times, ratios and Q are logarithmic; decibels are linear already.

A choice ("tanh", "tube") is a knob whose value is the number of a word, counted from 0: kernels and batches
work with the number, people and presets with the word. It has no gradient, so the fit leaves it alone.
A choice of an impulse response has words of its own and takes those of fxstyle/responses.py as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fxstyle import responses
from fxstyle.errors import SettingError

if TYPE_CHECKING:
    import torch

Scale = Literal["linear", "log"]


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or with a zero in it
        return False


@dataclass(frozen=True, slots=True)
class Param:
    """One knob of an effect, in physical units.

    Attributes
    ----------
    name: keyword of the effect's functions; carries its unit as a suffix (`threshold_db`).
    unit: how it is printed: "dB", "Hz", "ms", "s", ":1" (a ratio), "" (a pure number).
    low, high: the closed range of allowed values.
    default: the value of a new chain.
    scale: "linear", or "log" (needs low > 0).
    help: what turning it does, in an engineer's words.
    spread: how far engineers usually turn it from its default, as a share of the range (one standard
        deviation of the prior used by the fit).
    fitted: whether a fit turns it unasked; else only if it is given bounds. A choice is never fitted.
    stereo: whether it does nothing to a mono sound.
    choices: the words of a choice, in the order of their numbers; see `Param.choice`.
    responses: whether a choice takes impulse responses that were read from files as well.
    """

    name: str
    unit: str
    low: float
    high: float
    default: float
    scale: Scale = "linear"
    help: str = ""
    spread: float = 0.25
    fitted: bool = True
    choices: tuple[str, ...] = ()
    stereo: bool = False
    responses: bool = False

    @classmethod
    def choice(
        cls, name: str, choices: tuple[str, ...], default: str, help: str, *, responses: bool = False
    ) -> Param:
        """Return a knob that takes one of several words."""
        return cls(
            name,
            "",
            0.0,
            len(choices) - 1.0,
            float(choices.index(default)),
            help=help,
            fitted=False,
            choices=choices,
            responses=responses,
        )

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"Param name {self.name!r} is not an identifier")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"Param {self.name}: range {self.low}..{self.high} is empty or not finite")
        if not self.low <= self.default <= self.high:
            raise ValueError(f"Param {self.name}: default {self.default} outside {self.low}..{self.high}")
        if not self.spread > 0.0:
            raise ValueError(f"Param {self.name}: a spread must be positive, got {self.spread}")
        if self.scale == "log" and self.low <= 0.0:
            raise ValueError(f"Param {self.name}: a log scale needs low > 0, got {self.low}")
        if self.choices and (self.fitted or self.low != 0.0 or self.high != len(self.choices) - 1.0):
            raise ValueError(f"Param {self.name}: make a choice by Param.choice")

    def check(self, value: float | str, where: str = "") -> float:
        """Return `value` as a float if it is finite and in range, else raise SettingError.

        A choice takes one of its words, or the number of one.
        """
        address = f"{where}.{self.name}" if where else self.name
        if self.choices:
            number = self._number(value)
            if number is None:
                more = ", nor an impulse response that was read" if self.responses else ""
                raise SettingError(f"{address}: {value!r} is not one of {', '.join(self.choices)}{more}")
            return number
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SettingError(f"{address}: expected a number in {self._unit_text()}, got {value!r}")
        if not math.isfinite(value) or not self.low <= value <= self.high:
            raise SettingError(
                f"{address} = {f'{value:g} {self.unit}'.rstrip()} is outside"
                f" {self.low:g}..{self.high:g} {self._unit_text()};"
                " choose a value in that range"
            )
        return float(value)

    def read(self, text: str, where: str = "") -> float:
        """Return the value that a user wrote: a number without its unit, or a word of a choice.

        Raises SettingError as `check` does, and where the text is no number.
        """
        if self.choices:
            if self.responses and self._number(text) is None and _is_file(text):
                return float(responses.add(responses.read(text)))
            return self.check(text, where)
        try:
            number = float(text)
        except ValueError:
            address = f"{where}.{self.name}" if where else self.name
            raise SettingError(
                f"{address}: {text!r} is not a number; give it in {self.unit or 'plain numbers'}"
                " without the unit"
            ) from None
        return self.check(number, where)

    def admits(self, number: float) -> bool:
        """Whether it is the number of a word of this choice."""
        return number in range(len(self.choices)) or (self.responses and responses.known(number))

    def _number(self, value: float | str) -> float | None:
        """Return the number of a word, or of a number, of this choice."""
        if isinstance(value, str):
            if value in self.choices:
                return float(self.choices.index(value))
            number = responses.number_of(value) if self.responses else None
            return None if number is None else float(number)
        return float(value) if not isinstance(value, bool) and self.admits(value) else None

    def _unit_text(self) -> str:
        return self.unit or "(no unit)"

    def format(self, value: float) -> str:
        """`value` with its unit, as people read it: 3.5 kHz, 120 ms, -18.0 dB, 4.0:1, tube."""
        if self.choices:
            return self._word(value)
        if self.unit == "Hz":
            return f"{value / 1000.0:.3g} kHz" if value >= 1000.0 else f"{value:.3g} Hz"
        if self.unit == "dB":
            return f"{value:+.1f} dB"
        if self.unit == ":1":
            return f"{value:.2f}:1"
        number = f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
        return f"{number} {self.unit}".strip()

    def written(self, value: float) -> float | str:
        """Return what a preset holds: the number, or the word of a choice."""
        return self._word(value) if self.choices else value

    def _word(self, value: float) -> str:
        number = round(value)
        return self.choices[number] if number < len(self.choices) else responses.get(number).word

    def to_unit(self, value: float) -> float:
        """Map a physical value to u in [0, 1]."""
        if self.scale == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, u: torch.Tensor) -> torch.Tensor:
        """Map u in [0, 1], any shape, to physical values of the same shape; differentiable."""
        if self.scale == "log":
            return self.low * (u * math.log(self.high / self.low)).exp()
        return self.low + u * (self.high - self.low)
