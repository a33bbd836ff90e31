"""Lane functions: against bare loops and differences, in numba's simulator of a GPU, and compiled for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fxstyle.device import lane_functions
from fxstyle.device.feedback import TAPS, allpasses, swept_line
from fxstyle.device.loops import BLOCK, follow, latest_maximum, recede

KERNELS = Path(__file__).with_name("kernels.py")
NAMES = {
    "_follow", "_recede", "_join", "_latest_maximum", "_line", "_line_adjoint", "_allpasses",
    "_allpasses_adjoint", "_read", "_read_adjoint",
}  # fmt: skip


def in_a_process_of_its_own(task: str, **environment: str) -> list[str]:
    # Whether numba simulates is decided when it is first imported.
    done = subprocess.run(
        [sys.executable, str(KERNELS), task],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_kernels_in_the_simulator_do_what_their_functions_say() -> None:
    assert set(in_a_process_of_its_own("simulate", NUMBA_ENABLE_CUDASIM="1")) == NAMES


def test_kernels_compile_for_gpus() -> None:
    lines = in_a_process_of_its_own("compile")
    if lines[-1].startswith("no compiler"):
        pytest.skip(lines[-1])
    assert {line.split()[0] for line in lines} == NAMES


def test_where_numba_has_no_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.cuda.is_available", lambda: False)
    lane_functions._cuda_works.cache_clear()
    with pytest.warns(RuntimeWarning, match="numba-cuda"):
        assert not lane_functions.usable(torch.device("cuda"))
    lane_functions._cuda_works.cache_clear()
    assert lane_functions.usable(torch.device("cpu"))


@pytest.mark.parametrize("length", [1, 2, 9, 700])
@pytest.mark.parametrize("first", [0.0, 1.0])
def test_follow_is_a_loop(length: int, first: float) -> None:
    rng = np.random.default_rng(length)
    u, up, down = rng.standard_normal((3, length)), rng.uniform(0, 1, 3), rng.uniform(0, 1, 3)
    up[0] = down[1] = 0.0
    wanted = np.empty_like(u)
    for lane in range(3):
        last = first
        for n in range(length):
            k = up[lane] if u[lane, n] > last else down[lane]
            last = wanted[lane, n] = k * last + (1.0 - k) * u[lane, n]
    found = follow(*map(torch.from_numpy, (u, up, down)), first).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_follow_stays_where_it_is() -> None:
    # u + k (e - u): a limiter at rest must not leave 1 by rounding.
    ones = torch.ones(2, 300, dtype=torch.float64)
    k = torch.tensor([0.9, 0.123], dtype=torch.float64)
    assert torch.equal(follow(ones, k, k, 1.0), ones)


@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_recede_is_a_loop(length: int) -> None:
    rng = np.random.default_rng(length)
    g, k = rng.standard_normal((2, length)), rng.uniform(-1.0, 1.0, (2, length + 1))
    wanted = np.empty_like(g)
    for lane in range(2):
        carry = 0.0
        for n in range(length - 1, -1, -1):
            carry = wanted[lane, n] = g[lane, n] + k[lane, n + 1] * carry
    np.testing.assert_allclose(recede(torch.from_numpy(g), torch.from_numpy(k)).numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize("length", [1, 13, 400])
def test_latest_maximum_is_a_search(length: int) -> None:
    rng = np.random.default_rng(length)
    spans = [0, 1, 2, 12, 99, 5000]
    v = rng.integers(0, 5, (len(spans), length)).astype(np.float64)  # many are equal
    at = latest_maximum(torch.from_numpy(v), torch.tensor(spans)).numpy()
    for lane, span in enumerate(spans):
        for n in range(length):
            window = v[lane, max(n - span, 0) : n + 1]
            assert at[lane, n] == n - int(np.argmax(window[::-1]))


@pytest.mark.parametrize("length", [20, 3 * BLOCK])
def test_gradients_agree_with_differences(length: int) -> None:
    rng = np.random.default_rng(length)

    def noise(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape)).requires_grad_()

    def share(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(0.2, 0.9, shape)).requires_grad_()

    delay = torch.from_numpy(rng.uniform(1.0, 9.0, (2, length))).requires_grad_()
    fast = length > 100
    assert torch.autograd.gradcheck(follow, (noise(2, length), share(2), share(2), 0.3), fast_mode=fast)
    assert torch.autograd.gradcheck(
        swept_line, (noise(2, length), delay, share(2), 9 + TAPS), fast_mode=fast, atol=1e-5
    )
    assert torch.autograd.gradcheck(
        allpasses, (noise(2, length), share(2, length), share(2)), fast_mode=fast, atol=1e-5
    )
