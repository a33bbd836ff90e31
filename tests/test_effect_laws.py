"""Laws that hold for every effect: the same test runs over all files in effects/.

The truths of single effects (closed forms, scipy, pedalboard) are in tests/effects/.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from fxstyle import effects
from fxstyle.effect import Effect, Samples
from fxstyle.errors import SettingError

RATE = 44100.0
GRADCHECK_STEP = {"room": 1e-7}
"""Of knobs, where a millionth of the range is too far: echoes of a room that is turned larger move by many
periods of what they carry, and differences err by the square of the step."""

GRADCHECK_RATE = 8000.0

RenderWhole = Callable[..., Samples]
Knobs = dict[str, torch.Tensor]


@pytest.fixture(params=[*effects.names(), "eq16"])
def effect(request: pytest.FixtureRequest) -> Effect:
    return effects.get(request.param)


def generator(*words: object) -> np.random.Generator:
    """Return a random generator of its own for each test, the same in every run."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def noise_bursts(rng: np.random.Generator, channels: int, length: int, dtype: type = np.float64) -> Samples:
    """Return loud noise, silence and soft noise by turns, different in each channel."""
    x = 0.5 * rng.standard_normal((channels, length))
    pieces = np.arange(length) * 6 // max(length, 6)
    return (x * np.array((1.0, 0.0, 0.05, 1.5, 0.0, 0.3))[pieces]).astype(dtype)


def random_settings(effect: Effect, rng: np.random.Generator) -> dict[str, float]:
    """Return settings spread evenly over what the fit can reach."""
    units = rng.uniform(0.02, 0.98, len(effect.params))
    values = [
        float(p.from_unit(torch.tensor(u, dtype=torch.float64)))
        for p, u in zip(effect.params, units, strict=True)
    ]
    return {p.name: round(v) if p.choices else v for p, v in zip(effect.params, values, strict=True)}


def corner_settings(effect: Effect) -> list[dict[str, float]]:
    """Return settings with every knob at its lower limit, at its upper limit, and at either by chance."""
    rng = generator(effect.name, "corners")
    choices = [np.zeros(len(effect.params)), np.ones(len(effect.params))]
    choices += [rng.integers(0, 2, len(effect.params)) for _ in range(4)]
    return [
        {p.name: p.high if up else p.low for p, up in zip(effect.params, choice, strict=True)}
        for choice in choices
    ]


def knobs(rows: list[Mapping[str, float]], dtype: torch.dtype = torch.float64) -> Knobs:
    """Return one tensor (batch,) per knob from one mapping per row."""
    return {name: torch.tensor([row[name] for row in rows], dtype=dtype) for name in rows[0]}


def with_gradient(effect: Effect, values: Knobs) -> Knobs:
    """Ask for the gradient of every knob that has one: all but the choices."""
    return {name: value.requires_grad_(not effect.param(name).choices) for name, value in values.items()}


def forward_one(effect: Effect, x: Samples, rate: float, settings: Mapping[str, float]) -> Samples:
    y = effect.forward(torch.from_numpy(x)[None], rate, **knobs([settings]))
    return y[0].numpy()


def difference_db(a: Samples, b: Samples) -> float:
    """Return the largest difference over full scale, or over the peak where an effect boosts beyond it."""
    scale = max(1.0, float(np.abs(a).max(initial=0.0)))
    return 20.0 * np.log10(max(float(np.abs(a - b).max(initial=0.0)) / scale, 1e-20))


# float32 rounds at -150 dB of full scale; sums of several rounded paths stay below this.
FLOAT32_DB = -125.0

# An effect may compute tanh or a power by a polynomial right to 1e-7, as good as float32 holds; where a
# knob drives it by tens of dB, differences see that error a hundredfold. Wrong adjoints are off by 1e-3.
GRADIENT_ERROR = 2e-5


