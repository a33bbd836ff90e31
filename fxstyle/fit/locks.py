"""What the user has already decided: "compressor.ratio=4", "compressor.ratio<=4", "reverb=off"."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from fxstyle.chain import Chain
from fxstyle.errors import SettingError

_LOCK = re.compile(r"^\s*(?P<address>[A-Za-z_]\w*(?:\.\w+)?)\s*(?P<sign><=|>=|=)\s*(?P<value>\S+)\s*$")


@dataclass(frozen=True)
class Locks:
    """Limits on the settings of a chain, in physical units, by address.

    Attributes
    ----------
    fixed: settings that the fit leaves at a value.
    low, high: bounds inside the knob's own range.
    off: slots left out.
    """

    fixed: Mapping[str, float] = field(default_factory=dict)
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    off: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str], chain: Chain, absent: Collection[str] = ()) -> Locks:
        """Read lock texts against `chain`; raises SettingError naming the text and the remedy.

        absent: slots that there could be and are not. To switch one of them off asks for nothing.
        """
        fixed: dict[str, float] = {}
        low: dict[str, float] = {}
        high: dict[str, float] = {}
        off: set[str] = set()
        for text in texts:
            found = _LOCK.match(text)
            if found is None:
                raise SettingError(
                    f"cannot read the lock {text!r}; write SLOT.KNOB=NUMBER, SLOT.KNOB<=NUMBER,"
                    " SLOT.KNOB>=NUMBER or SLOT=off, for example compressor.ratio<=4"
                )
            address, sign, value = found["address"], found["sign"], found["value"]
            slot_name, _, knob = address.partition(".")
            there = any(slot.name == slot_name for slot in chain)
            if not there and slot_name in absent and sign == "=" and _is_off(knob, value):
                continue
            if not knob and (sign, value) != ("=", "off"):
                raise SettingError(f"lock {text!r}: a whole effect can only be switched off: {address}=off")
            try:
                if not knob:
                    off.add(chain.slot(slot_name).name)
                    continue
                param = chain.param(address)
                number = param.read(value, slot_name)
            except SettingError as error:
                raise SettingError(f"lock {text!r}: {error}") from None
            if param.choices and sign != "=":
                raise SettingError(
                    f"lock {text!r}: a choice has no bounds; write {address}={param.choices[0]}"
                )
            if address.endswith(".amount") and sign != "=":
                raise SettingError(f"lock {text!r}: an amount is not fitted; give it with {address}=NUMBER")
            side = {"=": fixed, "<=": high, ">=": low}[sign]
            if address in side:
                raise SettingError(f"lock {text!r}: {address} already has {sign}{side[address]:g}; give one")
            side[address] = number
        for address in low.keys() & high.keys():
            if low[address] > high[address]:
                raise SettingError(
                    f"locks leave nothing for {address}:"
                    f" at least {low[address]:g} and at most {high[address]:g}"
                )
        for address, number in fixed.items():
            if not low.get(address, number) <= number <= high.get(address, number):
                raise SettingError(f"locks contradict each other: {address}={number:g} is outside its bounds")
        return cls(fixed, low, high, frozenset(off))

    def idle(self, chain: Chain) -> tuple[str, ...]:
        """Return a note on each locked setting that does not count at the settings of `chain`."""
        locked = {*self.fixed, *self.low, *self.high}
        return tuple(
            f"{slot.name}.{knob} does not count at these settings: its lock changes nothing"
            for slot in chain
            for knob in slot.effect.idle(slot.settings)
            if f"{slot.name}.{knob}" in locked
        )


def _is_off(knob: str, value: str) -> bool:
    """Whether SLOT=value or SLOT.knob=value switches an effect off."""
    if not knob:
        return value == "off"
    try:
        return knob == "amount" and float(value) == 0.0
    except ValueError:
        return False
