"""The effects, one file each. A new file that defines EFFECT is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from fxstyle.effect import Effect
from fxstyle.errors import SettingError

DEFAULT_CHAIN = "eq,compressor,saturation,delay,reverb,width,gain"
"""What a match fits unless told otherwise, in the order of a mixing channel."""


@cache
def names() -> tuple[str, ...]:
    """Return the names of all effects, sorted, without importing them."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


@cache
def get(name: str) -> Effect:
    """Return the effect `name`, or raise SettingError listing those there are."""
    if name not in names():
        raise SettingError(f"no effect is called {name!r}; there are {', '.join(names())}")
    effect = importlib.import_module(f"{__name__}.{name}").EFFECT
    if not isinstance(effect, Effect) or effect.name != name:
        raise TypeError(f"effects/{name}.py must define EFFECT = Effect(name={name!r}, ...)")
    return effect


def all_effects() -> tuple[Effect, ...]:
    """Return every effect, sorted by name."""
    return tuple(get(name) for name in names())
