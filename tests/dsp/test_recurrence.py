"""Truths of the second-order cascade: scipy's sosfilt, finite differences, and the transpose."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import butter
from scipy.signal import sosfilt as scipy_sosfilt

from fxstyle.dsp.lanes import SECTIONS, SPAN, STREAMS, WIDTH, from_lanes, to_lanes
from fxstyle.dsp.recurrence import BLOCK, TINY, sosfilt, sosfilt_block
from fxstyle.effect import Samples


def cascade(sections: int) -> Samples:
    """Return (sections, 6): slow and fast poles, none at rest."""
    return butter(2 * sections, (0.01, 0.4), "bandpass", output="sos")[:sections]


@pytest.mark.parametrize("sections", [1, 2, 3, SECTIONS, SECTIONS + 1, 2 * SECTIONS + 2])
@pytest.mark.parametrize("length", [1, 2, SPAN, SPAN + 1, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_agrees_with_scipy(sections: int, length: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, length))
    sos = np.stack([cascade(sections), butter(2 * sections, 0.3, output="sos")])
    y = sosfilt(torch.from_numpy(x), torch.from_numpy(sos)).numpy()
    for row in range(2):
        truth = scipy_sosfilt(sos[row], x[row])
        np.testing.assert_allclose(y[row], truth, atol=1e-9 * max(1e-3, np.abs(truth).max()))


def test_float32_is_rounded_once() -> None:
    # The recursion runs in float64, so the only float32 error is that of the output itself.
    x = np.random.default_rng(1).standard_normal((1, 2, 5000)).astype(np.float32)
    sos = cascade(4)
    y = sosfilt(torch.from_numpy(x), torch.from_numpy(sos)[None]).numpy()[0]
    truth = scipy_sosfilt(sos, x[0].astype(np.float64))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, truth, rtol=2.0**-23, atol=1e-9)


@pytest.mark.parametrize("sections", [1, 2, 5])
def test_gradient_agrees_with_differences(sections: int) -> None:
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.standard_normal((2, 2, 9))).requires_grad_()
    free = torch.from_numpy(np.stack([cascade(sections), 0.9 * cascade(sections)])[:, :, [0, 1, 2, 4, 5]])
    free = free.clone().requires_grad_()

    def run(signal: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return sosfilt(signal, torch.cat((c[..., :3], torch.ones_like(c[..., :1]), c[..., 3:]), dim=-1))

    assert torch.autograd.gradcheck(run, (x, free), atol=1e-8, rtol=1e-6)


def test_adjoint_is_the_transpose_across_blocks() -> None:
    # <H x, g> = <x, H' g> for signals longer than the blocks of the backward pass
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((1, 2, 3 * BLOCK + 100))).requires_grad_()
    g = torch.from_numpy(rng.standard_normal(x.shape))
    y = sosfilt(x, torch.from_numpy(cascade(5))[None])
    (dx,) = torch.autograd.grad(y, x, g)
    assert (y * g).sum().item() == pytest.approx((x * dx).sum().item(), rel=1e-10)


def test_coefficient_gradient_agrees_with_differences_across_blocks() -> None:
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.standard_normal((1, 1, 2 * BLOCK + 77)))
    g = torch.from_numpy(rng.standard_normal(x.shape))
    sos = torch.from_numpy(cascade(3))[None].requires_grad_()
    (gradient,) = torch.autograd.grad((sosfilt(x, sos) * g).sum(), sos)
    step = 1e-6
    for section in range(3):
        for k in (0, 1, 2, 4, 5):
            up, down = sos.detach().clone(), sos.detach().clone()
            up[0, section, k] += step
            down[0, section, k] -= step
            slope = ((sosfilt(x, up) - sosfilt(x, down)) * g).sum().item() / (2 * step)
            assert gradient[0, section, k].item() == pytest.approx(slope, rel=1e-5, abs=1e-4)
    assert not gradient[0, :, 3].any()


@pytest.mark.parametrize("sections", [1, 5, SECTIONS + 2])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_stream_is_the_batch_to_the_bit(channels: int, sections: int) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((channels, 4 * BLOCK))
    sos = cascade(sections)
    whole = sosfilt(torch.from_numpy(x)[None], torch.from_numpy(sos)[None]).numpy()[0]
    # Blocks of one sample, shorter than the way through the sections, and across several kept states.
    sizes = [*rng.integers(1, 2 * SPAN, 30), BLOCK + 3]
    state, blocks = None, []
    for block in np.split(x, np.cumsum(sizes), axis=1):
        y, state = sosfilt_block(block, sos, state)
        blocks.append(y)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)


def test_no_sections_are_the_identity() -> None:
    x = np.random.default_rng(8).standard_normal((1, 2, 700))
    none = np.empty((0, 6))
    signal = torch.from_numpy(x).requires_grad_()
    y = sosfilt(signal, torch.from_numpy(none)[None])
    np.testing.assert_array_equal(y.detach().numpy(), x)
    (dx,) = torch.autograd.grad(y, signal, 3.0 * torch.ones_like(y))
    assert (dx == 3.0).all()
    first, state = sosfilt_block(x[0, :, :1], none, None)
    rest, _ = sosfilt_block(x[0, :, 1:], none, state)
    np.testing.assert_array_equal(np.concatenate((first, rest), axis=1), x[0])


def test_streams_side_by_side_do_not_touch() -> None:
    """Channels share registers: what is wrong with one must not be seen in the other."""
    x = np.random.default_rng(9).standard_normal((1, 3, 900))
    sos = torch.from_numpy(cascade(5))[None]
    clean = sosfilt(torch.from_numpy(x), sos).numpy()
    for bad in range(3):
        spoilt = x.copy()
        spoilt[0, bad, 100] = np.nan
        signal = torch.from_numpy(spoilt).requires_grad_()
        y = sosfilt(signal, sos)
        y.sum().backward()
        assert signal.grad is not None
        good = [c for c in range(3) if c != bad]
        np.testing.assert_array_equal(y.detach().numpy()[0, good], clean[0, good])
        assert signal.grad[0, good].isfinite().all()
        assert y[0, bad, 100:].isnan().all()


def test_gradient_can_be_asked_for_twice() -> None:
    x = torch.from_numpy(np.random.default_rng(10).standard_normal((1, 1, 2 * BLOCK + 9))).requires_grad_()
    sos = torch.from_numpy(cascade(3))[None].requires_grad_()
    y = sosfilt(x, sos).square().sum()
    once = torch.autograd.grad(y, (x, sos), retain_graph=True)
    twice = torch.autograd.grad(y, (x, sos))
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(11)
    x = torch.from_numpy(rng.standard_normal((5, 1, 1500))).requires_grad_()
    sos = torch.from_numpy(np.stack([0.9 * cascade(4) + 0.1 * rng.random() for _ in range(5)]))
    sos[:, :, 3] = 1.0
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            y = sosfilt(x, sos)
            results.append((y, *torch.autograd.grad(y.sum(), x)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("streams", "sections"), [(1, 1), (STREAMS, SECTIONS), (2 * STREAMS + 1, SECTIONS + 3)]
)
def test_lanes_hold_every_number_once(streams: int, sections: int) -> None:
    values = 1.0 + np.arange(streams * sections * 3.0).reshape(streams, sections, 3)
    lanes = to_lanes(values, (-1.0, -2.0, -3.0))
    assert lanes.shape[2:] == (3, WIDTH)
    np.testing.assert_array_equal(from_lanes(lanes, streams, sections), values)
    idle = lanes.size // 3 - streams * sections
    assert [np.count_nonzero(lanes == -k) for k in (1.0, 2.0, 3.0)] == [idle] * 3
    # The last section of the first group of the first stream lies lowest.
    lowest = values[0, SECTIONS - 1, 0] if sections >= SECTIONS else -1.0
    assert lanes[0, 0, 0, 0] == lowest


def digest(y: Samples) -> str:
    return hashlib.sha256(np.ascontiguousarray(y).tobytes()).hexdigest()


@pytest.mark.slow
def test_a_plain_processor_gives_the_same_bits(tmp_path: Path) -> None:
    """One without wide registers and fused multiply-add, for which the lanes are laid out otherwise."""
    code = (
        "import numpy as np\n"
        "from fxstyle.dsp.lanes import STREAMS\n"
        "from fxstyle.dsp.recurrence import sosfilt_block\n"
        "from tests.dsp.test_recurrence import cascade, digest\n"
        "x = np.random.default_rng(12).standard_normal((2, 3000))\n"
        "print(STREAMS, digest(sosfilt_block(x, cascade(6), None)[0]))\n"
    )
    env = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=env,
        cwd=root,
        timeout=120,
    )
    x = np.random.default_rng(12).standard_normal((2, 3000))
    assert done.stdout.split() == ["1", digest(sosfilt_block(x, cascade(6), None)[0])]


@pytest.mark.parametrize("bands", [(1,), (0, 1, 2)], ids=["one", "all"])
@pytest.mark.parametrize("first", [True, False])
def test_identity_sections_leave_no_trace(bands: tuple[int, ...], first: bool) -> None:
    """A band that is switched to 0 dB between blocks rings out, and switched back goes on from there."""
    x = np.random.default_rng(6).standard_normal((1, 900))
    sos = cascade(3)
    off = sos.copy()
    off[list(bands)] = (1.0, -1.2, 0.5, 1.0, -1.2, 0.5)
    thirds = (off, sos, off) if first else (sos, off, sos)
    state, ours = None, []
    for begin, coefficients in zip((0, 300, 600), thirds, strict=True):
        y, state = sosfilt_block(x[:, begin : begin + 300], coefficients, state)
        ours.append(y)
    signal = x[0]
    for section in range(3):
        past = np.zeros(4)  # x[n-1], x[n-2], y[n-1], y[n-2]
        out = np.empty_like(signal)
        for n, value in enumerate(signal):
            b0, b1, b2, _, a1, a2 = thirds[n // 300][section]
            out[n] = b0 * value + b1 * past[0] + b2 * past[1] - a1 * past[2] - a2 * past[3]
            past = np.array((value, past[0], out[n], past[2]))
        signal = out
    np.testing.assert_allclose(np.concatenate(ours, axis=1)[0], signal, atol=1e-9)


def test_no_denormals_after_sound_ends() -> None:
    x = np.zeros((1, 200 * BLOCK))
    x[0, 0] = 1.0
    y, state = sosfilt_block(x, cascade(2), None)
    assert y[0, -1] == 0.0
    assert not state.history.any()
    assert np.abs(y[y != 0.0]).min() >= TINY


def test_states_become_zero_before_they_become_denormals() -> None:
    """0.98^n falls to 1e-135 in 30 blocks by itself, which is no denormal yet."""
    x = np.zeros((1, 30 * BLOCK))
    x[0, 0] = 1.0
    _, state = sosfilt_block(x, np.array([[1.0, 0.0, 0.0, 1.0, -0.98, 0.0]]), None)
    assert not state.history.any()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sosfilt needs x \(batch, channel, time\).*got \(2, 8\)"):
        sosfilt(torch.zeros(2, 8), torch.zeros(2, 1, 6))
