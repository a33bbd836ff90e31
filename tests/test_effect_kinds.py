"""Laws of kind over all effects: linear or not, time-invariant or not, aligned, off, alike at every rate."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from fxstyle import effects
from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect, Samples
from fxstyle.render import render

RATE = 44100


@pytest.fixture(params=effects.names())
def effect(request: pytest.FixtureRequest) -> Effect:
    return effects.get(request.param)


def generator(*words: object) -> np.random.Generator:
    """Return a random generator of its own for each test, the same in every run."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def random_settings(
    effect: Effect, rng: np.random.Generator, low: float = 0.05, high: float = 0.95
) -> dict[str, float]:
    """Return settings between two shares of every knob's range, choices by chance."""
    values = {}
    for p in effect.params:
        u = torch.tensor(rng.uniform(low, high), dtype=torch.float64)
        values[p.name] = float(rng.integers(len(p.choices))) if p.choices else float(p.from_unit(u))
    return values


def run(effect: Effect, x: Samples, settings: dict[str, float], rate: int = RATE) -> Samples:
    return render(Chain((Slot(effect, settings),)), x, rate)


def level_db(x: Samples) -> float:
    return 10.0 * np.log10(max(float(np.mean(np.square(x, dtype=np.float64))), 1e-30))


# Of these draws, the settings at which an effect departs most from a law; the least audible of what it
# claims not to obey was measured as -53 dB (a compressor whose threshold is seldom reached).
DRAWS = 4
BREAKS_DB = -60.0

KEEPS_DB = -110.0
"""Rounding of float64 through kernels that compute a window or a tap in float64; of float32 tables -120."""


class TestKind:
    def test_linear_ones_obey_superposition_and_the_others_do_not(self, effect: Effect) -> None:
        departures = []
        for draw in range(DRAWS):
            rng = generator(effect.name, "linear", draw)
            settings = random_settings(effect, rng)
            a, b = 0.5 * rng.standard_normal((2, 2, 12000))
            # dull against bright: an effect that compares bands treats two sounds of one colour alike
            b = lfilter([0.1], [1.0, -0.98], b)
            apart = 0.7 * run(effect, a, settings) - 1.3 * run(effect, b, settings)
            together = run(effect, 0.7 * a - 1.3 * b, settings)
            departures.append(level_db(together - apart) - max(level_db(apart), -60.0))
        if effect.linear:
            assert max(departures) < KEEPS_DB
        else:
            assert max(departures) > BREAKS_DB

    def test_time_invariant_ones_shift_with_the_input_and_the_others_do_not(self, effect: Effect) -> None:
        departures = []
        for draw in range(DRAWS):
            rng = generator(effect.name, "shift", draw)
            settings = random_settings(effect, rng)
            x = 0.5 * rng.standard_normal((2, 9000))
            late = np.pad(x, ((0, 0), (1717, 0)))
            y, z = run(effect, x, settings), run(effect, late, settings)[:, 1717:]
            departures.append(level_db(z - y) - max(level_db(y), -60.0))
        if effect.time_invariant:
            assert max(departures) < KEEPS_DB
        else:
            assert max(departures) > BREAKS_DB


def lag(y: Samples, x: Samples) -> int:
    """Samples by which y, both channels together, is late: where its correlation with x is greatest."""
    size = 2 * x.shape[1]
    spectrum = (np.fft.rfft(y, size) * np.fft.rfft(x, size).conj()).sum(axis=0)
    found = int(np.argmax(np.abs(np.fft.irfft(spectrum))))
    return found - size if found > x.shape[1] else found


def that_move_the_latency(effect: Effect, rate: float) -> list[dict[str, float]]:
    """Return the values of single knobs (limits, a middle, choices) at which it is not the usual one."""
    usual = effect.latency(rate, effect.defaults())
    found = []
    for p in effect.params:
        middle = float(p.from_unit(torch.tensor(0.6, dtype=torch.float64)))
        values = [float(i) for i in range(len(p.choices))] if p.choices else [p.low, middle, p.high]
        for value in values:
            if effect.latency(rate, effect.defaults() | {p.name: value}) != usual:
                found.append({p.name: value})
    return found


MOVERS = [kind.name for kind in effects.all_effects() if that_move_the_latency(kind, RATE)]

# Settings at which these change the sound; at rest a limiter is a delay and nothing else.
AT_WORK = {
    "limiter": {"gain_db": 12.0, "release_ms": 5.0},
    "compressor": {"threshold_db": -30.0, "ratio": 8.0, "attack_ms": 1.0, "release_ms": 10.0},
    "saturation": {"drive_db": 12.0},
}


