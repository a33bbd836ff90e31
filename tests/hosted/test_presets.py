"""Presets with plugins: they come back to the bit, and what a stranger put into one is not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxstyle.chain import Chain
from fxstyle.errors import PluginError, PresetError
from fxstyle.hosted import plugin, trust
from fxstyle.hosted.host import Host
from fxstyle.presets import Preset
from fxstyle.presets._plugins import MOST_STATE
from fxstyle.render import render

RATE = 44100
X = np.random.default_rng(0).normal(0.0, 0.1, (2, 9000)).astype(np.float32)

Zam = Callable[[str], Path]


@pytest.fixture
def content(zam: Zam) -> dict[str, Any]:
    """A preset with ZamComp, as JSON has it."""
    chain = Chain.parse(f"plugin:{zam('ZamComp')},gain").with_settings(
        {"zamcomp.threshold_db": -30.0, "zamcomp.ratio": 6.0, "zamcomp.sidechain": 0.0}
    )
    content: dict[str, Any] = json.loads(Preset.from_chain(chain).to_json())
    return content


@pytest.fixture
def no_start(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """No process may be started, whatever is made of `content`."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a plugin was started")

    monkeypatch.setattr(Host, "__init__", refuse)
    monkeypatch.setattr(plugin, "_EFFECTS", {})
    monkeypatch.setattr(trust, "_NAMED", set())


def load(content: dict[str, Any]) -> Preset:
    return Preset.from_json(json.dumps(content))


def changed(content: dict[str, Any], **plugin_fields: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(content))
    copy["chain"][0]["plugin"] |= plugin_fields
    return copy


def test_a_preset_comes_back_to_the_bit(content: dict[str, Any], zam: Zam) -> None:
    preset = load(content)
    assert json.loads(preset.to_json()) == content
    told = content["chain"][0]["plugin"]
    assert (told["path"], told["name"], told["maker"]) == (str(zam("ZamComp")), "ZamComp", "Damien Zammit")
    assert content["chain"][0]["settings"]["threshold_db"] == {"value": -30.0, "unit": "dB"}
    first = Chain.parse(f"plugin:{zam('ZamComp')},gain").with_settings(
        {"zamcomp.threshold_db": -30.0, "zamcomp.ratio": 6.0}
    )
    np.testing.assert_array_equal(render(preset.chain(), X, RATE), render(first, X, RATE))


def test_settings_win_over_the_state(content: dict[str, Any]) -> None:
    content["chain"][0]["settings"]["makeup_db"]["value"] = 12.0
    louder = render(load(content).chain(), X, RATE)
    content["chain"][0]["settings"]["makeup_db"]["value"] = 0.0
    # the plugin makes up by a factor of float32
    np.testing.assert_allclose(
        louder, render(load(content).chain(), X, RATE) * 10.0 ** (12.0 / 20.0), rtol=1e-5
    )


# The outside truth of what is stored: pedalboard itself, given nothing but the state.
PEDALBOARD = """
import base64, sys, pedalboard
plugin = pedalboard.load_plugin(sys.argv[1])
plugin.raw_state = base64.b64decode(sys.argv[2])
print(plugin.threshold_db, plugin.ratio)
"""


def test_the_state_alone_holds_the_settings(
    content: dict[str, Any], zam: Zam, alone: Callable[..., str]
) -> None:
    told = alone(PEDALBOARD, zam("ZamComp"), content["chain"][0]["plugin"]["state"])
    # it rounds to a thousandth of the range
    assert [float(word) for word in told.split()] == pytest.approx([-30.0, 6.0], abs=0.1)


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/tmp/evil.vst3", r"chain\[0\]\.plugin\.path: /tmp/evil\.vst3 is outside .*--allow-plugin"),
        ("/usr/lib/vst3/../../../tmp/evil.vst3", "is no full path"),
        ("evil.vst3", "is no full path"),
        ("/usr/lib/vst3-evil/evil.vst3", "is outside"),
        ("/usr/lib/vst3/NoSuch.vst3", "no such plugin on this machine; install it.*made with ZamComp"),
    ],
)
def test_a_path_is_not_believed(content: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(PresetError, match=words):
        load(changed(content, path=path))


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "A" * (2 * MOST_STATE)}, r"plugin\.state: .*at most"),
        ({"state": "not base64!"}, r"plugin\.state: not base64"),
        ({"state": 7}, r"plugin\.state: .*should be text"),
        ({"library": "x"}, "there is no such field"),
        ({"path": "/usr/lib/vst3/\u0000"}, "control character"),
        ({"path": ""}, r"plugin\.path"),
    ],
)
def test_hostile_fields_are_refused(content: dict[str, Any], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(PresetError, match=words):
        load(changed(content, **fields))


@pytest.mark.usefixtures("no_start")
def test_the_name_of_an_effect_runs_nothing(content: dict[str, Any]) -> None:
    content["chain"][0]["effect"] = "plugin:/usr/lib/vst3/ZamComp.vst3"
    del content["chain"][0]["plugin"]
    with pytest.raises(PresetError, match="no effect is called"):
        load(content)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9, "loud"])
def test_settings_must_be_in_range(content: dict[str, Any], value: float | str) -> None:
    content["chain"][0]["settings"]["ratio"]["value"] = value
    with pytest.raises(PresetError, match=r"chain\[0\]\.settings\.ratio"):
        load(content)


def test_another_plugin_in_its_place_is_noticed(content: dict[str, Any], zam: Zam) -> None:
    with pytest.raises(PresetError, match="the plugin there is 'zameq2', not 'zamcomp'"):
        load(changed(content, path=str(zam("ZamEQ2"))))


def test_what_the_user_names_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_NAMED", set())
    path = str(tmp_path / "mine.vst3")
    with pytest.raises(PluginError, match="--allow-plugin"):
        trust.check(path)
    monkeypatch.chdir(tmp_path)
    trust.allow("mine.vst3")
    trust.check(path)
    with pytest.raises(PluginError):
        trust.check(str(tmp_path / "other.vst3"))


def test_what_is_installed_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_NAMED", set())
    for folder in trust.folders():
        trust.check(str(folder / "maker" / "plugin.vst3"))
