"""A text before the fit: what it asks for, the chain that takes, and what of it a chain can do.

A text alone gets a chain of what its words take and a level, and nothing else. Beside a reference it gets the
default chain and what its words take beyond.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from fxstyle import effects
from fxstyle.chain import Chain
from fxstyle.effects import DEFAULT_CHAIN, kind_of
from fxstyle.errors import SettingError
from fxstyle.fit.locks import Locks
from fxstyle.text.asked import LEVEL, ONSETS, ORDER, RANGE, ROOM, TONE, Asked, ask
from fxstyle.text.lexicon import load, shipped
from fxstyle.text.parse import parse


def kinds_of(chain: Chain) -> frozenset[str]:
    """Return what a chain can do, in the lexicon's effects: any reverb counts as that of the lexicon."""
    kinds = {kind_of(slot.effect.name) for slot in chain if not slot.bypass}
    return frozenset(kinds | ({ROOM} if any(slot.effect.of_decays for slot in chain) else set()))


def chain_text(asked: Asked, *, alone: bool, also: Collection[str] = ()) -> str:
    """Return the chain for a text: what the words take and a level, and the default chain beside a reference.

    alone: whether the words are all there is to go by. also: effects that are wanted whatever the text says.
    """
    wanted = {*asked.effects, *also, LEVEL}
    if not alone:
        wanted |= set(DEFAULT_CHAIN.split(","))
        wanted -= {ONSETS} - set(asked.settings) - set(also)
    wanted -= asked.absent - set(also)
    wanted |= set(asked.settings)
    later = sorted(wanted - set(ORDER))
    there = [*(name for name in ORDER if name in wanted), *later]
    if not alone and TONE in there:  # where the default chain has it, and a fit to a reference knows it
        there.remove(TONE)
        there.insert(there.index(RANGE) if RANGE in there else 0, TONE)
    return ",".join(there)


def asked_of(text: str | None, lexicon: str | Path | None, *, clap: bool = False) -> Asked | None:
    """Return what a text asks for, which may be nothing where CLAP hears it; raises SettingError."""
    if text is None:
        if lexicon is not None:
            raise SettingError(f"the lexicon {lexicon} is for a text: say what you want as well")
        return None
    words = shipped() if lexicon is None else load(lexicon)
    return ask(parse(text, words, clap=clap), words)


def named_in(lock: Sequence[str]) -> set[str]:
    """Return the effects that locks decide a knob of."""
    slots = {re.split(r"[.<>=]", text.strip())[0] for text in lock if "." in text.partition("=")[0]}
    return slots & set(effects.names())


def chain_of(
    chain: str | Chain | None, asked: Asked, only: Sequence[str], lock: Sequence[str], alone: bool
) -> str | Chain:
    """Return the chain for a text: the named one, or what the words take and the user has spoken of."""
    if chain is not None:
        return chain
    return chain_text(asked, alone=alone and not only, also=named_in(lock))


def feasible(
    asked: Asked, chain: Chain, locks: Locks, keep_loudness: bool, *, alone: bool
) -> tuple[Asked, Asked, tuple[str, ...]]:
    """Return what a text asks for, what of it a chain can do, and notes; raises SettingError for nothing.

    alone: whether neither a reference nor CLAP asks for anything beside the words.
    """
    notes = list(asked.notes)
    if keep_loudness and asked.loudness_lu:
        asked = replace(asked, loudness_lu=0.0)
        notes.append("the loudness is to be kept, so the text's wish for another was passed over")
    if alone and asked.is_nothing:
        why = "only says what there is not to be, and nothing adds it"
        if any(word.degree > 0.0 for word in asked.understood):
            why = "asks for nothing in all, since " + "; ".join(asked.notes)
        raise SettingError(f"the text {asked.text!r} {why}: say what should change")
    left = Chain(tuple(slot for slot in chain if slot.name not in locks.off))
    kinds = kinds_of(left)
    can = asked.within(kinds)
    if alone and can.is_nothing:
        needs = ", ".join(sorted(asked.effects - kinds))
        raise SettingError(
            f"the chain {','.join(slot.name for slot in left)} can do nothing of {asked.text!r}:"
            f" add {needs} to it"
        )
    if can.is_same(asked):
        can = asked
    return asked, can, (*notes, *asked.undone(kinds))
