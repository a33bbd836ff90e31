"""Rooms for recordings: known from the same content, blind from another; beliefs that the fit begins with."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import torch

from fxstyle import effects
from fxstyle.audio import Audio, read
from fxstyle.chain import Chain
from fxstyle.errors import AudioError, MatchError, SettingError
from fxstyle.fit.belief import LEAST_SPREAD, Beliefs, believed
from fxstyle.fit.locks import Locks
from fxstyle.fit.rooms import fit_room, kinds, match_room
from fxstyle.fit.space import NEIGHBOURS, Belief, Space
from fxstyle.octaves import BAND_NAMES
from fxstyle.performance import perform
from fxstyle.render import render
from fxstyle.rooms.blind import Estimate
from fxstyle.rooms.iso3382 import measure_response

RATE = 44_100


def room(t60_s: float = 0.7, seconds: float = 1.4, channels: int = 2) -> np.ndarray:
    """A direct sound, and noise that fades, of twice its energy."""
    t = np.arange(round(seconds * RATE)) / RATE
    h = 10 ** (-3 * t / t60_s) * np.random.default_rng(5).standard_normal((channels, t.size))
    h *= np.sqrt(2.0 / (h**2).sum(axis=1, keepdims=True))
    h[:, 0] += 1.0
    return h.astype(np.float32)


def estimated(dry: bool = False) -> Estimate:
    eight = np.ones(8)
    return Estimate(
        centre_hz=62.5 * 2.0 ** np.arange(8), t60_s=np.linspace(2.0, 0.6, 8), level_db=-3.0 * eight,
        c50_db=5.0 * eight, t60_spread=0.1 * eight, level_spread_db=2.0 * eight, c50_spread_db=eight,
        loss=1.0, confidence=0.8, dry=dry, warnings=(),
    )  # fmt: skip


def heard(chain: Chain, seconds: float) -> npt.NDArray[np.float64]:
    """Return what a click in both channels becomes, rendered."""
    click = np.zeros((2, round(seconds * RATE)))
    click[:, 0] = 1.0
    return render(chain, click, RATE)


class TestKnown:
    def test_every_kind_takes_up_the_decay_of_a_response(self) -> None:
        assert set(kinds()) == {"reverb", "fdn", "room", "convolution"}
        target = measure_response(room(), RATE).t30_s
        for kind in kinds():
            found = fit_room(Audio(room(), RATE), kind=kind)
            assert [slot.effect.name for slot in found.chain] == [kind]
            own = measure_response(heard(found.chain, 1.5), RATE).t30_s
            np.testing.assert_allclose(own[3:7], target[3:7], rtol=0.05)
            assert found.known
            assert found.confidence > 0.6

    def test_convolution_keeps_the_response_itself(self) -> None:
        found = fit_room(Audio(room(), RATE), kind="convolution")
        own = heard(found.chain, 1.0)
        h = room()[:, :RATE]
        # the direct sound is made 1, within the energy of what comes with it in the first 2.5 ms
        scale = (own * h).sum() / (h * h).sum()
        early = slice(0, round(0.5 * RATE))
        assert np.abs(own - scale * h)[:, early].max() < 0.01 * scale

    def test_the_same_content_is_recognised_and_deconvolved(self) -> None:
        dry = perform(6.0, RATE, song=0, seed=1).mean(axis=0, keepdims=True).astype(np.float32)
        wet = scipy.signal.fftconvolve(dry, room(0.5, 0.8, 1), axes=1)[:, : dry.shape[1]].astype(np.float32)
        found = match_room(Audio(dry, RATE), Audio(0.4 * wet, RATE))
        assert found.known
        assert "impulse response was taken" in found.notes[0]
        assert found.target is not None
        sure = found.target.sure("t20_s")[3:7]
        assert sure.any()
        np.testing.assert_allclose(found.target.t20_s[3:7][sure], 0.5, rtol=0.15)

    @pytest.mark.parametrize(
        ("h", "words"),
        [
            (np.zeros((1, RATE), np.float32), "silent"),
            (np.clip(300 * room(), -1, 1), "clipped"),
            (np.eye(1, RATE, 50, dtype=np.float32), "no decay"),
            (np.full((1, 31 * RATE), 0.1, np.float32), "31.0 s long"),
            (np.array([[np.nan, 1.0]], np.float32), "finite|NaN|not"),
        ],
    )
    def test_what_is_no_response_is_refused(self, h: np.ndarray, words: str) -> None:
        with pytest.raises(AudioError, match=words):
            fit_room(Audio(h, RATE))

    @pytest.mark.parametrize("kind", ["reverb", "fdn"])
    def test_a_clarity_out_of_reach_does_not_colour_the_sound(self, kind: str) -> None:
        """Of a response without direct sound in half of its octaves."""
        h = room(1.5, 2.0, 1).astype(np.float64)
        sos = scipy.signal.butter(4, 1000.0, "highpass", fs=RATE, output="sos")
        h[:, :110] = scipy.signal.sosfilt(sos, h[:, :110])
        h[:, 110:] *= 5.0
        settings = fit_room(Audio(h.astype(np.float32), RATE), kind=kind).chain.settings()
        tones = [settings[f"{kind}.tone_{band}_db"] for band in BAND_NAMES]
        assert max(tones) - min(tones) <= 18.0

    def test_other_kinds_are_refused(self) -> None:
        with pytest.raises(SettingError, match="choose .*reverb"):
            fit_room(Audio(room(), RATE), kind="gain")

    @pytest.mark.parametrize("rate", [16_000, 96_000])
    def test_responses_of_any_rate(self, rate: int) -> None:
        t = np.arange(rate) / rate
        h = 10 ** (-3 * t / 0.5) * np.random.default_rng(0).standard_normal((1, rate))
        h[0, 0] = 30.0
        found = fit_room(Audio((0.02 * h).astype(np.float32), rate))
        assert found.chain.settings()["reverb.t60_1k_s"] == pytest.approx(0.5, rel=0.1)


class TestBelief:
    def test_it_is_the_estimate_in_the_reverb_s_own_knobs(self) -> None:
        chain = Chain.parse("eq,reverb,gain")
        both = believed(chain, estimated())
        found = both.fitted
        for band, t60_s in zip(BAND_NAMES, estimated().t60_s, strict=True):
            belief = found[f"reverb.t60_{band}_s"]
            assert belief.value == pytest.approx(t60_s)
            param = chain.param(f"reverb.t60_{band}_s")
            assert belief.spread == pytest.approx(0.1 / np.log(param.high / param.low), rel=1e-6)
        assert found["reverb.level_db"].value == pytest.approx(-3.0)
        assert all(belief.spread >= LEAST_SPREAD for belief in found.values())
        assert not any(address.startswith(("eq", "gain")) for address in (*found, *both.given))
        # what the fit leaves alone takes its value from the estimate
        assert both.given["reverb.tone_1k_db"] == pytest.approx(0.0)

    def test_of_a_dry_reference_next_to_nothing(self) -> None:
        assert believed(Chain.parse("reverb"), estimated(dry=True)).fitted["reverb.level_db"].value <= -40.0

    def test_what_the_user_has_turned_stays(self) -> None:
        chain = Chain.parse("reverb").with_settings({"reverb.tone_1k_db": 5.0})
        assert "reverb.tone_1k_db" not in believed(chain, estimated()).given
        own = Chain.parse("convolution").with_settings({"convolution.ir": 2.0})
        assert believed(own, estimated()) == Beliefs({}, {})

    def test_a_chain_without_a_reverb_believes_nothing(self) -> None:
        assert believed(Chain.parse("eq,gain"), estimated()) == Beliefs({}, {})

    def test_the_first_reverb_takes_it_up(self) -> None:
        assert all(a.startswith("fdn.") for a in believed(Chain.parse("fdn,reverb"), estimated()).fitted)

    def test_a_space_has_its_middle_and_its_spread_there(self) -> None:
        chain = Chain.parse("gain")
        space = Space(chain, Locks(), {"gain.gain_db": Belief(6.0, 0.05)})
        assert space.chain(space.home).settings()["gain.gain_db"] == pytest.approx(6.0)
        away = torch.from_numpy(space.home)[None].clone()
        at = [k.address for k in space.knobs].index("gain.gain_db")
        away[0, at] += 0.05
        assert float(space.departure(away)) == pytest.approx(1.0)


def test_neighbouring_octaves_go_together() -> None:
    """The covariance of the draws is the one that departures are measured by."""
    space = Space(Chain.parse("reverb"), Locks())
    at = [i for i, k in enumerate(space.knobs) if k.address.startswith("reverb.t60")]
    covariance = (space.factor @ space.factor.T).numpy()
    spread = effects.get("reverb").param("t60_1k_s").spread
    np.testing.assert_allclose(np.sqrt(np.diag(covariance))[at], spread)
    np.testing.assert_allclose(covariance[at[0], at[3]] / spread**2, NEIGHBOURS**3)
    together, apart = torch.from_numpy(np.tile(space.home, (2, 1)))[:, None]
    together, apart = together.clone(), apart.clone()
    together[0, at] += spread
    apart[0, at[::2]] += spread
    apart[0, at[1::2]] -= spread
    assert float(space.departure(together)) < 0.3 * float(space.departure(apart))


@pytest.mark.data
class TestReal:
    """Speech in a room that was measured (split `test`)."""

    def rows(self, root: Path) -> list[dict[str, str]]:
        with (root / "MANIFEST.csv").open() as stream:
            return list(csv.DictReader(stream))

    def test_a_blind_match_finds_the_decay(self, data_dir: Path) -> None:
        root, rows = data_dir, self.rows(data_dir)
        voice = [r["path"] for r in rows if r["path"].startswith("speech/kathleen_arctic")]
        rate = read(root / voice[0]).rate
        a, b = (
            Audio(np.concatenate([read(root / p).samples[:1] for p in paths], axis=1), rate)
            for paths in (voice[:2], voice[2:4])
        )
        h = read(root / "rir/openair__Jack_Lyons_Hall_University_of_York.flac")
        assert h.rate == a.rate
        wet = scipy.signal.fftconvolve(a.samples, h.samples, axes=1)[:, : a.samples.shape[1]]
        found = match_room(b, Audio((0.3 * wet / np.abs(wet).max()).astype(np.float32), a.rate))
        truth = measure_response(h.samples, h.rate).t20_s
        assert not found.known
        assert found.estimate is not None
        assert np.median(np.abs(found.estimate.t60_s[2:7] / truth[2:7] - 1.0)) < 0.25

    def test_a_dry_reference_is_said_to_be_dry(self, data_dir: Path) -> None:
        root, rows = data_dir, self.rows(data_dir)
        voice = [r["path"] for r in rows if r["path"].startswith("speech/kathleen_arctic")]
        with pytest.raises(MatchError, match=r"the reference is dry.*nothing was fitted"):
            match_room(read(root / voice[0]), read(root / voice[1]))
