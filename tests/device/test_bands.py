"""Dynamic equaliser and de-esser elsewhere: their section against the recursion, and both against the CPU.

Forms of `fxstyle.device` run on CPU tensors too, where most of this compares them with bare loops and
differences. What test_effects.py asks of every effect is asked here of more channels and of knobs at rest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fxstyle.device import bands, groups, spectral
from fxstyle.device.sections import state_variable
from fxstyle.device.spectral import Circle, parted
from fxstyle.dsp.sections import coefficients
from fxstyle.effects import deesser, dynamic_eq

ROWS = 4

Send = Callable[[torch.Tensor], torch.Tensor]
Form = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Knobs = dict[str, torch.Tensor]

# Measured over settings, rates and lengths at random: -197 dB and 3e-8, for the equaliser, whose boosts of 48
# dB lift its errors, -167 dB and 4e-7. The sampled circle promises -140 dB.
ERROR_DB = -140.0
GRADIENT = 1e-5

# In float32 what is left is the rounding of the output, of a boost of 48 dB at most.
ERROR_32_DB = -125.0


def settings_of(name: str, rate: float, knobs: Knobs) -> torch.Tensor:
    if name == "deesser":
        return deesser._settings(rate, *knobs.values())
    return dynamic_eq._settings(rate, knobs)


FORMS: dict[str, Form] = {
    "deesser": lambda x, p: bands.deess(x, p, deesser.KNEE_DB),
    "dynamic_eq": bands.equalise,
}
EFFECTS = {"deesser": deesser.EFFECT, "dynamic_eq": dynamic_eq.EFFECT}


def knobs_of(name: str, rng: np.random.Generator, rows: int, **fixed: float) -> Knobs:
    """Return knobs at random; those that end with one of the words of `fixed` have that value."""
    knobs = {}
    for p in EFFECTS[name].params:
        value = p.from_unit(torch.from_numpy(rng.uniform(0.0, 1.0, rows)))
        for word, number in fixed.items():
            if p.name.endswith(word):
                value = torch.full_like(value, number)
        knobs[p.name] = value.requires_grad_()
    return knobs


def noise(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Return loud and soft noise by turns."""
    x = rng.standard_normal(shape) * np.array((1.0, 0.01, 0.1))[np.arange(shape[-1]) * 3 // shape[-1]]
    return torch.from_numpy(x)


@pytest.mark.parametrize("rate", [8000.0, 44100.0, 192000.0])
@pytest.mark.parametrize("length", [1, 7, 5000])
def test_a_state_variable_section_is_the_recursion(rate: float, length: int) -> None:
    hz = torch.tensor([20.0, 150.0, 3000.0, 20000.0], dtype=torch.float64)
    q = torch.tensor([8.0, 0.2, 0.7, 2.0], dtype=torch.float64)
    c = coefficients(hz, q, rate)
    x = np.random.default_rng(length).standard_normal((4, 2, length))
    circle = Circle.of(torch.from_numpy(x))
    sections = torch.stack(state_variable(circle, c), dim=1)
    found = parted(circle, torch.from_numpy(x), sections).numpy()

    wanted = np.empty((4, 2, 2, length))
    s, r = np.zeros((4, 2)), np.zeros((4, 2))
    c1, c2, c3 = c.numpy().T[..., None]
    for n in range(length):
        t = x[..., n] - r
        s_next, r_next = c1 * s + c2 * t, r + c2 * s + c3 * t
        band = 0.5 * (s + s_next) / q.numpy()[:, None]
        wanted[:, 0, :, n], wanted[:, 1, :, n] = band, x[..., n] - band - 0.5 * (r + r_next)
        s, r = s_next, r_next
    # -140 dB is the circle's own bound.
    np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-7 * np.abs(x).max())


@pytest.mark.parametrize("name", list(FORMS))
@pytest.mark.parametrize(
    ("channels", "length", "rate", "fixed"),
    [
        (1, 1, 44100.0, {}),
        (3, 2, 48000.0, {"link": 0.0}),
        (1, 4000, 8000.0, {"link": 0.5}),
        (5, 4000, 44100.0, {"link": 1.0}),
        (2, 4000, 192000.0, {"knee_db": 0.0}),
        (3, 4000, 44100.0, {"ratio": 1.0, "link": 0.3}),
        (2, 700, 44100.0, {"gain_db": 6.0, "range_db": 24.0, "threshold_db": -40.0}),
    ],
)  # fmt: skip
def test_away_as_on_the_cpu(
    send: Send, name: str, channels: int, length: int, rate: float, fixed: dict[str, float]
) -> None:
    rng = np.random.default_rng(length + channels)
    known = {p.name for p in EFFECTS[name].params}
    given = {w: v for w, v in fixed.items() if any(k.endswith(w) for k in known)}
    knobs = knobs_of(name, rng, ROWS, **given)
    x = noise(rng, ROWS, channels, length).requires_grad_()
    g = torch.from_numpy(rng.standard_normal(x.shape))
    y, there = EFFECTS[name].forward(x, rate, **knobs), send(x)
    z = EFFECTS[name].forward(there, rate, **knobs)
    assert z.device == there.device
    peak = max(1.0, float(y.detach().abs().max()))
    assert float((z.cpu() - y).detach().abs().max()) <= 10.0 ** (ERROR_DB / 20.0) * peak
    wanted = torch.autograd.grad(y, [x, *knobs.values()], g)
    found = torch.autograd.grad(z, [there, *knobs.values()], send(g))
    for knob, one, other in zip(["x", *knobs], wanted, found, strict=True):
        # The absolute part is the output's error, which is all there is of a gradient that is zero.
        scale = float(one.norm()) + 1e-6 * float(wanted[0].norm())
        assert float((other.cpu() - one).norm()) <= GRADIENT * scale, knob
    single = EFFECTS[name].forward(send(x.detach().float()), rate, **knobs)
    assert single.dtype == torch.float32
    assert float((single.cpu() - y).detach().abs().max()) <= 10.0 ** (ERROR_32_DB / 20.0) * peak


