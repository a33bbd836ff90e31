"""LV2 plugins, hosted by FFmpeg's filter `lv2`.

A plugin of one channel treats each channel by itself. Of one that makes two out of one, each channel
keeps its own side.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

import numpy as np

from fxstyle.train._ffmpeg import filtered, filters, paired
from fxstyle.train._lv2_plugins import PLUGINS, Plugin
from fxstyle.train._program import PAIR, in_pairs, knobs, written
from fxstyle.train.units import Settings, Sound, Unit


def lv2_units() -> list[Unit]:
    """Return those of the plugins that are installed; none without FFmpeg's filter `lv2` or `lv2ls`."""
    return [_unit(plugin) for plugin in PLUGINS if plugin.uri in installed()] if "lv2" in filters() else []


@cache
def installed() -> frozenset[str]:
    """Return the URIs of the installed plugins; none without `lv2ls` (Debian: lilv-utils)."""
    if not shutil.which("lv2ls"):
        return frozenset()
    return frozenset(
        subprocess.run(["lv2ls"], capture_output=True, text=True, check=False).stdout.splitlines()
    )


def _unit(plugin: Plugin) -> Unit:
    def run(x: Sound, rate: int, settings: Settings) -> Sound:
        graph = _graph(plugin, settings)
        if plugin.takes == PAIR:
            return paired(graph, x, rate)
        return _apart(graph, plugin.gives, x, rate)

    return Unit(f"lv2.{plugin.name}", plugin.family, knobs(plugin.knobs), run)


def _graph(plugin: Plugin, settings: Settings) -> str:
    """Return the filter with all controls; the colon of a URI is escaped for the option and for the graph."""
    controls = [f"{name}={written(value)}" for name, value in settings.items()]
    controls += plugin.fixed.split()
    uri = plugin.uri.replace(":", r"\\:")
    return f"lv2=p={uri}" + (f":c={'|'.join(controls)}" if controls else "")


def _apart(one: str, gives: int, x: Sound, rate: int) -> Sound:
    """Return sound through what takes one channel: a pair in one run, each through a plugin of its own."""
    left, right = (f"{one},pan=mono|c0=c{side * (gives - 1)}" for side in range(PAIR))
    both = f"channelsplit=channel_layout=stereo[a][b];[a]{left}[c];[b]{right}[d];[c][d]amerge"
    return np.concatenate([filtered(both if len(part) == PAIR else left, part, rate) for part in in_pairs(x)])
