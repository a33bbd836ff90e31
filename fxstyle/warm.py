"""Compile the kernels ahead of their first use, effect by effect in processes side by side.

numba compiles a kernel when it is first called with arguments of a type, and keeps the result in a cache
beside the source, or in the user's cache folder where that is not writable. What is compiled here is what
`match` and `apply` call: both forms of an effect, on float32 audio.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np

from fxstyle import effects

RATE = 44100
FRAMES = 4096
"""Long enough, beyond an effect's latency, for every loop to be entered."""

MEASURING = "measuring"
"""Name in the result of what is no effect: loudness and true peak."""


def _noise(frames: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return (0.1 * np.random.default_rng(0).standard_normal((2, frames))).astype(np.float32)


def compile_effect(name: str) -> float:
    """Run both forms of one effect once, gradient included; return the seconds it took."""
    import torch

    began = time.perf_counter()
    effect = effects.get(name)
    settings = effect.defaults()
    x = _noise(FRAMES + effect.latency(RATE, settings))
    effect.render(x, RATE, None, **settings)
    knobs = {
        knob: torch.tensor([value, value], dtype=torch.float64).requires_grad_(not effect.param(knob).choices)
        for knob, value in settings.items()
    }
    batch = torch.from_numpy(np.stack([x, x])).requires_grad_()
    effect.forward(batch, RATE, **knobs).sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - began


def _compile_measuring(_: str) -> float:
    import torch

    from fxstyle.audio import Audio
    from fxstyle.features.descriptors import describe
    from fxstyle.loudness import PeakMeter, measure_loudness

    began = time.perf_counter()
    x = _noise(10 * FRAMES)  # the loudness of a few gating blocks
    sound = torch.from_numpy(x)[None].requires_grad_()
    values = describe(sound, RATE)
    torch.cat([group.flatten() for group in values.values()]).sum().backward()  # type: ignore[no-untyped-call]
    measure_loudness(Audio(x, RATE))
    PeakMeter(RATE, 2).update(x)
    return time.perf_counter() - began


def warm(
    names: Iterable[str] | None = None, *, jobs: int | None = None, done: Callable[[str], None] | None = None
) -> dict[str, float]:
    """Compile the kernels of effects, and of measuring, unless they are in the cache already.

    Parameters
    ----------
    names: of the effects; by default those of the default chain.
    jobs: processes at a time; one per core by default.
    done: called with each name when it is finished.

    Returns
    -------
    Seconds by name; about 0 for what was cached.

    Raises
    ------
    SettingError: there is no such effect.
    """
    wanted = effects.DEFAULT_CHAIN.split(",") if names is None else list(names)
    for name in wanted:
        effects.get(name)
    seconds: dict[str, float] = {}
    # spawn: a forked copy of a process that has run numba's threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs or os.cpu_count() or 1, mp_context=context) as pool:
        tasks = {pool.submit(compile_effect, name): name for name in wanted}
        tasks[pool.submit(_compile_measuring, MEASURING)] = MEASURING
        for task in as_completed(tasks):
            seconds[tasks[task]] = task.result()
            if done is not None:
                done(tasks[task])
    return seconds
