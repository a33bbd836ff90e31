"""A chain: effects in an order, each with settings, an amount and a bypass switch.

    y_0 = x,   y_i = d_i(y_{i-1}) + a_i (f_i(y_{i-1}) - d_i(y_{i-1})),   a_i in (0, 1]

d is the identity, but for effects that turn the phase even of what they leave alone (`Effect.dry`). Amount 0
and bypass are the identity to the bit. The effect is not run at all, unless the amount is a tensor.

A setting's address is `slot.knob`, for example `compressor.ratio`; the amount is `slot.amount`.
A slot is named after its effect; a second one of a kind is `eq_2`, a third `eq_3`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from fxstyle import effects
from fxstyle.effect import Effect
from fxstyle.errors import SettingError, remedy
from fxstyle.param import Param

if TYPE_CHECKING:
    import torch

AMOUNT = Param("amount", "", 0.0, 1.0, default=1.0, help="share of the effect in the output: 0 none, 1 all")

MOST_SLOTS = 64
"""More effects in a row than anyone has use for are a mistake or an attack."""


@dataclass(frozen=True)
class Slot:
    """One effect in a chain, with settings in physical units (missing ones take their default)."""

    effect: Effect
    settings: Mapping[str, float] = field(default_factory=dict)
    amount: float = 1.0
    bypass: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        name = self.name or self.effect.name
        object.__setattr__(self, "name", name)
        given = {k: self.effect.param(k).check(v, name) for k, v in self.settings.items()}
        object.__setattr__(self, "settings", {**self.effect.defaults(), **given})
        object.__setattr__(self, "amount", AMOUNT.check(self.amount, name))

    @property
    def active(self) -> bool:
        """Whether the slot changes the sound at all."""
        return not self.bypass and self.amount > 0.0


@dataclass(frozen=True)
class Chain:
    """An ordered tuple of slots with distinct names."""

    slots: tuple[Slot, ...] = ()

    def __post_init__(self) -> None:
        if len(self.slots) > MOST_SLOTS:
            raise SettingError(f"a chain of {len(self.slots)} effects is too long; the most is {MOST_SLOTS}")
        taken: set[str] = set()
        slots = []
        for slot in self.slots:
            name, count = slot.name, 1
            while name in taken:
                count += 1
                name = f"{slot.effect.name}_{count}"
            taken.add(name)
            slots.append(slot if name == slot.name else replace(slot, name=name))
        object.__setattr__(self, "slots", tuple(slots))

    @classmethod
    def parse(cls, text: str) -> Chain:
        """Build a chain at its defaults from "eq, plugin:path/to.vst3, reverb".

        The text is the user's own: plugins that it names are loaded. Raises SettingError, PluginError.
        """
        from fxstyle.hosted.plugin import kind

        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise SettingError(
                f"chain {text!r} has an empty place; write effects separated by commas, as in"
                f' "eq,compressor,reverb". There are {", ".join(effects.names())}'
            )
        return cls(tuple(Slot(kind(word)) for word in words))

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots)

    def __len__(self) -> int:
        return len(self.slots)

    def slot(self, name: str) -> Slot:
        """Return the slot `name`, or raise SettingError listing those there are."""
        for slot in self.slots:
            if slot.name == name:
                return slot
        there = [slot.name for slot in self.slots]
        raise SettingError(
            f"the chain has no {name!r}"
            + remedy(name, there, lead="it has", listed=", ".join(there) or "no effects")
        )

    def param(self, address: str) -> Param:
        """Return the knob at `slot.knob` or `slot.amount`; raises SettingError."""
        slot_name, _, knob = address.partition(".")
        slot = self.slot(slot_name)
        if not knob:
            raise SettingError(
                f"{address!r} names a slot; write {slot_name}.KNOB, for example"
                f" {slot_name}.{slot.effect.params[0].name}"
            )
        return AMOUNT if knob == AMOUNT.name else slot.effect.param(knob, besides=(AMOUNT.name,))

    def settings(self) -> dict[str, float]:
        """Return every setting by address, amounts included."""
        out: dict[str, float] = {}
        for slot in self.slots:
            out |= {f"{slot.name}.{k}": v for k, v in slot.settings.items()}
            out[f"{slot.name}.amount"] = slot.amount
        return out

    def with_settings(self, settings: Mapping[str, float]) -> Chain:
        """Return a chain in which the addressed settings have changed; raises SettingError."""
        changed: dict[str, dict[str, float]] = {}
        for address, value in settings.items():
            self.param(address)
            slot_name, _, knob = address.partition(".")
            changed.setdefault(slot_name, {})[knob] = value
        slots = []
        for slot in self.slots:
            knobs = dict(changed.get(slot.name, {}))
            amount = knobs.pop("amount", slot.amount)
            slots.append(replace(slot, settings={**slot.settings, **knobs}, amount=amount))
        return Chain(tuple(slots))

    def without(self, name: str) -> Chain:
        """Return the chain less one slot."""
        self.slot(name)
        return Chain(tuple(s for s in self.slots if s.name != name))

    def scaled(self, amount: float) -> Chain:
        """Return the chain with every slot's amount multiplied by `amount` in [0, 1]."""
        AMOUNT.check(amount, "chain")
        return Chain(tuple(replace(s, amount=s.amount * amount) for s in self.slots))

    def forward(
        self,
        x: torch.Tensor,
        rate: float,
        settings: Mapping[str, torch.Tensor] | None = None,
        *,
        checkpoint: bool = False,
    ) -> torch.Tensor:
        """Run the chain over a batch, differentiably.

        Parameters
        ----------
        x: (batch, channel, time).
        rate: in Hz.
        settings: by address, each of shape (batch,); what is absent takes the chain's own value.
        checkpoint: keep only each effect's input for the backward pass and run the effect once more
            there: less memory for long sound, about a third more time. The gradient is the same.

        Returns
        -------
        (batch, channel, time), aligned with `x`.
        """
        import torch
        from torch.utils.checkpoint import checkpoint as again

        given = settings or {}
        y = x
        for slot in self.slots:
            amount = given.get(f"{slot.name}.amount")
            if slot.bypass or (amount is None and slot.amount == 0.0):
                continue
            knobs = {
                knob: given.get(f"{slot.name}.{knob}", torch.full((x.shape[0],), value, dtype=torch.float64))
                for knob, value in slot.settings.items()
            }
            run = partial(slot.effect.forward, **knobs)
            wet = again(run, y, rate, use_reentrant=False) if checkpoint else run(y, rate)
            if amount is None and slot.amount == 1.0:
                y = wet
                continue
            dry = y if slot.effect.dry is None else slot.effect.dry.forward(y, rate, **knobs)
            if amount is None:
                y = dry + slot.amount * (wet - dry)
            else:
                share = amount.to(y)[:, None, None]
                y = torch.where(share == 0.0, y, dry) + share * (wet - dry)
        return y
