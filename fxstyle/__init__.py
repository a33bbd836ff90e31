"""fxstyle: make this recording sound like that one, and hand me the settings.

    import fxstyle
    found = fxstyle.match("dry.wav", "reference.wav")
    print(found.verdict.message)
    found.preset.save("vocal.json")
    fxstyle.write("out.wav", found.audio)

Names are imported when they are first used, so that `import fxstyle` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxstyle.audio import Audio, read, write
    from fxstyle.chain import Chain, Slot
    from fxstyle.errors import AudioError, FxstyleError, MatchError, PresetError, SettingError
    from fxstyle.features.measure import Measurement, measure
    from fxstyle.fit.acceptance import Verdict
    from fxstyle.fit.match import match
    from fxstyle.fit.result import Match, Progress
    from fxstyle.presets import Preset
    from fxstyle.render import render_file

__version__ = "0.1.0"

_HOMES = {
    "Audio": "fxstyle.audio",
    "AudioError": "fxstyle.errors",
    "Chain": "fxstyle.chain",
    "FxstyleError": "fxstyle.errors",
    "Match": "fxstyle.fit.result",
    "MatchError": "fxstyle.errors",
    "Measurement": "fxstyle.features.measure",
    "Preset": "fxstyle.presets",
    "PresetError": "fxstyle.errors",
    "Progress": "fxstyle.fit.result",
    "SettingError": "fxstyle.errors",
    "Slot": "fxstyle.chain",
    "Verdict": "fxstyle.fit.acceptance",
    "match": "fxstyle.fit.match",
    "measure": "fxstyle.features.measure",
    "read": "fxstyle.audio",
    "render_file": "fxstyle.render",
    "write": "fxstyle.audio",
}

__all__ = [
    "Audio",
    "AudioError",
    "Chain",
    "FxstyleError",
    "Match",
    "MatchError",
    "Measurement",
    "Preset",
    "PresetError",
    "Progress",
    "SettingError",
    "Slot",
    "Verdict",
    "__version__",
    "match",
    "measure",
    "read",
    "render_file",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fxstyle' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
