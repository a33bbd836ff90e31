"""`fxstyle train`: what fxstyle learns, from a folder of audio; one function per subcommand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from fxstyle.cli._checks import check_seed
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_files, emit_json, progress, remark
from fxstyle.cli._train_material import MATERIAL, material
from fxstyle.cli._train_proposer import PROPOSER, proposer
from fxstyle.cli._train_score import SCORE, score
from fxstyle.errors import SettingError

if TYPE_CHECKING:
    from fxstyle.train.run import Logged

HELP = "Train what fxstyle learns, from a folder of audio."

ENCODER = """Train the encoder that tells what was done to a sound.

RUN is the run's folder: interrupted, the same command goes on where it
stopped. Its weights file is RUN/encoder.safetensors. Recordings are treated
on the fly with fxstyle's effects and those of other programs on this machine
(pedalboard, sox, ffmpeg, LV2 plugins); the episodes made are kept in RUN."""


def train_app() -> App:
    """Return the parser of `fxstyle train`."""
    app = App(name="train", help=HELP, help_epilogue="")
    app.command(encoder, name="encoder", help=ENCODER)
    app.command(score, name="score", help=SCORE)
    app.command(material, name="material", help=MATERIAL)
    app.command(proposer, name="proposer", help=PROPOSER)
    return app


def encoder(
    folder: list[Path],
    /,
    *,
    run: Annotated[Path, Parameter(name=["--run", "-o"])],
    steps: int = 3000,
    batch: int = 8,
    episodes: int = 2000,
    programs: str | None = None,
    width: int = 256,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    json: Flag = False,
) -> int:
    """Train the encoder.

    Parameters
    ----------
    folder
        Folders of recordings to treat; a MANIFEST.csv with columns path and split keeps all but "train" out.
    run
        The run's own folder.
    steps
        Steps of the optimiser.
    batch
        Episodes in a step, of 18 windows each.
    episodes
        Episodes to make in all; each is used several times.
    programs
        Whose effects, as in fxstyle,pedalboard,lv2.calf.
    width
        Channels of the network's convolutions.
    seed
        Repeats a run.
    device
        Where the network is: cpu or cuda.
    workers
        Processes that make episodes.
    json
        Print the result as one JSON document.
    """
    check_seed(seed)
    from fxstyle.embed.encoder import LARGEST, Sizes
    from fxstyle.train.episodes import PROGRAMS
    from fxstyle.train.run import Options, train_encoder

    whose = PROGRAMS if programs is None else tuple(word.strip() for word in programs.split(","))
    if not 1 <= width <= LARGEST:
        raise SettingError(f"--width {width} is outside 1..{LARGEST}")
    options = Options(
        steps=steps, batch=batch, episodes=episodes, seed=seed, sizes=Sizes(width=width), programs=whose
    )
    check_device(device)
    began = time.perf_counter()
    lines: list[Logged] = []
    with progress("train") as advance:

        def tell(line: Logged) -> None:
            lines.append(line)
            terms = ", ".join(f"{name} {value:.3f}" for name, value in line.terms.items())
            advance(f"step {line.step}: {terms}", line.step / steps)
            if line.told is not None:
                remark(f"step {line.step} of {steps}: {terms}; told apart {100.0 * line.told:.0f} %")

        result = train_encoder(folder, run, options, device=device, workers=workers, tell=tell)
    seconds = time.perf_counter() - began
    if json:
        last = lines[-1] if lines else None
        emit_json(
            {
                "command": "train encoder",
                "weights": str(result),
                "steps": steps,
                "told": last.told if last is not None else None,
                "terms": last.terms if last is not None else None,
                "seconds": seconds,
            }
        )
        return 0
    if lines and lines[-1].told is not None:
        emit(f"Styles of held-out episodes told from eight others: {100.0 * lines[-1].told:.0f} %")
    else:
        emit("The run was complete already.")
    emit_files(weights=result)
    return 0


def check_device(device: str) -> None:
    """Refuse a --device that is not here."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise SettingError(f"--device {device} cannot be used: {first}; cpu always can") from None
