"""A reference of the same performance: found, laid on the input to the sample, and identified; others not."""

from __future__ import annotations

import auraloss
import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.errors import MatchError, SettingError
from fxstyle.features.truth_distance import ld
from fxstyle.fit.between import delays_of, echo_of, room_of
from fxstyle.fit.identify import EMPHASIS, WAVE_WEIGHT, WEIGHT, SameTime, deeper, pair_of, turned_over
from fxstyle.fit.known import response_of
from fxstyle.fit.locks import Locks
from fxstyle.fit.match import match
from fxstyle.fit.paired import Pair, detect
from fxstyle.fit.quality import QUALITIES
from fxstyle.performance import perform
from fxstyle.render import render

RATE = 44100


@pytest.fixture(scope="module")
def dry() -> np.ndarray:
    return perform(8.0, RATE, song=0, seed=1)


def late(x: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (samples, 0)))[:, : x.shape[1]]


def found(x: np.ndarray, y: np.ndarray) -> Pair:
    pair = detect(x, y, RATE)
    assert pair is not None
    return pair


class TestAlignment:
    def test_a_late_inverted_copy_is_found_to_the_sample(self, dry: np.ndarray) -> None:
        pair = found(dry, -0.5 * late(dry, 1234))
        assert (pair.lag_samples, pair.polarity, pair.drift_ppm) == (1234.0, -1.0, 0.0)
        assert pair.gain_db == pytest.approx(20 * np.log10(0.5), abs=0.01)
        # to the bit: nothing but a whole shift and a change of sign
        inside = slice(pair.begin, pair.end)
        assert np.array_equal(pair.aligned[:, inside], np.float32(0.5) * dry[:, inside].astype(np.float32))
        assert pair.end == dry.shape[1] - 1234

    def test_a_reference_that_begins_earlier_is_negative(self, dry: np.ndarray) -> None:
        assert found(dry, dry[:, 2000:]).lag_samples == -2000.0

    def test_a_lag_between_samples(self, dry: np.ndarray) -> None:
        size = dry.shape[1]
        turn = np.exp(-2j * np.pi * np.fft.rfftfreq(size) * 57.4)
        pair = found(dry, np.fft.irfft(np.fft.rfft(dry) * turn, size))
        # the peak is looked for in steps of 1/64 sample
        assert pair.lag_samples == pytest.approx(57.4, abs=0.03)
        inside = slice(pair.begin, pair.end)
        error = pair.aligned[:, inside] - dry[:, inside]
        # .02 samples at the loud frequencies below 5 kHz: 2 pi 5000/44100 .02 = -37 dB
        assert np.square(error).mean() < 10**-3.5 * np.square(dry).mean()

    def test_another_clock(self, dry: np.ndarray) -> None:
        slower = scipy.signal.resample_poly(dry, 20001, 20000, axis=1)  # 50 ppm longer
        pair = found(dry, slower)
        # a hundredth of a sample in every second's lag makes a few tenths of a ppm over 8 s
        assert pair.drift_ppm == pytest.approx(50.0, abs=1.0)
        assert pair.lag_samples == pytest.approx(0.0, abs=0.5)

    def test_what_a_filter_delays_is_no_latency(self, dry: np.ndarray) -> None:
        b, a = scipy.signal.butter(2, 500.0, fs=RATE)
        assert found(dry, scipy.signal.lfilter(b, a, dry)).lag_samples == 0.0
        assert found(dry, late(scipy.signal.lfilter(b, a, dry), 300)).lag_samples == pytest.approx(300, abs=3)

    @pytest.mark.parametrize("chain", ["compressor", "saturation", "reverb", "delay", "chorus"])
    def test_treated_copies_are_found(self, dry: np.ndarray, chain: str) -> None:
        hard = {
            "compressor": {"compressor.threshold_db": -40.0, "compressor.ratio": 8.0},
            "saturation": {"saturation.drive_db": 24.0},
            "reverb": {"reverb.level_db": 0.0},
            "delay": {"delay.level_db": -3.0},
            "chorus": {},
        }[chain]
        wet = render(Chain.parse(chain).with_settings(hard), dry, RATE)
        assert abs(found(dry, late(wet, 4410)).lag_samples - 4410.0) <= 3.0