class TestTrainingIsRendering:
    """forward = render, within the effect's own tolerance."""

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_at_the_defaults(self, effect: Effect, render_whole: RenderWhole, dtype: type) -> None:
        x = noise_bursts(generator(effect.name), 2, 12000, dtype)
        y = forward_one(effect, x, RATE, effect.defaults())
        z = render_whole(effect, x, RATE, effect.defaults(), 1024)
        limit = effect.tolerance_db if dtype is np.float64 else max(effect.tolerance_db, FLOAT32_DB)
        assert difference_db(y, z) <= limit

    @pytest.mark.parametrize("seed", range(4))
    def test_at_random_settings(self, effect: Effect, render_whole: RenderWhole, seed: int) -> None:
        rng = generator(effect.name, seed)
        x = noise_bursts(rng, 2, 12000)
        settings = random_settings(effect, rng)
        y = forward_one(effect, x, RATE, settings)
        assert difference_db(y, render_whole(effect, x, RATE, settings, 777)) <= effect.tolerance_db

    def test_at_the_limits(self, effect: Effect, render_whole: RenderWhole) -> None:
        x = noise_bursts(generator(effect.name), 2, 6000)
        for settings in corner_settings(effect):
            y = forward_one(effect, x, RATE, settings)
            z = render_whole(effect, x, RATE, settings, 2000)
            assert difference_db(y, z) <= effect.tolerance_db, settings

    @pytest.mark.parametrize("rate", [8000.0, 44100.0, 192000.0])
    @pytest.mark.parametrize("channels", [1, 2, 5])
    def test_at_every_rate_and_width(
        self, effect: Effect, render_whole: RenderWhole, rate: float, channels: int
    ) -> None:
        x = noise_bursts(generator(effect.name, channels), channels, 5000)
        y = forward_one(effect, x, rate, effect.defaults())
        assert y.shape == x.shape
        assert difference_db(y, render_whole(effect, x, rate, effect.defaults(), 1500)) <= effect.tolerance_db

    def test_of_one_sample(self, effect: Effect, render_whole: RenderWhole) -> None:
        x = np.array([[0.5], [-0.25]])
        y = forward_one(effect, x, RATE, effect.defaults())
        assert y.shape == x.shape
        assert np.isfinite(y).all()
        assert difference_db(y, render_whole(effect, x, RATE, effect.defaults())) <= effect.tolerance_db


class TestStream:
    """The result does not depend on how a stream is cut."""

    @pytest.mark.parametrize("block", [1, 7, 64, 1000])
    def test_any_block_size_gives_the_same_bits(
        self, effect: Effect, render_whole: RenderWhole, block: int
    ) -> None:
        rng = generator(effect.name)
        x = noise_bursts(rng, 2, 3000, np.float32)
        for settings in (effect.defaults(), random_settings(effect, rng)):
            whole = render_whole(effect, x, RATE, settings)
            np.testing.assert_array_equal(render_whole(effect, x, RATE, settings, block), whole)

    def test_latency_is_a_whole_number_of_samples(self, effect: Effect) -> None:
        for rate in (8000.0, 44100.0, 192000.0):
            latency = effect.latency(rate, effect.defaults())
            assert isinstance(latency, int)
            assert latency >= 0

    @pytest.mark.parametrize(
        "effect", [e.name for e in effects.all_effects() if "link" in e.defaults()], indirect=True
    )
    def test_a_link_of_1_remembers_as_one_just_below_it(self, effect: Effect) -> None:
        """At 1 all channels have one gain, computed once; turned down, each finds what it would remember."""
        apart = []
        for draw in range(12):
            rng = generator(effect.name, "link", draw)
            x, settings = noise_bursts(rng, 3, 3000), random_settings(effect, rng)
            # one channel soft, one dull: neither has the first one's level nor its share of treble
            x[1], x[2] = 0.003 * x[1], lfilter([0.03], [1.0, -0.97], x[2])
            found = []
            for before in (1.0, 1.0 - 2.0**-40, 0.0):
                _, state = effect.render(x[:, :1800], RATE, None, **(settings | {"link": before}))
                found.append(effect.render(x[:, 1800:], RATE, state, **(settings | {"link": 0.0}))[0])
            # 2^-40 is -240 dB, of which a curve in dB makes some more
            assert difference_db(found[1], found[0]) < -200.0
            apart.append(difference_db(found[2], found[0]))
        assert max(apart) > -60.0, "none of these settings heard what is remembered"

    def test_a_state_can_be_used_twice(self, effect: Effect) -> None:
        x = noise_bursts(generator(effect.name), 2, 2000)
        _, state = effect.render(x[:, :700], RATE, None, **effect.defaults())
        first, _ = effect.render(x[:, 700:], RATE, state, **effect.defaults())
        second, _ = effect.render(x[:, 700:], RATE, state, **effect.defaults())
        np.testing.assert_array_equal(first, second)