class TestAlignment:
    """The declared latency compensates: what an effect leaves of its input lies where it was."""

    def test_the_output_is_not_late(self, effect: Effect) -> None:
        x = 0.2 * generator(effect.name, "lag").standard_normal((2, 16384))
        assert abs(lag(run(effect, x, effect.defaults()), x)) <= 1

    @pytest.mark.parametrize("effect", MOVERS, indirect=True)
    @pytest.mark.parametrize("rate", [8000, RATE, 96000])
    def test_nor_is_it_where_a_setting_changes_the_latency(self, effect: Effect, rate: int) -> None:
        x = 0.2 * generator(effect.name, "moved", rate).standard_normal((2, 16384))
        moved = that_move_the_latency(effect, rate)
        assert moved
        for turned in moved:
            settings = effect.defaults() | AT_WORK.get(effect.name, {}) | turned
            assert lag(run(effect, x, settings, rate), x) == 0, turned

    @pytest.mark.parametrize(
        ("name", "knobs"),
        [
            ("compressor", {"lookahead_ms"}),
            ("limiter", {"lookahead_ms", "detect"}),
            ("saturation", {"oversampling"}),
            ("gain", set()),
        ],
    )
    def test_the_search_finds_the_settings_that_do(self, name: str, knobs: set[str]) -> None:
        assert {knob for turned in that_move_the_latency(effects.get(name), RATE) for knob in turned} == knobs
        assert (name in MOVERS) is bool(knobs)

    @pytest.mark.parametrize("effect", MOVERS, indirect=True)
    @pytest.mark.parametrize("rate", [8000, RATE, 96000])
    def test_a_click_stays_where_it_was(self, effect: Effect, rate: int) -> None:
        """One sample in silence: what comes before it is the filters' ringing alone, and less than it."""
        x = np.zeros((2, 16384))
        x[:, 8000] = 0.1
        moved = that_move_the_latency(effect, rate)
        assert moved
        for turned in moved:
            y = run(effect, x, effect.defaults() | turned, rate)
            assert (np.abs(y).argmax(axis=1) == 8000).all(), turned


class TestOff:
    @pytest.mark.parametrize("off", [{"amount": 0.0}, {"bypass": True}])
    def test_amount_0_and_bypass_are_the_identity_to_the_bit(
        self, effect: Effect, off: dict[str, float]
    ) -> None:
        rng = generator(effect.name, "off")
        x = rng.standard_normal((2, 3000)).astype(np.float32)
        slot = Slot(effect, random_settings(effect, rng), **off)  # type: ignore[arg-type]
        np.testing.assert_array_equal(render(Chain((slot,)), x, RATE), x)
        batch = torch.from_numpy(x)[None]
        assert torch.equal(Chain((slot,)).forward(batch, RATE), batch)

    def test_a_fitted_amount_of_0_is_the_identity_to_the_bit(self, effect: Effect) -> None:
        x = torch.from_numpy(generator(effect.name).standard_normal((1, 2, 2000)).astype(np.float32))
        chain = Chain((Slot(effect),))
        y = chain.forward(x, RATE, {f"{effect.name}.amount": torch.zeros(1, dtype=torch.float64)})
        assert torch.equal(y, x)


class TestIdle:
    """Knobs that are said not to count at some settings."""

    def test_what_does_not_count_changes_nothing(self, effect: Effect) -> None:
        rng = generator(effect.name, "idle")
        x = 0.3 * rng.standard_normal((2, 1500))
        for _ in range(DRAWS):
            settings, others = random_settings(effect, rng), random_settings(effect, rng)
            moved = {knob: others[knob] for knob in effect.idle(settings)}
            np.testing.assert_array_equal(run(effect, x, settings | moved), run(effect, x, settings))

    @pytest.mark.parametrize(
        ("name", "settings", "idle"),
        [
            ("delay", {"sync": "1/8"}, {"time_ms"}),
            ("delay", {}, {"tempo_bpm"}),
            ("tremolo", {"sync": "1/4"}, {"rate_hz"}),
            ("saturation", {"curve": "tanh"}, {"bias"}),
            ("saturation", {"curve": "tube"}, set()),
            ("eq", {"low_cut_slope": "6"}, {"low_cut_q"}),
            ("eq1", {"high_cut_slope": "6"}, {"high_cut_q"}),
            ("gain", {}, set()),
        ],
    )
    def test_what_does_not_count(self, name: str, settings: dict[str, str], idle: set[str]) -> None:
        kind = effects.get(name)
        slot = Slot(kind, {knob: kind.param(knob).read(word) for knob, word in settings.items()})
        assert set(kind.idle(slot.settings)) == idle


