"""Hosted plugins in presets: where the plugin lies, what it is called, and what it wrote of itself.

A plugin is a program, so a preset that names one is believed only where fxstyle/hosted/trust.py says so, and
before anything is loaded. The knobs are settings like any others and win over the state, which holds what a
plugin keeps besides.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import Field

from fxstyle import effects
from fxstyle.chain import Slot
from fxstyle.effect import Effect
from fxstyle.errors import FxstyleError
from fxstyle.hosted import trust
from fxstyle.presets._fields import Record, Text

MOST_STATE = 4_000_000
"""Bytes: convolution reverbs keep their impulse response in there, most others some hundred."""


class StoredPlugin(Record):
    """A plugin of another maker, as a preset holds it."""

    path: Annotated[Text, Field(min_length=1, max_length=1000)] = Field(description="of its file or bundle")
    name: Annotated[Text, Field(max_length=100)] = Field(default="", description="as the plugin says")
    version: Annotated[Text, Field(max_length=100)] = ""
    maker: Annotated[Text, Field(max_length=100)] = ""
    state: Annotated[str, Field(max_length=(MOST_STATE + 2) // 3 * 4)] = Field(
        default="", description="what the plugin wrote of itself, in base64"
    )


def stored(slot: Slot) -> StoredPlugin | None:
    """Return what a preset holds of a slot's plugin, None for an effect of our own."""
    plugin = slot.effect.hosted
    if plugin is None:
        return None
    state = plugin.state_at(slot.settings)
    if len(state) > MOST_STATE:
        raise ValueError(
            f"{slot.name}: the plugin's state has {len(state)} bytes, and a preset holds {MOST_STATE}"
        )
    return StoredPlugin(
        path=str(plugin.path),
        name=plugin.name,
        version=plugin.version,
        maker=plugin.maker,
        state=base64.b64encode(state).decode("ascii"),
    )


def effect_of(kind: str, plugin: StoredPlugin | None) -> Effect:
    """Return the effect of a place; raises ValueError or SettingError where there is none to be had."""
    if plugin is None:
        return effects.get(kind)
    from fxstyle.hosted.plugin import effect_at

    try:
        trust.check(plugin.path)
        state = base64.b64decode(plugin.state, validate=True)
        effect = effect_at(plugin.path, plugin.name or None, state)
    except binascii.Error as error:
        raise ValueError(f"state: not base64 ({error}); save the preset again") from None
    except FxstyleError as error:
        about = " ".join(filter(None, (plugin.name, plugin.version, plugin.maker and f"by {plugin.maker}")))
        raise ValueError(
            f"path: {error}" + (f" (the preset was made with {about})" if about else "")
        ) from None
    if effect.name != kind:
        raise ValueError(f"path: the plugin there is {effect.name!r}, not {kind!r}; name the right one")
    return effect