class TestOthers:
    def test_another_passage_of_the_same_band(self, dry: np.ndarray) -> None:
        assert detect(dry, perform(8.0, RATE, song=0, seed=2), RATE) is None

    def test_the_same_notes_played_unevenly(self, dry: np.ndarray) -> None:
        """Half seconds, each some 15 ms early or late: no lag fits them all."""
        generator, size = np.random.default_rng(0), RATE // 2
        begins = np.arange(size, dry.shape[1] - 2 * size, size)
        moved = begins + (generator.normal(0.0, 0.015, begins.size) * RATE).astype(int)
        other = np.concatenate([dry[:, b : b + size] for b in moved], axis=1)
        assert detect(dry[:, size : size + other.shape[1]], other, RATE) is None

    def test_a_loop_whose_drums_alone_come_round(self) -> None:
        """Two bars: the drums are the same to the bit, what is played over them is not."""
        generator, bar = np.random.default_rng(1), 4 * RATE
        t = np.arange(bar) / RATE
        hits = np.exp(-((t % 0.5) / 0.03)) * generator.standard_normal(bar)

        def melody() -> np.ndarray:
            notes = generator.choice([220.0, 277.2, 329.6, 440.0, 554.4, 659.3], 16)
            phase = 2 * np.pi * np.cumsum(np.repeat(notes, bar // 16)) / RATE
            fade = np.exp(-((t % 0.25) / 0.2))
            return 0.7 * fade * sum(np.sin(k * phase) / k for k in range(1, 12))

        bars = [(0.15 * hits + melody())[None] for _ in range(2)]
        assert detect(bars[0], bars[1], RATE) is None

    def test_a_loop_that_comes_round_entirely_cannot_be_told(self, dry: np.ndarray) -> None:
        bar = dry[:, : 2 * RATE]
        song = np.concatenate([bar] * 6, axis=1)
        first, second = song[:, : 4 * RATE], song[:, 4 * RATE : 8 * RATE]
        assert found(first, second).lag_samples == 0.0

    def test_silence_and_little_sound(self, dry: np.ndarray) -> None:
        assert detect(dry, np.zeros_like(dry), RATE) is None
        assert detect(dry[:, :RATE], dry[:, :RATE], RATE) is None

    def test_the_user_decides(self, dry: np.ndarray) -> None:
        x, other = Audio(dry, RATE), Audio(perform(8.0, RATE, song=1, seed=2), RATE)
        assert pair_of(x, [x], "auto") is not None
        assert pair_of(x, [x], "no") is None
        assert pair_of(x, [x, other], "auto") is None
        with pytest.raises(MatchError, match="does not follow from the input.*paired"):
            pair_of(x, [other], "yes")
        with pytest.raises(SettingError, match="one reference.*there are 2"):
            pair_of(x, [x, other], "yes")
        with pytest.raises(SettingError, match="auto, yes or no"):
            pair_of(x, [x], "maybe")  # type: ignore[arg-type]


class TestObjective:
    @pytest.fixture
    def reference(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn((2, 2, 8192), generator=generator)

    def distance(self, reference: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        space = SameTime(reference)
        return space.distance(space.embed(y, RATE, reference.shape[0]), {})

    def test_the_reference_itself_is_at_nothing(self, reference: torch.Tensor) -> None:
        terms = self.distance(reference, reference)
        assert terms["spectra"].item() == 0.0
        assert terms["wave"].item() == pytest.approx(0.0, abs=1e-4)  # differences of float32 sums

    @pytest.mark.parametrize("gain", [0.0, 0.5, 2.0])
    def test_of_a_gain_in_closed_form(self, reference: torch.Tensor, gain: float) -> None:
        error = (1.0 - gain) ** 2
        wave = self.distance(reference, gain * reference)["wave"].item()
        assert wave == pytest.approx(WEIGHT * WAVE_WEIGHT * error / (1.0 + error), abs=1e-4)

    def test_the_wave_is_that_of_auraloss(self, reference: torch.Tensor) -> None:
        """White noise is nearest at lag 0, so a term that lets lags be is the plain one."""
        y = reference + 0.3 * torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
        emphasis = torch.nn.Conv1d(1, 1, 2, bias=False)
        with torch.no_grad():
            emphasis.weight.copy_(torch.tensor([[[-EMPHASIS, 1.0]]]))
            sides = [emphasis(z.reshape(1, 1, -1)) for z in (y, reference)]
            plain = auraloss.time.ESRLoss()(*sides).item()
        wave = self.distance(reference, y)["wave"].item()
        # the crops in a row have seams that ours has not: four in 32768 samples
        assert wave == pytest.approx(WEIGHT * WAVE_WEIGHT * plain / (1.0 + plain), rel=2e-3)

    def test_a_lag_of_a_millisecond_is_not_counted(self, reference: torch.Tensor) -> None:
        moved = torch.nn.functional.pad(reference, (44, 0))[..., : reference.shape[-1]]
        there = self.distance(reference, moved)["wave"].item()
        far = torch.nn.functional.pad(reference, (400, 0))[..., : reference.shape[-1]]
        # what is pushed out at the end is 44 samples of 8192
        assert there < WEIGHT * WAVE_WEIGHT * 0.02
        assert self.distance(reference, far)["wave"].item() > WEIGHT * WAVE_WEIGHT * 0.5

    def test_candidates_do_not_see_each_other(self, reference: torch.Tensor) -> None:
        both = torch.cat([reference, 0.5 * reference])
        terms, alone = self.distance(reference, both), self.distance(reference, 0.5 * reference)
        for name, value in terms.items():
            assert value.shape == (2,)
            assert value[1].item() == pytest.approx(alone[name].item(), rel=1e-5)

    def test_gradient_against_differences(self, reference: torch.Tensor) -> None:
        double = reference.double()
        space = SameTime(double)
        noise = torch.randn(double.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

        def loss(share: torch.Tensor) -> torch.Tensor:
            terms = space.distance(space.embed(double + share * noise, RATE, 2), {})
            return torch.stack(list(terms.values())).sum()

        assert torch.autograd.gradcheck(loss, torch.tensor(0.4, dtype=torch.float64, requires_grad=True))

    def test_about_as_much_work_as_other_fits(self) -> None:
        for quality in QUALITIES.values():
            was, now = (sum(r.candidates * r.steps for r in q.rounds) for q in (quality, deeper(quality)))
            assert 0.7 * was < now < 1.1 * was


class TestBetween:
    def test_an_echo_in_a_response(self) -> None:
        h = np.zeros(RATE)
        h[0], h[9000], h[18000] = 1.0, 0.5, 0.25
        time_ms, strength = echo_of(h, RATE)
        assert time_ms == pytest.approx(1000.0 * 9000 / RATE)
        assert strength == pytest.approx(0.25 / (1.0 + 0.25**2))
        assert echo_of(np.random.default_rng(0).standard_normal(RATE), RATE) == (0.0, 0.0)

    def test_the_decay_of_a_room(self) -> None:
        t = np.arange(2 * RATE) / RATE
        h = 0.02 * 10 ** (-3 * t / 0.8) * np.random.default_rng(3).standard_normal(t.size)
        energy = float((h**2).sum())
        h[0] += 1.0
        room = room_of(h, RATE)
        assert room is not None
        # octaves from 250 Hz hold enough periods of noise: a fifth is four standard deviations there
        assert np.abs(room.t60_s[2:] / 0.8 - 1.0).max() < 0.2
        direct_and_early = 1.0 + float((h[1 : RATE // 50] ** 2).sum())
        assert np.median(room.level_db[4:]) == pytest.approx(
            10 * np.log10(energy / direct_and_early), abs=2.0
        )
        assert room_of(np.eye(1, 2 * RATE)[0], RATE) is None

    def test_when_our_reverb_sets_in(self) -> None:
        chain = Chain.parse("reverb").with_settings({"reverb.predelay_ms": 37.0, "reverb.level_db": -3.0})
        slot = chain.slots[0]
        h = response_of(slot.effect, dict(slot.settings), RATE, 2, 2 * RATE).mean(axis=0)
        room = room_of(h, RATE)
        assert room is not None
        times = delays_of(Chain.parse("reverb"), room, h, RATE, 2)
        assert times["reverb.predelay_ms"] == pytest.approx(37.0, abs=0.1)  # settled to the sample later
        noise = np.random.default_rng(0).standard_normal(h.size) * np.abs(h)
        noise[0] = h[0]
        assert delays_of(Chain.parse("reverb"), room, noise, RATE, 2) == {}


class TestPolarity:
    def pair(self, polarity: float) -> Pair:
        return Pair(RATE, 0.0, polarity, 0.0, 0.0, 1.0, 1.0, 0, 1, np.zeros((1, 1)), np.zeros(1))

    def test_the_switch_is_turned_and_nothing_else_changes(self) -> None:
        x = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
        chain = Chain.parse("eq,gain").with_settings({"gain.gain_db": -6.0, "gain.amount": 0.5})
        turned, notes = turned_over(chain, self.pair(-1.0), Locks())
        assert notes == ()
        # float32 rounding of two factors
        assert np.allclose(render(turned, x, RATE), -render(chain, x, RATE), atol=1e-6)
        assert turned_over(chain, self.pair(1.0), Locks()) == (chain, ())

    @pytest.mark.parametrize(("chain", "lock"), [("eq", []), ("eq,gain", ["gain.invert=off"])])
    def test_without_a_switch_it_is_said(self, chain: str, lock: list[str]) -> None:
        whole = Chain.parse(chain)
        left, (note,) = turned_over(whole, self.pair(-1.0), Locks.parse(lock, whole))
        assert left == whole
        assert "inverted" in note


def test_a_known_chain_comes_back(dry: np.ndarray) -> None:
    """Late, inverted, equalised, echoed: the settings come back, and the latency is in none of them."""
    truth = Chain.parse("eq,delay,gain").with_settings(
        {
            "eq.high_shelf_db": -9.0, "eq.high_shelf_hz": 3000.0, "delay.time_ms": 211.0,
            "delay.level_db": -8.0, "delay.feedback": 0.2, "gain.gain_db": -4.0,
        }
    )  # fmt: skip
    wet = np.asarray(render(truth, dry, RATE), np.float32)
    lock = [f"eq.peak{k}_db=0" for k in range(1, 7)]
    fit = match(Audio(dry, RATE), Audio(-late(wet, 700), RATE), chain="eq,delay,gain", lock=lock)
    settings = fit.chain.settings()
    assert settings["delay.time_ms"] == pytest.approx(211.0, abs=0.05)  # two samples
    assert settings["delay.level_db"] == pytest.approx(-8.0, abs=1.5)
    assert settings["eq.high_shelf_db"] == pytest.approx(-9.0, abs=1.5)
    assert settings["gain.gain_db"] == pytest.approx(-4.0, abs=1.0)
    assert settings["gain.invert"] == 1.0
    assert any("same performance" in note and "inverted" in note for note in fit.notes)
    # a tenth of the 1.5 that usual tasks begin with
    assert ld(-fit.audio.samples, wet, RATE) < 0.15
    assert "spectra on passages that were not fitted on" in fit.verdict.message
