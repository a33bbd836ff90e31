"""Learn fxstyle/rooms/blind.json: which features tell rooms apart and not what is played in them.

    python bench/rooms_blind_learn.py make PART     336 cases into bench/out/rooms_blind_PART.pkl (6 min)
    python bench/rooms_blind_learn.py fit [--held-out]   learn from all of them (4 min), and write

A case is a reference (A in a room), and the grid of simulations of B. What is minimised over the octaves of
which the truth is known, with the chain of fxstyle/rooms/blind.py between: the errors of the mean of ln T and
of C50, large ones counting less, and the negative logarithm of the probability near the truth.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rooms_blind_set import Content, in_room, learning_contents, made_room, rooms

from fxstyle.rooms import posterior
from fxstyle.rooms.blind import AUDIBLE, C50_RANGE_DB, c50_of
from fxstyle.rooms.posterior import Metric, distances, log_likelihood, marginals
from fxstyle.rooms.simulate import T60_RANGE_S, grid, simulate
from fxstyle.rooms.slopes import (
    FEATURES,
    SLOPE_LENGTHS,
    SLOPE_QUANTILES,
    common_floor,
    describe,
    octave_levels,
)

OUT = Path(__file__).parent / "out"
SIMULATIONS = 384


def partner(contents: list[Content], b: int, rng: np.random.Generator) -> int:
    """Choose what is played in the reference: mostly like B, but somebody else."""
    alike = contents[b].kind in ("speech", "singing") and rng.random() < 0.75
    for _ in range(100):
        a = int(rng.integers(len(contents)))
        other = contents[a].source != contents[b].source or rng.random() < 0.1
        if a != b and other and (not alike or contents[a].kind in ("speech", "singing")):
            return a
    raise RuntimeError("no partner found")


def make(part: int) -> None:
    """Make cases: for each B of this part a grid, and some references to be told apart in it."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(1000 + part)
    cases, t60_s_level_db = [], grid(SIMULATIONS)
    known = rooms("train")
    began = time.perf_counter()
    for seconds, share in ((5.0, 8), (3.0, 3), (8.0, 3)):
        contents = learning_contents(seconds)
        voices = [k for k, c in enumerate(contents) if c.kind in ("speech", "singing")]
        for turn in range(2 * share):
            b = int(rng.choice(voices)) if turn % 2 == 0 else int(rng.integers(len(contents)))
            dry = torch.from_numpy(contents[b].sound)
            simulated = simulate(dry, *t60_s_level_db)
            dry_levels = octave_levels(dry)
            for _ in range(12):
                a = partner(contents, b, rng)
                number = int(rng.integers(len(known))) if rng.random() < 0.5 else -1
                place = known[number] if number >= 0 else made_room(rng)
                snr_db = None if rng.random() < 0.5 else float(rng.uniform(12.0, 45.0))
                wet = in_room(contents[a].sound, place.response, snr_db=snr_db, rng=rng)
                levels = octave_levels(torch.from_numpy(wet))
                floor = common_floor(levels, dry_levels)
                features = [describe(s, f) for s, f in zip(simulated, floor, strict=True)]
                cases.append({
                    "simulated": torch.stack(features).half(), "reference": describe(levels, floor),
                    "floor": floor[:, 0], "t60": place.t60_s, "c50": place.c50_db, "room": number,
                    "a": contents[a].kind, "b": contents[b].kind,
                })  # fmt: skip
            print(seconds, turn, len(cases), round(time.perf_counter() - began), flush=True)
    OUT.mkdir(exist_ok=True)
    with (OUT / f"rooms_blind_{part}.pkl").open("wb") as file:
        pickle.dump(cases, file)


