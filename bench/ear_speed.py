"""Windows of five seconds, stereo, that a method embeds per second, with and without gradients.

A batch of ROWS (one row for methods that need gigabytes) against one target; forward embeds it and gives
distances, backward adds the gradient to the sound. The quickest of REPEATS, methods taking turns.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from counterfx import RATE
from ear_contents import SECONDS
from ear_row import Methods, Row, Rows

from fxstyle.embed import Embedding
from fxstyle.performance import perform

ROWS, REPEATS = 8, 5
HEAVY = frozenset({"cdpam"})
"""Methods that get one row: sixteen layers at the rate of the sound."""
THREADS = (1, 2)


def _seconds(method: Embedding, x: torch.Tensor, gradients: bool) -> float:
    with torch.no_grad():
        target = method.embed(x[:1], RATE)
    began = time.perf_counter()
    if gradients:
        row = x.clone().requires_grad_()
        terms = method.distance(method.embed(row, RATE), target)
        torch.autograd.grad(torch.stack(list(terms.values())).sum(), row)
    else:
        with torch.no_grad():
            method.distance(method.embed(x, RATE), target)
    return time.perf_counter() - began


def rows(methods: Methods, queries: int) -> Rows:
    """Yield windows per second; the interval is that of the slowest to the quickest turn."""
    whole = perform(SECONDS * ROWS, RATE, song=0).astype(np.float32)
    batch = torch.from_numpy(np.stack(np.split(whole[:, : ROWS * round(SECONDS * RATE)], ROWS, axis=1)))
    before = torch.get_num_threads()
    repeats = min(REPEATS, max(queries, 2))
    for threads in THREADS:
        for gradients in (False, True):
            what = (
                f"speed, {'forward and backward' if gradients else 'forward'}, {threads} thread(s), windows/s"
            )
            torch.set_num_threads(threads)
            try:
                best = {name: [math.inf, 0.0] for name in methods}
                # the first turn warms up
                for turn in range(repeats + 1):
                    for name, method in methods.items():
                        x = batch[:1] if name in HEAVY else batch
                        each = _seconds(method, x, gradients) / len(x)
                        if turn:
                            best[name] = [min(best[name][0], each), max(best[name][1], each)]
            finally:
                torch.set_num_threads(before)
            for name, (quickest, slowest) in best.items():
                yield Row(what, name, 1.0 / quickest, 1.0 / slowest, 1.0 / quickest, repeats)
