"""Real plugins: aligned, the same in blocks of any length, and what pedalboard makes of them directly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fxstyle.chain import Chain
from fxstyle.cli import main
from fxstyle.errors import PluginError, SettingError
from fxstyle.performance import perform
from fxstyle.render import render

RATE = 44100

Zam = Callable[[str], Path]

CASES = {
    "ZamComp": {"threshold_db": -35.0, "ratio": 6.0, "attack_ms": 5.0, "makeup_db": 6.0},
    "ZamCompX2": {"threshold_db": -35.0, "ratio": 4.0, "release_ms": 50.0},
    "ZamEQ2": {"boost_cut_1_db": 8.0, "frequency_1_hz": 700.0, "boost_cut_h_db": -9.0},
    "ZamGate": {"threshold_db": -25.0, "attack_ms": 5.0, "release_ms": 50.0},
    "ZamDelay": {"time_ms": 120.0, "feedback": 0.4, "dry_wet": 0.5},
    "ZaMaximX2": {"threshold_db": -12.0, "release_ms": 10.0},
}


def chain_of(path: Path, **settings: float) -> Chain:
    chain = Chain.parse(f"plugin:{path}")
    return chain.with_settings({f"{chain.slots[0].name}.{knob}": v for knob, v in settings.items()})


@pytest.fixture(params=CASES)
def chain(request: pytest.FixtureRequest, zam: Zam) -> Chain:
    return chain_of(zam(request.param), **CASES[request.param])


def noise(channels: int, size: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0.0, 0.2, (channels, size)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2])
def test_forward_is_render(chain: Chain, channels: int) -> None:
    x = noise(channels, 20011)
    y = chain.forward(torch.from_numpy(x)[None], RATE)[0].numpy()
    assert y.shape == x.shape
    assert np.abs(y - x).max() > 1e-3, "the settings do something, or this tests nothing"
    for block in (64, 777, 20011):
        # the plugin sees the same blocks whatever is asked for
        np.testing.assert_array_equal(render(chain, x, RATE, block=block), y)


def test_another_question_between_changes_nothing(chain: Chain) -> None:
    effect, settings = chain.slots[0].effect, chain.slots[0].settings
    assert effect.hosted is not None
    x = noise(2, 9000)
    first = effect.hosted.whole(x, RATE, settings)
    effect.hosted.whole(noise(2, 5000), RATE, {**effect.defaults()})
    effect.hosted._kept.clear()
    np.testing.assert_array_equal(effect.hosted.whole(x, RATE, settings), first)


def test_a_plugin_that_goes_on_after_a_reset_follows_its_knobs(zam: Zam) -> None:
    # ZamTube begins from memory that it never set: freshly loaded it is silent for 8 samples or not, and
    # fades in from there, in pedalboard alone as well; so no two renderings are alike to the bit.
    x = noise(2, 9000)
    soft, hard = ({"tube_drive": drive, "bass": 3.0} for drive in (1.0, 9.0))
    first, other, again = (
        chain_of(zam("ZamTube"), **knobs).forward(torch.from_numpy(x[:, :size])[None], RATE)[0, :, 32:]
        for knobs, size in ((soft, 9000), (hard, 8999), (soft, 8998))
    )
    # from one sample to the next, which an offset that fades does not show in
    first, other, again = (y[:, 4000:8900].diff() for y in (first, other, again))
    # told of a stale knob, `again` would be `other`
    assert (other - first).norm() > 0.3 * first.norm()
    assert (again - first).norm() < 0.1 * (other - first).norm()


# As numbers of 0..1: in units pedalboard snaps to a thousandth of the range, 8 ms of the delay's. One pass of
# silence is for what glides.
PEDALBOARD = """
import json, sys
import numpy as np, pedalboard
path, raw, folder = sys.argv[1:]
plugin = pedalboard.load_plugin(path)
for knob, value in json.loads(raw).items():
    plugin.parameters[knob].raw_value = value
