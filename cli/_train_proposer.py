"""`fxstyle train proposer`: the proposer, from folders of audio."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fxstyle.cli._checks import check_seed
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_files, emit_json, progress, remark

if TYPE_CHECKING:
    from fxstyle.train.proposer import Logged

PROPOSER = """Train the proposer, which guesses settings from an input and a reference.

RUN is the run's folder: interrupted, the same command goes on where it
stopped. Its weights file is RUN/proposer.safetensors. Recordings are treated
with fxstyle's own effects first, and what is heard of them kept in RUN; it is
heard by the encoder, and the weights serve with the same encoder only."""


def proposer(
    folder: list[Path],
    /,
    *,
    run: Annotated[Path, Parameter(name=["--run", "-o"])],
    steps: int = 600,
    batch: int = 128,
    pairs: int = 12_800,
    hidden: int = 256,
    components: int = 8,
    encoder: Path | None = None,
    without_encoder: Flag = False,
    seed: int = 0,
    workers: int = 1,
    json: Flag = False,
) -> int:
    """Train the proposer.

    Parameters
    ----------
    folder
        Folders of recordings to treat; a MANIFEST.csv with columns path and split keeps all but "train" out.
    run
        The run's own folder.
    steps
        Steps of the optimiser.
    batch
        Pairs in a step.
    pairs
        Pairs to make in all; each is used several times.
    hidden
        Units of the network's layers.
    components
        Of the mixture: settings that it can hold apart.
    encoder
        Weights of the encoder to hear with, instead of the shipped ones.
    without_encoder
        Hear by what is measured only: the weights then serve with any encoder.
    seed
        Repeats a run.
    workers
        Processes that make pairs.
    json
        Print the result as one JSON document.
    """
    check_seed(seed)
    from fxstyle.train.proposer import Options, train_proposer

    options = Options(steps, batch, pairs, hidden, components, seed, not without_encoder)
    began = time.perf_counter()
    lines: list[Logged] = []
    with progress("train") as advance:

        def tell(line: Logged) -> None:
            if line.step == 0:
                advance("pairs", line.made)
                return
            lines.append(line)
            advance(f"step {line.step}: {line.nats:.2f} nats", line.step / steps)
            if line.held_out is not None:
                remark(
                    f"step {line.step} of {steps}: {line.nats:.2f} nats a pair;"
                    f" {line.held_out:.2f} of pairs held out"
                )

        result = train_proposer(folder, run, options, encoder=encoder, workers=workers, tell=tell)
    seconds = time.perf_counter() - began
    held_out = lines[-1].held_out if lines else None
    if json:
        emit_json(
            {
                "command": "train proposer",
                "weights": str(result),
                "steps": steps,
                "nats": lines[-1].nats if lines else None,
                "held_out": held_out,
                "seconds": seconds,
            }
        )
        return 0
    if held_out is None:
        emit("The run was complete already.")
    else:
        emit(f"Settings of pairs held out: {held_out:.2f} nats a pair")
    emit_files(weights=result)
    return 0
