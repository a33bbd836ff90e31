"""What fxstyle is compared with. Each method sees a Task (never the truth) and returns audio.

nothing            y = x.
loudness           y = g x with the reference's BS.1770 loudness.
rules              ST-ITO's rule-based matcher, as published: equaliser, then compressor.
rules+loudness     the same, then the reference's loudness.
matchering         the PyPI package with its defaults, then the reference's loudness.
cma                CMA-ES (pycma) over fxstyle's chain, start and objective, CMA_EVALUATIONS.
fxstyle            fxstyle.match on the same chain.

Loudness is given to the methods that do not end at the reference's level by themselves, since level
alone explains half of a naive distance and is no achievement (nor its lack a failure) of theirs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pedalboard
import soundfile
from counterfx import RATE, Stereo, at_loudness, loudness_lufs, units_of
from scipy.signal import fftconvolve, firwin2, savgol_filter, stft

import fxstyle
from fxstyle.render import render

# The rule-based matcher's published constants.
SPECTRUM_FFT = 16384
SMOOTHING_BINS, SMOOTHING_ORDER = 1025, 2
FIR_TAPS = 2048
COMPRESSOR_RATIO = 3.0
CLOSE_ENOUGH_LU = 0.25
# The publication does not fix the rest.
ATTACK_MS, RELEASE_MS = 10.0, 100.0
THRESHOLD_STEP_DB, LOWEST_THRESHOLD_DB = 0.5, -60.0
FLOOR = 1e-8
"""Keeps the ratio of two spectra finite where the input has nothing."""
MOST_GAIN_DB = 40.0

CMA_EVALUATIONS, CMA_POPULATION, CMA_SIGMA = 2048, 16, 0.2


@dataclass(frozen=True)
class Task:
    """What a method may see: input and reference, (2, time) at RATE, how hard to try, and the chain.

    chain: effects of fxstyle in order; None: hidden. taken: what a method tells of the units it has used.
    """

    input: Stereo
    reference: Stereo
    chain: str | None
    lock: tuple[str, ...]
    quality: str = "standard"
    seed: int = 0
    taken: set[str] = field(default_factory=set)


def nothing(task: Task) -> Stereo:
    """Return the input."""
    return task.input


def loudness(task: Task) -> Stereo:
    """Return the input at the reference's loudness."""
    return at_loudness(task.input, loudness_lufs(task.reference))


def _average_spectrum(x: Stereo) -> np.ndarray:
    """Mean magnitude over frames and channels, smoothed over frequency."""
    _, _, spectrum = stft(x, RATE, nperseg=SPECTRUM_FFT, noverlap=SPECTRUM_FFT // 2)
    smooth = savgol_filter(np.abs(spectrum).mean(axis=(0, 2)), SMOOTHING_BINS, SMOOTHING_ORDER)
    return np.maximum(smooth, FLOOR)


def _peak_normalised(x: Stereo) -> Stereo:
    return (x / max(float(np.abs(x).max()), FLOOR)).astype(np.float32)


def rules(task: Task) -> Stereo:
    """Match the average spectrum by a FIR filter, then the loudness at equal peak by a compressor.

    The published matcher works on peak-normalised audio; its output takes the reference's peak here,
    which undoes that normalisation.
    """
    x, reference = _peak_normalised(task.input), _peak_normalised(task.reference)
    ratio = _average_spectrum(reference) / _average_spectrum(x)
    most = 10.0 ** (MOST_GAIN_DB / 20.0)
    frequencies = np.linspace(0.0, RATE / 2.0, ratio.size)
    # A type I filter (odd length) may have any gain at half the rate.
    taps = firwin2(FIR_TAPS + 1, frequencies, np.clip(ratio, 1.0 / most, most), fs=RATE)
    late = FIR_TAPS // 2
    equalised = fftconvolve(x, taps[None], axes=1)[:, late : late + x.shape[1]]
    equalised = _peak_normalised(equalised.astype(np.float32))

    target_lufs = loudness_lufs(reference)
    y, threshold_db = equalised, 0.0
    while target_lufs - loudness_lufs(y) > CLOSE_ENOUGH_LU and threshold_db > LOWEST_THRESHOLD_DB:
        threshold_db -= THRESHOLD_STEP_DB
        compressor = pedalboard.Compressor(threshold_db, COMPRESSOR_RATIO, ATTACK_MS, RELEASE_MS)
        y = _peak_normalised(compressor(equalised, RATE))
    return (y * np.abs(task.reference).max()).astype(np.float32)


def rules_with_loudness(task: Task) -> Stereo:
    """Return the rule-based match at the reference's loudness."""
    return at_loudness(rules(task), loudness_lufs(task.reference))


def matchering(task: Task) -> Stereo:
    """Return Matchering's result with its default settings, at the reference's loudness."""
    import matchering as mg

    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / f"{name}.wav") for name in ("input", "reference", "result")}
        soundfile.write(paths["input"], task.input.T, RATE, subtype="FLOAT")
        soundfile.write(paths["reference"], task.reference.T, RATE, subtype="FLOAT")
        mg.process(
            target=paths["input"],
            reference=paths["reference"],
            results=[mg.Result(paths["result"], "FLOAT")],
            config=mg.Config(temp_folder=folder),
        )
        y, _ = soundfile.read(paths["result"], dtype="float32", always_2d=True)
    return at_loudness(np.ascontiguousarray(y.T), loudness_lufs(task.reference))


def _audio(x: Stereo) -> fxstyle.Audio:
    return fxstyle.Audio(x, RATE)


def cma_es(task: Task) -> Stereo:
    """Minimise fxstyle's own objective from its own first guess by CMA-ES."""
    import cma

    from fxstyle.fit.match import problem

    task_problem = problem(
        _audio(task.input), _audio(task.reference), task.chain, task.lock, quality=task.quality
    )
    best, best_loss = task_problem.start, float(task_problem.evaluate(task_problem.start[None])[0])
    options = {
        "bounds": [0.0, 1.0],
        "popsize": CMA_POPULATION,
        # One evaluation has gone to the start.
        "maxfevals": CMA_EVALUATIONS - 1,
        "seed": task.seed + 1,  # pycma takes 0 for "from the clock"
        "verbose": -9,
    }
    if task_problem.size == 1:
        # pycma refuses one dimension: an even grid spends the same evaluations.
        grid = np.linspace(0.01, 0.99, CMA_EVALUATIONS - 1)[:, None]
        losses = task_problem.evaluate(grid)
        if losses.min() < best_loss:
            best = grid[int(losses.argmin())]
    else:
        strategy = cma.CMAEvolutionStrategy(task_problem.start, CMA_SIGMA, options)
        while not strategy.stop():
            asked = strategy.ask()
            losses = task_problem.evaluate(np.stack(asked))
            strategy.tell(asked, losses.tolist())
            if losses.min() < best_loss:
                best, best_loss = asked[int(losses.argmin())], float(losses.min())
    return render(task_problem.chain(np.asarray(best)), task.input, RATE)


def fxstyle_match(task: Task) -> Stereo:
    """Return what `fxstyle.match` hands back."""
    found = fxstyle.match(
        _audio(task.input),
        _audio(task.reference),
        chain=task.chain,
        lock=list(task.lock),
        quality=task.quality,
        seed=task.seed,
    )
    task.taken.update(units_of(found.chain))
    return found.audio.samples


METHODS: dict[str, Callable[[Task], Stereo]] = {
    "nothing": nothing,
    "loudness": loudness,
    "rules": rules,
    "rules+loudness": rules_with_loudness,
    "matchering": matchering,
    "cma": cma_es,
    "fxstyle": fxstyle_match,
}