class Learner(torch.nn.Module):
    """The numbers of a Metric, free to move."""

    def __init__(self) -> None:
        super().__init__()
        slopes = len(SLOPE_LENGTHS) * len(SLOPE_QUANTILES)
        weight = torch.full((FEATURES,), 0.1)
        weight[slopes:] = 0.15
        self.log_weight = torch.nn.Parameter(weight.log())
        self.projection = torch.nn.Parameter(0.02 * torch.randn(FEATURES, PROJECTIONS))
        self.log_band = torch.nn.Parameter(torch.zeros(8))
        self.log_tail = torch.nn.Parameter(torch.tensor(math.log(20.0)))
        self.hearing = torch.nn.Parameter(torch.tensor([10.0, math.log(5.0)]))
        self.log_step = torch.nn.Parameter(torch.tensor([math.log(0.2), math.log(4.0)]))
        self.prior = torch.nn.Parameter(torch.tensor([math.log(0.75), math.log(0.8), 2.0, math.log(12.0)]))

    def metric(self, usual: float = 1.0) -> Metric:
        """Return the numbers as they stand."""
        hearing = torch.stack([self.hearing[0], self.hearing[1].exp()])
        prior = torch.stack([self.prior[0], self.prior[1].exp(), self.prior[2], self.prior[3].exp()])
        return Metric(
            self.log_weight.exp(), self.projection, self.log_band.exp(), self.log_tail.exp(), hearing,
            self.log_step.exp(), prior, usual,
        )  # fmt: skip


