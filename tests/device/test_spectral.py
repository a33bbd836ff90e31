"""Frequency sampling on a damped circle against the exact recursions, and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxstyle.device import echo, groups, sections, spectral
from fxstyle.dsp import echo as on_cpu
from fxstyle.dsp import recurrence
from fxstyle.dsp.kernel import each_row
from fxstyle.effects import delay, eq

ROWS = 6

# The module's own bound, -140 dB of the peak of what is still to come, which may be above the peak that has
# been; the equaliser boosts by up to 8 * 24 dB.
ERROR_DB = -130.0
GRADIENT = 2e-5


def equaliser(rng: np.random.Generator, rate: float) -> torch.Tensor:
    """Return sections (ROWS, section, 6) of random settings; of the lowest and of the highest ones too."""
    units = rng.uniform(0.0, 1.0, (len(eq.PARAMS), ROWS))
    units[:, 0], units[:, 1] = 0.0, 1.0
    knobs = {p.name: p.from_unit(torch.from_numpy(u)) for p, u in zip(eq.PARAMS, units, strict=True)}
    knobs = {n: v.round() if eq.EFFECT.param(n).choices else v for n, v in knobs.items()}
    return eq.design(rate, knobs).detach()


def error_db(found: torch.Tensor, wanted: torch.Tensor) -> float:
    error = float((found - wanted).detach().abs().max())
    return 20.0 * np.log10(max(error, 1e-30) / max(1.0, float(wanted.detach().abs().max())))


@pytest.mark.parametrize("rate", [8000.0, 44100.0, 192000.0])
@pytest.mark.parametrize("length", [1, 7, 1000, 30000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sections_are_the_recursion(rate: float, length: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(length)
    sos = equaliser(rng, rate).requires_grad_()
    x = torch.from_numpy(rng.standard_normal((ROWS, 2, length))).to(dtype).requires_grad_()
    g = torch.from_numpy(rng.standard_normal((ROWS, 2, length))).to(dtype)
    y, z = recurrence.sosfilt(x, sos), sections.sosfilt(x, sos)
    wanted, found = torch.autograd.grad(y, (x, sos), g), torch.autograd.grad(z, (x, sos), g)
    assert z.dtype == dtype
    assert error_db(z, y) <= ERROR_DB
    assert error_db(found[0], wanted[0]) <= ERROR_DB
    scale = wanted[1].abs().amax((1, 2), keepdim=True)
    assert float(((found[1] - wanted[1]).abs() / scale).max()) < GRADIENT


def test_a_pole_on_the_unit_circle_is_a_sum() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 5000)))
    sos = torch.tensor([[[1.0, 0.0, 0.0, 1.0, -1.0, 0.0]]], dtype=torch.float64).expand(2, -1, -1)
    assert error_db(sections.sosfilt(x, sos), x.cumsum(dim=2)) <= ERROR_DB


def test_without_damping_the_tail_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 1, 4000, dtype=torch.float64)
    x[..., 3000] = 1.0
    sos = torch.tensor([[[1.0, 0.0, 0.0, 1.0, -0.9995, 0.0]]], dtype=torch.float64)
    assert error_db(sections.sosfilt(x, sos), recurrence.sosfilt(x, sos)) <= ERROR_DB
    monkeypatch.setattr(spectral, "LIFT", 1.0)
    assert error_db(sections.sosfilt(x, sos), recurrence.sosfilt(x, sos)) > -40.0


@pytest.mark.parametrize("feedback", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("whole", [3, 700, 70000])
def test_echoes_have_a_closed_form(feedback: float, whole: int) -> None:
    # Filters that do nothing (p = 1, q = -1) and a delay of whole samples: l r^(k-1) at k d, for ever.
    settings = torch.tensor([[1.0, 0.0, 0.0, 0.0, feedback, 1.0, -1.0, 0.5, 0.0]], dtype=torch.float64)
    x = torch.zeros(1, 1, 20000, dtype=torch.float64)
    x[..., 100] = 1.0
    wanted = x.clone()
    times = torch.tensor(range(100 + whole, 20000, whole), dtype=torch.int64)
    wanted[0, 0, times] = 0.5 * feedback ** torch.arange(times.numel(), dtype=torch.float64)
    assert error_db(echo.echo(x, settings, [whole]), wanted) <= ERROR_DB


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 300, 20000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_echoes_are_the_recursion(channels: int, length: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(channels)
    rate = 8000.0
    units = rng.uniform(0.0, 1.0, (len(delay.EFFECT.params), ROWS))
    units[:, 0], units[:, 1] = 0.0, 1.0
    units[[p.name for p in delay.EFFECT.params].index("ping_pong"), :3] = 0.0
    knobs = {
        p.name: p.from_unit(torch.from_numpy(u)) for p, u in zip(delay.EFFECT.params, units, strict=True)
    }
    knobs = {n: v.round() if delay.EFFECT.param(n).choices else v for n, v in knobs.items()}
    columns, whole = delay._settings(rate, channels, *knobs.values())
    settings = columns.detach().requires_grad_()
    x = torch.from_numpy(rng.standard_normal((ROWS, channels, length))).to(dtype).requires_grad_()
    g = torch.from_numpy(rng.standard_normal((ROWS, channels, length))).to(dtype)
    y, z = each_row(x, settings, whole, on_cpu.forward, on_cpu.adjoint), echo.echo(x, settings, whole)
    assert error_db(z, y) <= ERROR_DB
    wanted, found = torch.autograd.grad(y, (x, settings), g), torch.autograd.grad(z, (x, settings), g)
    assert error_db(found[0], wanted[0]) <= ERROR_DB
    # Outside a pair of channels nothing crosses over, and the column has no gradient.
    columns_checked = 9 if channels == 2 else 8
    error = (found[1] - wanted[1]).abs()[:, :columns_checked]
    # The absolute part is the output's error, over all samples.
    assert bool((error <= GRADIENT * wanted[1].abs().amax(0)[:columns_checked] + 1e-7 * length).all())


@pytest.mark.parametrize("rows_at_a_time", [1, 4])
def test_groups_change_nothing(rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    sos = equaliser(rng, 44100.0).requires_grad_()
    x = torch.from_numpy(rng.standard_normal((ROWS, 2, 500))).requires_grad_()

    def all_of_it() -> tuple[torch.Tensor, ...]:
        y = sections.sosfilt(x, sos)
        return y.detach(), *torch.autograd.grad(y.square().sum(), (x, sos))

    together = all_of_it()
    # As many bytes as that many rows ask for, by the module's own reckoning.
    bytes_per_row = spectral.Circle.of(x).count * (8 * (1 + 4 * 2) + 16 * 4 * sos.shape[1])
    monkeypatch.setattr(groups, "_memory", lambda device: 1)
    monkeypatch.setattr(groups, "LITTLE", 0.0)
    monkeypatch.setattr(groups, "WORK", bytes_per_row * rows_at_a_time)
    for one, other in zip(together, all_of_it(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


def test_a_group_gives_only_the_gradients_asked_for() -> None:
    x = torch.ones(3, 4, dtype=torch.float64)
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    y = groups._Grouped.apply(lambda a, b: a * b[:, None], 2, x, scale)
    (gradient,) = torch.autograd.grad(y.sum(), [scale])
    torch.testing.assert_close(gradient, torch.full((3,), 4.0, dtype=torch.float64))
