"""The effects, one file each. A new file that defines EFFECT is found by itself.

A file that defines `make` as well has sizes: `eq` is its EFFECT, `eq12` is make(12). SIZES knows it without
importing it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from fxstyle.effect import Effect
from fxstyle.errors import SettingError, remedy

_SIZED = re.compile(r"([a-z_]+)(?:0|[1-9][0-9]{0,2})")
"""Sizes that no effect has are read as well: what makes the sizes says which there are."""

DEFAULT_CHAIN = "eq,compressor,saturation,delay,reverb,width,gain"
"""What a match fits unless told otherwise, in the order of a mixing channel."""

SIZES: Mapping[str, int] = MappingProxyType({"eq": 16})
"""Effects that come in sizes as well, from 1 to so many."""


@cache
def names() -> tuple[str, ...]:
    """Return the names of all effects, sorted, without importing them."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


@cache
def get(name: str) -> Effect:
    """Return the effect `name`, or raise SettingError listing those there are."""
    kind = kind_of(name)
    if kind not in names():
        listed = ", ".join(f"{n} (also {n}1 to {n}{SIZES[n]})" if n in SIZES else n for n in names())
        sized = [f"{n}{size}" for n, most in SIZES.items() for size in range(1, most + 1)]
        raise SettingError(
            f"no effect is called {name!r}"
            + remedy(name, (*names(), *sized), lead="there are", listed=listed)
        )
    module = importlib.import_module(f"{__name__}.{kind}")
    effect = module.EFFECT
    if name != kind:
        make = getattr(module, "make", None)
        if make is None:
            raise SettingError(f"no effect is called {name!r}; {kind} comes in one size")
        effect = make(int(name.removeprefix(kind)))
    if not isinstance(effect, Effect) or effect.name != name:
        raise TypeError(f"effects/{kind}.py must define EFFECT = Effect(name={kind!r}, ...)")
    return effect


def kind_of(name: str) -> str:
    """Return the name of the effect's file: that of eq12 is eq."""
    found = _SIZED.fullmatch(name)
    return found[1] if found else name


def all_effects() -> tuple[Effect, ...]:
    """Return every effect, sorted by name."""
    return tuple(get(name) for name in names())