x = np.load(folder + "/x.npy")
plugin.process(np.zeros_like(x), 44100, reset=False)
np.save(folder + "/y.npy", plugin.process(x, 44100, buffer_size=512, reset=True))
"""


@pytest.mark.parametrize("name", ["ZamComp", "ZamEQ2", "ZamDelay"])
def test_it_is_what_pedalboard_renders(
    zam: Zam, name: str, alone: Callable[..., str], tmp_path: Path
) -> None:
    chain = chain_of(zam(name), **CASES[name])
    slot = chain.slots[0]
    assert slot.effect.hosted is not None
    x = noise(1, 20000)
    np.save(tmp_path / "x.npy", x)
    alone(PEDALBOARD, zam(name), json.dumps(slot.effect.hosted.raw(slot.settings)), tmp_path)
    np.testing.assert_allclose(render(chain, x, RATE), np.load(tmp_path / "y.npy"), atol=1e-6)


def test_a_gain_in_db_is_one(zam: Zam) -> None:
    x = noise(2, 5000)
    y = render(chain_of(zam("ZamEQ2"), master_gain_db=6.0), x, RATE)
    # all bands at 0 dB: filters of float32 that cancel
    np.testing.assert_allclose(y, x * 10.0 ** (6.0 / 20.0), atol=2e-5)


@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_late_plugin_is_aligned(zam: Zam, rate: int) -> None:
    # The limiter looks ahead by some ms (pedalboard #230): below its threshold it is the identity.
    chain = chain_of(zam("ZaMaximX2"))
    slot = chain.slots[0]
    assert slot.effect.latency(rate, slot.settings) > 480
    x = np.zeros((2, 8000), dtype=np.float32)
    x[:, 1000] = 0.25
    np.testing.assert_allclose(render(chain, x, rate), x, atol=1e-6)


def test_an_echo_comes_when_its_knob_says(zam: Zam) -> None:
    x = np.zeros((1, 20000), dtype=np.float32)
    x[0, 100] = 1.0
    y = render(chain_of(zam("ZamDelay"), time_ms=100.0, dry_wet=1.0, lpf_hz=20000.0), x, RATE)
    assert abs(int(np.abs(y[0]).argmax()) - 100 - 4410) <= 2


def test_two_of_a_kind_and_our_own(zam: Zam) -> None:
    chain = Chain.parse(f" plugin:{zam('ZamComp')} , gain,plugin:{zam('ZamComp')}")
    assert [slot.name for slot in chain] == ["zamcomp", "gain", "zamcomp_2"]


def test_what_is_no_plugin_is_named(tmp_path: Path) -> None:
    (tmp_path / "Text.vst3").write_text("no plugin")
    pytest.importorskip("pedalboard")
    with pytest.raises(PluginError, match=r"Text\.vst3"):
        Chain.parse(f"plugin:{tmp_path / 'Text.vst3'}")
    with pytest.raises(PluginError, match="no such plugin on this machine"):
        Chain.parse(f"plugin:{tmp_path / 'Nothing.vst3'}")
    with pytest.raises(SettingError, match="names no plugin"):
        Chain.parse("plugin:")


def test_pedalboard_stays_outside(zam: Zam, alone: Callable[..., str]) -> None:
    code = (
        "import sys, numpy as np\nfrom fxstyle.chain import Chain\nfrom fxstyle.render import render\n"
        f"render(Chain.parse('plugin:{zam('ZamComp')}'), np.zeros((1, 2000), np.float32), 44100)\n"
        "print('pedalboard' in sys.modules or 'pedalboard_native' in sys.modules)"
    )
    assert alone(code).strip() == "False"


def test_the_command_lists_a_plugins_knobs(zam: Zam, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["effects", f"plugin:{zam('ZamComp')}"]) == 0
    shown = capsys.readouterr().out
    for word in ("zamcomp", "threshold_db", "-80", "attack_ms", "Damien Zammit"):
        assert word in shown
    assert "output_level" not in shown


def test_match_and_apply_with_a_plugin(
    zam: Zam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    dry, other = (perform(6.0, RATE, song=0, seed=seed) for seed in (1, 2))
    wet = render(chain_of(zam("ZamEQ2"), boost_cut_h_db=-20.0, frequency_h_hz=3000.0), other, RATE)
    soundfile.write("in.wav", dry.T, RATE, subtype="FLOAT")
    soundfile.write("ref.wav", wet.T, RATE, subtype="FLOAT")
    words = ["match", "in.wav", "ref.wav", "--chain", f"plugin:{zam('ZamEQ2')},gain", "--quality", "draft"]
    assert main([*words, "-o", "out.wav", "--preset", "p.json"]) == 0
    assert "nearer to the reference" in capsys.readouterr().out
    assert main(["apply", "p.json", "in.wav", "-o", "again.wav"]) == 0
    np.testing.assert_array_equal(soundfile.read("again.wav")[0], soundfile.read("out.wav")[0])