class TestGradient:
    # Every entry of the Jacobian for a few samples; and one random projection of it for signals so long
    # that look-ahead, echoes and the slower time constants come into play.
    @pytest.mark.parametrize(
        ("seed", "length", "fast"), [(0, 16, False), (1, 700, True), (2, 700, True), (3, 700, True)]
    )
    def test_of_input_and_every_knob_agrees_with_differences(
        self, effect: Effect, seed: int, length: int, fast: bool
    ) -> None:
        if effect.straight_through:
            pytest.skip("the true gradient of a staircase is zero; tests/effects has the law of its stand-in")
        # Knobs are stepped on the scale of the fit, where all are of like size; random values and
        # samples do not hit the kinks (thresholds, equal samples, zero crossings) by chance.
        rng = generator(effect.name, "gradient", seed)
        x = torch.from_numpy(0.4 * rng.standard_normal((1, 2, length))).requires_grad_()
        turned = [p for p in effect.params if not p.choices]
        units = [
            torch.tensor([u], dtype=torch.float64, requires_grad=True)
            for u in rng.uniform(0.1, 0.9, len(turned))
        ]

        chosen = knobs([random_settings(effect, rng)])

        def run(signal: torch.Tensor, *theta: torch.Tensor) -> torch.Tensor:
            values = {p.name: p.from_unit(u) for p, u in zip(turned, theta, strict=True)}
            return effect.forward(signal, GRADCHECK_RATE, **{**chosen, **values})

        assert torch.autograd.gradcheck(
            run,
            (x, *units),
            eps=GRADCHECK_STEP.get(effect.name, 1e-6),
            atol=GRADIENT_ERROR,
            rtol=1e-4,
            fast_mode=fast,
        )

    def test_is_finite_at_the_limits(self, effect: Effect) -> None:
        rows = corner_settings(effect)
        values = with_gradient(effect, knobs(rows))
        x = torch.from_numpy(noise_bursts(generator(effect.name), 2, 4000, np.float32))
        x = (10.0 * x).expand(len(rows), -1, -1).clone().requires_grad_()
        y = effect.forward(x, RATE, **values)
        (y / y.detach().abs().amax(dim=(1, 2), keepdim=True).clamp_min(1.0)).square().mean().backward()
        for name, tensor in {"x": x, **values}.items():
            assert tensor.grad is not None or not tensor.requires_grad, name
            assert tensor.grad is None or tensor.grad.isfinite().all(), (name, tensor.grad)

    def test_reaches_knobs_of_either_precision(self, effect: Effect) -> None:
        rng = generator(effect.name)
        rows = [random_settings(effect, rng) for _ in range(2)]
        x = torch.from_numpy(np.stack([noise_bursts(rng, 2, 3000, np.float32) for _ in rows]))
        outputs = []
        for dtype in (torch.float32, torch.float64):
            values = with_gradient(effect, knobs(rows, dtype))
            y = effect.forward(x, RATE, **values)
            assert y.dtype == torch.float32
            y.square().sum().backward()
            turned = [v for v in values.values() if v.requires_grad]
            assert all(v.grad is not None and v.grad.dtype == dtype for v in turned)
            outputs.append(y.detach().numpy())
        # Rounding of a knob to float32 moves it by 6e-8 of itself, a recursion's memory multiplies that.
        assert difference_db(outputs[1], outputs[0]) < -60.0