@pytest.mark.parametrize("name", list(FORMS))
def test_gradients_agree_with_differences(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Any lift has exact gradients of its own; as much as usual magnifies the rounding of differences.
    monkeypatch.setattr(spectral, "LIFT", 10.0)
    rng = np.random.default_rng(3)
    knobs = knobs_of(name, rng, 2, knee_db=12.0)
    x = noise(rng, 2, 2, 14).requires_grad_()

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return FORMS[name](x, settings_of(name, 8000.0, dict(zip(knobs, values, strict=True))))

    assert torch.autograd.gradcheck(run, (x, *knobs.values()), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "knob", "others"),
    [
        ("deesser", "range_db", {"threshold_db": -20.0}),
        ("dynamic_eq", "band2_range_db", {"threshold_db": -40.0, "ratio": 3.0, "knee_db": 6.0}),
        ("dynamic_eq", "ratio", {"threshold_db": -40.0, "knee_db": 6.0}),
    ],
)
def test_at_rest_a_knob_has_the_slope_of_what_it_begins(
    name: str, knob: str, others: dict[str, float]
) -> None:
    rng = np.random.default_rng(5)
    rest = 1.0 if knob == "ratio" else 0.0
    knobs = knobs_of(name, rng, 1, **others)
    x = noise(rng, 1, 2, 2000)
    g = torch.from_numpy(rng.standard_normal(x.shape))

    def at(value: float) -> tuple[torch.Tensor, torch.Tensor]:
        turned = torch.full((1,), value, dtype=torch.float64, requires_grad=True)
        y = FORMS[name](x, settings_of(name, 44100.0, {**knobs, knob: turned}))
        return (y * g).sum(), turned

    (here, turned), step = at(rest), 1e-4
    (slope,) = torch.autograd.grad(here, [turned])
    # One-sided differences of second order.
    difference = (4.0 * at(rest + step)[0] - 3.0 * here - at(rest + 2.0 * step)[0]).item() / (2.0 * step)
    assert abs(slope.item() - difference) <= 1e-4 * abs(difference)
    assert abs(difference) > 1e-3


@pytest.mark.parametrize("name", list(FORMS))
@pytest.mark.parametrize("rows_at_a_time", [1, 3])
def test_groups_change_nothing(name: str, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    p = settings_of(name, 44100.0, knobs_of(name, rng, ROWS)).detach().requires_grad_()
    x = noise(rng, ROWS, 2, 300).requires_grad_()
    runs: list[int] = []

    def all_of_it() -> tuple[torch.Tensor, ...]:
        y = FORMS[name](x, p)
        return y.detach(), *torch.autograd.grad(y.square().sum(), (x, p))

    together = all_of_it()
    counted = bands.parted
    monkeypatch.setattr(bands, "parted", lambda *given: (runs.append(len(given[1])), counted(*given))[1])
    monkeypatch.setattr(groups, "_memory", lambda device: 1)
    monkeypatch.setattr(groups, "LITTLE", 0.0)
    bytes_of = bands._BYTES_OF_DEESSER if name == "deesser" else 3 * bands._BYTES_OF_BAND
    monkeypatch.setattr(groups, "WORK", bytes_of * 2 * 300 * rows_at_a_time)
    for one, other in zip(together, all_of_it(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
    assert max(runs) == rows_at_a_time


@pytest.mark.parametrize("name", list(FORMS))
def test_nothing_comes_of_nothing(name: str) -> None:
    p = settings_of(name, 44100.0, knobs_of(name, np.random.default_rng(0), 2)).detach()
    for shape in ((2, 0, 5), (2, 2, 0)):
        assert FORMS[name](torch.zeros(shape), p).shape == shape
    assert not bool(FORMS[name](torch.zeros(2, 2, 400), p).any())