class TestHalf:
    """Laws of an amount between 0 and 1, where some effects have a dry path of their own."""

    @pytest.mark.parametrize("channels", [1, 2])
    def test_both_forms_agree(self, effect: Effect, channels: int) -> None:
        rng = generator(effect.name, "half", channels)
        x = 0.3 * rng.standard_normal((channels, 3000))
        chain = Chain((Slot(effect, random_settings(effect, rng), amount=0.5),))
        y = chain.forward(torch.from_numpy(x)[None], RATE)[0].numpy()
        difference = np.abs(y - render(chain, x, RATE)).max()
        # full scale, or what the effect has made of it
        assert difference <= 10.0 ** (effect.tolerance_db / 20.0) * max(1.0, float(np.abs(y).max()))

    def test_any_block_size_gives_the_same_bits(self, effect: Effect) -> None:
        rng = generator(effect.name, "half in blocks")
        x = (0.3 * rng.standard_normal((2, 1500))).astype(np.float32)
        chain = Chain((Slot(effect, random_settings(effect, rng), amount=0.5),))
        whole = render(chain, x, RATE)
        for block in (7, 256):
            np.testing.assert_array_equal(render(chain, x, RATE, block=block), whole)

    def test_rows_have_amounts_of_their_own(self, effect: Effect) -> None:
        x = torch.from_numpy(0.3 * generator(effect.name).standard_normal((1, 2, 1000))).expand(3, -1, -1)
        amounts = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
        y = Chain((Slot(effect),)).forward(x, RATE, {f"{effect.name}.amount": amounts})
        for row, amount in zip(y, amounts.tolist(), strict=True):
            alone = Chain((Slot(effect, amount=amount),)).forward(x[:1], RATE)[0]
            torch.testing.assert_close(row, alone, rtol=0.0, atol=1e-9)


class TestCheckpoint:
    def test_recomputing_changes_neither_output_nor_gradient(self, effect: Effect) -> None:
        rng = generator(effect.name, "checkpoint")
        chain = Chain((Slot(effect, random_settings(effect, rng)),))
        results = []
        for checkpoint in (False, True):
            x = torch.from_numpy(generator(effect.name).standard_normal((1, 2, 2000))).requires_grad_()
            y = chain.forward(x, RATE, checkpoint=checkpoint)
            y.square().sum().backward()
            assert x.grad is not None
            results.append((y.detach(), x.grad))
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])


def music(rate: int, seconds: float = 2.0) -> Samples:
    """Plucked chords below 2 kHz, sampled from their closed form, so that every rate has the same sound."""
    t = np.arange(round(seconds * rate)) / rate
    x = np.zeros((2, t.size))
    rng = np.random.default_rng(1)
    for begin in (0.0, 0.45, 0.9, 1.4):
        age = np.maximum(t - begin, 0.0)
        envelope = np.where(t >= begin, np.minimum(age / 0.004, 1.0) * np.exp(-age / 0.25), 0.0)
        for hz in rng.uniform(100.0, 1900.0, 9):
            phases = rng.uniform(0.0, 2.0 * np.pi, 2)
            x += 0.07 * envelope * np.sin(2.0 * np.pi * hz * t + phases[:, None])
    return x


def band_levels(y: Samples, rate: int) -> Samples:
    """Level in dB of octave bands up to 2 kHz, each in ten pieces of the recording."""
    pieces = y.shape[1] // 10
    found = []
    for piece in range(10):
        power = np.abs(np.fft.rfft(y[:, piece * pieces : (piece + 1) * pieces])) ** 2 / rate**2
        hz = np.fft.rfftfreq(pieces, 1.0 / rate)
        for low in (88.0, 177.0, 354.0, 707.0):
            band = (hz >= low) & (hz < 2.0 * low)
            found.append(10.0 * np.log10(power[:, band].sum() + 1e-12))
    return np.array(found)


class TestRates:
    """The same settings sound the same at every rate, as far as the rate can carry it."""

    # Filters are bilinear transforms, which bend frequencies towards half the rate: at 8 kHz a band at
    # 1.4 kHz is off by 10 %. Grains of noise in a reverb differ from rate to rate, hence a mean over bands.
    @pytest.mark.parametrize(
        ("rate", "tolerance_db"), [(8000, 1.5), (22050, 0.7), (96000, 0.5), (192000, 0.5)]
    )
    def test_octave_levels_agree_with_those_at_44_1_khz(
        self, effect: Effect, rate: int, tolerance_db: float
    ) -> None:
        settings = random_settings(effect, generator(effect.name, "rates"), 0.3, 0.7)
        truth = band_levels(run(effect, music(RATE), settings), RATE)
        found = band_levels(run(effect, music(rate), settings, rate), rate)
        heard = truth > truth.max() - 40.0
        assert np.sqrt(np.mean((found - truth)[heard] ** 2)) < tolerance_db


@pytest.mark.parametrize("name", effects.names())
def test_knobs_for_stereo_do_nothing_to_mono(name: str) -> None:
    effect = effects.get(name)
    x = np.random.default_rng(0).standard_normal((1, 3000))
    plain, _ = effect.render(x, 44100, None, **effect.defaults())
    for param in effect.params:
        if param.stereo:
            for value in (param.low, param.high):
                turned, _ = effect.render(x, 44100, None, **{**effect.defaults(), param.name: value})
                np.testing.assert_array_equal(turned, plain)
