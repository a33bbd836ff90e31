"""Training of topology.py: binary cross-entropy, then thresholds by the F1 of pairs kept from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from counterfx import UNITS
from torch.nn import functional

from fxstyle.embed import encoder
from fxstyle.files import write_bytes
from fxstyle.fit.topology import ALWAYS, FAMILIES, ORDER, WEIGHTS, Network, to_bytes

TARGET = Path(__file__).parents[1] / "fxstyle" / "fit" / WEIGHTS
KEPT = 20
"""One file in so many is kept from the training."""

EPOCHS, BATCH, RATE, DECAY = 40, 256, 1e-3, 1e-2
THEIRS = "pedalboard."
"""Begins the names of units of counterfx.py."""

LEAST_F1 = 0.45
"""An effect that is told worse is never taken: a wrong one costs more than a missing one."""


def effects_of(names: str) -> set[str]:
    """Return the effects of a chain as kept by topology.py, by the names that are learnt."""
    found = set()
    for name in filter(None, names.split(",")):
        unit = name.removeprefix(THEIRS)
        own = name if unit == name else UNITS[unit].slot or unit
        found.add(FAMILIES.get(own, own))
    return found


def _f1(there: np.ndarray, taken: np.ndarray) -> tuple[float, float, float]:
    right = float((there & taken).sum())
    precision, recall = right / max(taken.sum(), 1), right / max(there.sum(), 1)
    return 2.0 * precision * recall / max(precision + recall, 1e-9), precision, recall


def train(folder: Path, output: Path | None, seed: int = 0) -> None:
    """Train on the files of a folder and write the weights."""
    torch.manual_seed(seed)
    learnt = tuple(name for name in ORDER if name != "gain")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("input", "reference", "names", "kept")}
    paths = sorted(p for p in folder.glob("*.npz") if ".part" not in p.name)
    for i, path in enumerate(paths):
        with np.load(path) as found:
            for name in ("input", "reference", "names"):
                parts[name].append(found[name])
            groups = dict(zip(found["groups"].tolist(), found["sizes"].tolist(), strict=True))
            parts["kept"].append(np.full(len(found["names"]), i % KEPT == 0))
    x, y = (torch.from_numpy(np.concatenate(parts[n]).astype(np.float32)) for n in ("input", "reference"))
    sets = [effects_of(str(names)) for names in np.concatenate(parts["names"])]
    there = np.array([[name in own for name in learnt] for own in sets])
    kept = np.concatenate(parts["kept"])
    theirs = np.array([THEIRS in str(names) for names in np.concatenate(parts["names"])])
    goal = torch.from_numpy(there.astype(np.float32))

    network = Network(groups, learnt)
    learn = torch.from_numpy(np.flatnonzero(~kept))
    both = torch.cat([y[learn], y[learn] - x[learn]], dim=1)
    network.mean.copy_(both.mean(0))
    network.deviation.copy_(both.std(0).clamp_min(1e-3))
    steps = EPOCHS * (len(learn) // BATCH)
    adam = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    slower = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=steps)
    network.train()
    for step in range(steps):
        rows = learn[torch.randint(len(learn), (BATCH,))]
        loss = functional.binary_cross_entropy_with_logits(network(x[rows], y[rows]), goal[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
        slower.step()
        if (step + 1) % (steps // 10) == 0:
            print(f"step {step + 1} of {steps}: {float(loss):.4f}", flush=True)

    network.eval()
    with torch.no_grad():
        p = torch.sigmoid(network(x[kept], y[kept])).numpy()
    thresholds = {}
    print(f"{len(learn)} pairs learnt, {kept.sum()} kept\neffect        there  threshold    F1     P     R")
    for i, name in enumerate(learnt):
        grid = np.linspace(0.05, 0.95, 91)
        scores = [_f1(there[kept, i], p[:, i] >= t) for t in grid]
        best = int(np.argmax([s[0] for s in scores]))
        f1, precision, recall = scores[best]
        row = f"{name:<12} {there[kept, i].mean():6.2f} {grid[best]:8.2f}"
        print(row + f"  {f1:6.2f}{precision:6.2f}{recall:6.2f}")
        if f1 >= LEAST_F1 and name not in ALWAYS:
            thresholds[name] = float(grid[best])
    for title, rows in (("all", np.ones(kept.sum(), bool)), ("pedalboard", theirs[kept])):
        columns = [i for i, name in enumerate(learnt) if name in thresholds]
        taken = p[:, columns] >= np.array([thresholds[learnt[i]] for i in columns])
        print(
            title, "micro F1, P, R:", *(f"{v:.3f}" for v in _f1(there[kept][rows][:, columns], taken[rows]))
        )
    path = output or TARGET
    write_bytes(path, to_bytes(network, encoder.load(), thresholds), force=True)
    print(f"written: {path}, {path.stat().st_size / 1e6:.1f} MB")
