"""Impulse responses by name: in the library of the process, in presets, and those that are none."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile

from fxstyle import responses
from fxstyle.chain import Chain
from fxstyle.errors import AudioError, PresetError, SettingError
from fxstyle.presets import Preset
from fxstyle.render import render

RATE = 48_000


def _decay(seconds=0.1, channels=2, seed=0):
    t = np.arange(round(seconds * RATE)) / RATE
    return 0.1 * 10 ** (-3 * t / 0.1) * np.random.default_rng(seed).standard_normal((channels, t.size))


def _wav(path, samples=None, rate=RATE):
    soundfile.write(path, (_decay() if samples is None else samples).T, rate, subtype="FLOAT")
    return path


def _with(path):
    chain = Chain.parse("convolution")
    return chain.with_settings({"convolution.ir": chain.param("convolution.ir").read(str(path))})


def test_the_same_samples_have_one_number_and_others_another(tmp_path):
    param = Chain.parse("convolution").param("convolution.ir")
    one, again = (param.read(str(_wav(tmp_path / "a.wav"))) for _ in range(2))
    other = param.read(str(_wav(tmp_path / "c.wav", _decay(seed=1))))
    assert one == again != other
    assert param.format(one).startswith("a.wav#")


def test_a_word_means_the_same_samples_whatever_the_file_is_called(tmp_path):
    found = responses.read(_wav(tmp_path / "x.wav"))
    np.testing.assert_allclose(
        found.audio, _decay() / np.abs(_decay()).max(), atol=1.01 / responses.FULL_SCALE
    )
    assert found.word == responses.read(_wav(tmp_path / "x.wav", 0.5 * _decay())).word


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((1, 100)), "silent"),
        (np.array([[0.1, np.nan]]), "not finite"),
        (np.ones((1, 31 * RATE)), "31.0 s long"),
        (np.ones((9, 10)), "9 channels"),
        (np.ones((8, 1_000_000)), "samples"),
    ],
)
def test_what_is_no_response_is_refused_with_the_reason(samples, words):
    with pytest.raises(AudioError, match=words):
        responses.response("h.wav", samples, RATE)


def test_an_unknown_word_or_number_is_refused():
    param = Chain.parse("convolution").param("convolution.ir")
    for wrong in ("cave", "a.wav#00000000", 3.0, 0.5, 1e9, float("nan"), True):
        with pytest.raises(SettingError, match=r"convolution\.ir|ir: "):
            param.check(wrong, "convolution")


def test_a_preset_carries_its_response(tmp_path):
    chain = _with(_wav(tmp_path / "hall.wav"))
    Preset.from_chain(chain, name="hall").save(tmp_path / "p.json")
    before = responses.get(chain.settings()["convolution.ir"])
    kept = list(responses._kept)
    responses._kept.clear()  # another process knows nothing of it
    try:
        (tmp_path / "hall.wav").unlink()
        loaded = Preset.load(tmp_path / "p.json")
        after = responses.get(loaded.chain().settings()["convolution.ir"])
    finally:
        responses._kept[:] = kept
    np.testing.assert_array_equal(after.samples, before.samples)
    assert after.word == before.word
    assert json.loads((tmp_path / "p.json").read_text())["responses"].keys() == {before.word}


def test_a_preset_with_a_built_in_space_holds_no_response():
    assert "responses" not in json.loads(Preset.from_chain(Chain.parse("convolution")).to_json())


def _by_hand(tmp_path, ir):
    content = {
        "format": "fxstyle-preset",
        "version": 1,
        "chain": [{"effect": "convolution", "settings": {"ir": ir}}],
    }
    path = tmp_path / "hand.json"
    path.write_text(json.dumps(content))
    return path


def test_by_hand_a_file_beside_the_preset_is_enough(tmp_path):
    _wav(tmp_path / "cave.wav")
    loaded = Preset.load(_by_hand(tmp_path, "cave.wav"))
    x = np.zeros((2, RATE), np.float32)
    x[:, 0] = 1.0
    y = render(loaded.chain(), x, RATE)
    np.testing.assert_array_equal(y, render(_with(tmp_path / "cave.wav"), x, RATE))
    assert np.abs(y[:, 1:]).max() > 0.0
    # written again it needs the file no more
    loaded.save(tmp_path / "full.json")
    (tmp_path / "cave.wav").unlink()
    assert Preset.load(tmp_path / "full.json").places == loaded.places


@pytest.mark.parametrize("name", ["../cave.wav", "/etc/passwd", "sub/cave.wav", "..\\cave.wav", ".."])
def test_only_files_beside_the_preset_are_read(tmp_path, name):
    (tmp_path / "in").mkdir()
    _wav(tmp_path / "cave.wav")
    with pytest.raises(PresetError, match="no plain file name"):
        Preset.load(_by_hand(tmp_path / "in", name))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PresetError, match=r"chain\[0\]\.settings\.ir: 'cave\.wav' is not .*put it there"):
        Preset.load(_by_hand(tmp_path, "cave.wav"))


def _flac(samples, rate=RATE, **how):
    data = io.BytesIO()
    soundfile.write(data, samples.T, rate, **{"format": "FLAC", "subtype": "PCM_24", **how})
    return base64.b64encode(data.getvalue()).decode()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"flac": "no base64!"}, "not base64"),
        ({"flac": base64.b64encode(b"fLaC but not really").decode()}, "cannot be read"),
        ({"flac": _flac(_decay(seed=3))}, "another response"),
        ({"flac": _flac(_decay(), format="WAV", subtype="PCM_16")}, "WAV"),
        ({"channels": 1}, "2 channels"),
        ({"rate": 44_100}, "48000 Hz"),
        ({"flac": _flac(np.ones((2, 1_600_000)) * 0.1)}, "33.3 s long"),
        ({"rate": -1}, "rate"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_hostile_response_is_refused_with_its_path(tmp_path, changed, words):
    content = json.loads(Preset.from_chain(_with(_wav(tmp_path / "h.wav"))).to_json())
    (word,) = content["responses"]
    content["responses"][word] |= changed
    with pytest.raises(PresetError, match=words) as error:
        Preset.from_json(json.dumps(content))
    assert f"responses.{word[:3]}" in str(error.value)


def test_what_was_made_for_another_response_says_that_it_was_changed(tmp_path):
    one, other = (Preset.from_chain(_with(_wav(tmp_path / f"{n}.wav", _decay(seed=n)))) for n in (1, 2))
    assert one.settings_sha256() != other.settings_sha256()


def test_only_named_responses_are_decoded(tmp_path):
    content = json.loads(Preset.from_chain(_with(_wav(tmp_path / "h.wav"))).to_json())
    content["responses"]["other.wav#01234567"] = {"rate": RATE, "channels": 1, "flac": "never looked at"}
    assert "other.wav#01234567" not in Preset.from_json(json.dumps(content)).responses


@pytest.mark.parametrize("name", ["a\nb.wav", " hall .wav", "x\u202ewav.exe.wav", "#.wav", "..wav"])
def test_any_file_name_makes_a_word_that_presets_take(name):
    number = responses.add(responses.response(name, _decay(seed=len(name)), RATE))
    chain = Chain.parse("convolution").with_settings({"convolution.ir": float(number)})
    assert Preset.from_json(Preset.from_chain(chain).to_json()).chain() == chain


@pytest.mark.parametrize("rate", [1, 7999, 655_350])
def test_rates_that_no_sound_has_are_refused(rate):
    with pytest.raises(AudioError, match=f"{rate} Hz"):
        responses.response("h.wav", _decay(), rate)


def test_a_text_that_cannot_be_a_path_is_no_response():
    with pytest.raises(SettingError, match="not one of"):
        Chain.parse("convolution").param("convolution.ir").read("x" * 300, "convolution")