def answer(
    metric: Metric, case: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return p (band, t, l), the means (band,) of ln T and C50, and the least distances (band,)."""
    d = distances(metric, case["simulated"].float(), case["reference"])
    p, _ = marginals(metric, log_likelihood(metric, d, case["floor"]), *GRID)
    return p, (p.sum(dim=2) * LOG_T).sum(dim=1), (p * C50).sum(dim=(1, 2)), d.detach().amin(dim=(1, 2))


def cost(metric: Metric, case: dict[str, Any]) -> torch.Tensor | None:
    """Return what is minimised, or None where the truth is not known in any octave."""
    known = torch.from_numpy(np.isfinite(case["t60"]) & np.isfinite(case["c50"]))
    known[0] = False  # no voice reaches so low
    if not known.any():
        return None
    t = torch.from_numpy(case["t60"]).float().nan_to_num(1.0).clamp(*T60_RANGE_S).log()
    c = torch.from_numpy(case["c50"]).float().nan_to_num(0.0).clamp(*TRUE_C50_DB)
    p, mean_t, mean_c, _ = answer(metric, case)
    near = torch.exp(-0.5 * ((LOG_T - t[:, None]) / 0.15).square())[:, :, None]
    near = near * torch.exp(-0.5 * ((C50 - c[:, None, None]) / 2.0).square())
    missed = -((p * near).sum(dim=(1, 2)) + 1e-6).log()
    # 20 % of T60 weigh as much as 4 dB of C50; beyond 50 % and 4 dB an error counts for less
    wrong_t, wrong_c = (mean_t - t).abs(), (mean_c - c).abs()
    wrong_t = torch.where(wrong_t < 0.5, wrong_t, 0.35 + 0.3 * wrong_t)
    wrong_c = torch.where(wrong_c < 4.0, wrong_c, 2.8 + 0.3 * wrong_c)
    return (wrong_t / 0.2 + wrong_c / 4.0 + 0.25 * missed)[known].mean()


def judge(metric: Metric, cases: list[dict[str, Any]], name: str) -> None:
    """Print errors over the octaves 125 Hz .. 4 kHz of which the truth is known."""
    wrong, middle, clarity, near = [], [], [], []
    with torch.no_grad():
        for case in cases:
            _, mean_t, mean_c, least = answer(metric, case)
            known = np.isfinite(case["t60"])
            known[[0, 7]] = False
            error = np.abs(mean_t.exp().numpy() / case["t60"] - 1.0)
            wrong += error[known].tolist()
            middle += error[3:6][known[3:6]].tolist()
            clarity += np.abs(mean_c.numpy() - case["c50"])[known].tolist()
            near.append(float(least[AUDIBLE].mean()))
    low, high = np.quantile(near, [0.1, 0.9])
    print(
        f"{name:28s} T60 {100 * np.median(wrong):5.1f} %  500-2k {100 * np.median(middle):5.1f} %"
        f"  C50 {np.nanmean(clarity):5.2f} dB (median {np.nanmedian(clarity):.2f})  n {len(wrong)}"
        f"  least distance {np.median(near):.2f} ({low:.2f} .. {high:.2f})",
        flush=True,
    )


def kinds(cases: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return cases by what is played in them."""
    voices = ("speech", "singing")

    def both(case: dict[str, Any], of: tuple[str, ...]) -> bool:
        return case["a"] in of and case["b"] in of

    return {
        "all": cases,
        "speech, measured": [c for c in cases if both(c, ("speech",)) and c["room"] >= 0],
        "speech, made": [c for c in cases if both(c, ("speech",)) and c["room"] < 0],
        "instruments": [c for c in cases if both(c, ("instrument", "own"))],
        "across": [c for c in cases if (c["a"] in voices) != (c["b"] in voices)],
    }


def fit(held_out: bool) -> None:
    """Learn from all cases, or from three quarters of the rooms, and write or print."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    cases: list[dict[str, Any]] = []
    for path in sorted(OUT.glob("rooms_blind_*.pkl")):
        with path.open("rb") as file:
            cases += pickle.load(file)  # what `make` wrote
    kept: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for k, case in enumerate(cases):
        out = held_out and (case["room"] % 4 == 0 if case["room"] >= 0 else k % 4 == 0)
        (rest if out else kept).append(case)
    learner = Learner()
    optimiser = torch.optim.Adam(
        [{"params": [learner.log_weight], "lr": 0.03},
         {"params": [p for n, p in learner.named_parameters() if n != "log_weight"], "lr": 0.01}]
    )  # fmt: skip
    steps = EPOCHS * len(kept) // BATCH
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    began, mean = time.perf_counter(), 0.0
    for step in range(steps):
        optimiser.zero_grad()
        for k in rng.integers(len(kept), size=BATCH):
            value = cost(learner.metric(), kept[k])
            if value is not None:
                (value / BATCH).backward()
                mean += 0.01 * (value.item() - mean)
        (DECAY * learner.projection.square().sum()).backward()
        optimiser.step()
        fall.step()
        if step % 50 == 0:
            print(step, steps, round(mean, 3), round(time.perf_counter() - began), flush=True)
    metric = learner.metric()
    for name, some in kinds(rest).items():
        if some:
            judge(metric, some, f"held out: {name}")
    for name, some in kinds(kept).items():
        judge(metric, some, name)
    least = [float(answer(metric, c)[3][AUDIBLE].mean()) for c in kinds(kept)["speech, measured"]]
    held = {
        "about": "Learned by bench/rooms_blind_learn.py; see fxstyle/rooms/posterior.py.",
        **{name: _rounded(getattr(metric, name)) for name in Metric.__dataclass_fields__ if name != "usual"},
        "usual": round(float(np.mean(least)), 3),
    }
    path = OUT / "rooms_blind_held_out.json" if held_out else Path(posterior.__file__).with_name("blind.json")
    path.write_text(json.dumps(held) + "\n", encoding="utf-8")


def _rounded(value: torch.Tensor) -> Any:
    return np.round(value.detach().double().numpy(), 4).tolist()


GRID = grid(SIMULATIONS)
LOG_T = GRID[0].log().float()
C50 = c50_of(GRID[0][:, None], GRID[1]).float().clamp(*C50_RANGE_DB)
TRUE_C50_DB = (-8.0, 25.0)
"""Decaying noise has no less, and nobody hears more."""

PROJECTIONS, EPOCHS, BATCH, DECAY = 12, 8, 8, 1e-3


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("make").add_argument("part", type=int)
    steps.add_parser("fit").add_argument("--held-out", action="store_true")
    options = parser.parse_args()
    if options.step == "make":
        make(options.part)
    else:
        fit(options.held_out)


if __name__ == "__main__":
    main()