class TestChoices:
    def test_a_number_that_is_no_word_is_refused(self, effect: Effect) -> None:
        x = torch.zeros(1, 2, 64)
        for param in effect.params:
            for wrong in (-1.0, 0.5, float(len(param.choices)), float("nan")) if param.choices else ():
                with pytest.raises(SettingError, match=f"{effect.name}.{param.name} = .* is no choice"):
                    effect.forward(x, RATE, **knobs([{**effect.defaults(), param.name: wrong}]))


class TestBatch:
    def test_rows_are_independent(self, effect: Effect) -> None:
        rng = generator(effect.name)
        rows = [random_settings(effect, rng) for _ in range(4)]
        x = np.stack([noise_bursts(rng, 2, 5000) for _ in rows])
        together = effect.forward(torch.from_numpy(x), RATE, **knobs(rows)).numpy()
        for row, settings in enumerate(rows):
            alone = forward_one(effect, x[row], RATE, settings)
            assert difference_db(alone, together[row]) <= effect.tolerance_db

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_precision_is_kept(self, effect: Effect, render_whole: RenderWhole, dtype: type) -> None:
        x = noise_bursts(generator(effect.name), 2, 500, dtype)
        assert forward_one(effect, x, RATE, effect.defaults()).dtype == dtype
        assert render_whole(effect, x, RATE, effect.defaults()).dtype == dtype

    def test_arguments_are_not_changed(self, effect: Effect) -> None:
        rng = generator(effect.name)
        settings = random_settings(effect, rng)
        x = noise_bursts(rng, 2, 1500)
        given, values = torch.from_numpy(x.copy())[None].requires_grad_(), knobs([settings])
        before = {name: value.clone() for name, value in values.items()}
        effect.forward(given, RATE, **values).sum().backward()
        np.testing.assert_array_equal(given.detach().numpy()[0], x)
        assert all(torch.equal(values[name], before[name]) for name in values)
        block = x.copy()
        block.flags.writeable = False
        effect.render(block, RATE, None, **settings)
        np.testing.assert_array_equal(block, x)


class TestEdges:
    def test_silence_stays_silence(self, effect: Effect, render_whole: RenderWhole) -> None:
        x = np.zeros((2, 3000), dtype=np.float32)
        for settings in (effect.defaults(), *corner_settings(effect)):
            assert not forward_one(effect, x, RATE, settings).any(), settings
            assert not render_whole(effect, x, RATE, settings).any(), settings

    def test_nothing_decays_into_denormals(self, effect: Effect, render_whole: RenderWhole) -> None:
        rng = generator(effect.name)
        x = np.zeros((1, 50000), dtype=np.float32)
        x[:, :500] = noise_bursts(rng, 1, 500, np.float32)
        tiny = np.finfo(np.float32).tiny
        for settings in (effect.defaults(), random_settings(effect, rng), random_settings(effect, rng)):
            for y in (
                render_whole(effect, x, GRADCHECK_RATE, settings, 4096),
                forward_one(effect, x, GRADCHECK_RATE, settings),
            ):
                after = np.abs(y[:, 2000:])
                assert (after[after > 0.0] >= tiny).all(), settings

    @pytest.mark.parametrize("kind", ["noise", "impulse"])
    def test_extreme_knobs_stay_finite(self, effect: Effect, render_whole: RenderWhole, kind: str) -> None:
        x = np.zeros((2, 4000), dtype=np.float32)
        if kind == "noise":
            x[:] = 10.0 * generator(effect.name).standard_normal(x.shape)
        else:
            x[:, ::1000] = 10.0
        for settings in corner_settings(effect):
            assert np.isfinite(forward_one(effect, x, RATE, settings)).all(), settings
            assert np.isfinite(render_whole(effect, x, RATE, settings, 512)).all(), settings
