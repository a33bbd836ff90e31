"""Which plugins may be loaded: a plugin is a program, and a preset comes from a stranger.

A plugin that the user names, in a chain or with --allow-plugin, is loaded. One that only a preset names is
loaded if it lies in one of the folders where this platform's hosts look for plugins: whatever is there was
installed by someone who may.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fxstyle.errors import PluginError

_NAMED: set[Path] = set()
"""Plugins that the user of this process has named."""


def folders() -> tuple[Path, ...]:
    """Return the folders of this platform for plugins (VST3 developer portal, "Plug-in locations")."""
    home = Path.home()
    if sys.platform == "darwin":
        audio = Path("Library/Audio/Plug-Ins")
        return tuple(root / audio / kind for root in (home, Path("/")) for kind in ("VST3", "Components"))
    if sys.platform == "win32":
        shared = os.environ.get("COMMONPROGRAMFILES", "C:/Program Files/Common Files")
        own = os.environ.get("LOCALAPPDATA", str(home / "AppData/Local"))
        return (Path(shared) / "VST3", Path(own) / "Programs/Common/VST3")
    return (home / ".vst3", Path("/usr/lib/vst3"), Path("/usr/local/lib/vst3"))


def absolute(path: str | Path) -> Path:
    """Return the path with its folder, and without what leads back out of a folder."""
    return Path(os.path.abspath(Path(path).expanduser()))


def allow(path: str | Path) -> None:
    """Note that the user has named this plugin."""
    _NAMED.add(absolute(path))


def check(path: str) -> None:
    """Raise PluginError unless a plugin that a preset names may be loaded."""
    given = Path(path)
    if not given.is_absolute() or ".." in given.parts:
        raise PluginError(f"{path} is no full path; write where the plugin lies from the root on")
    if given in _NAMED or any(folder in given.parents for folder in folders()):
        return
    raise PluginError(
        f"{path} is outside the folders for plugins ({', '.join(map(str, folders()))}), and a plugin is a"
        f" program: if you trust it, add --allow-plugin {path}"
    )
