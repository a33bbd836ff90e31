"""`fxstyle train score`: calibrates the relative score to the true distance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fxstyle.cli._checks import check_force, check_outputs, check_seed
from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_files, emit_json, progress

SCORE = """Calibrate the relative score, the estimate of how far a result is from the truth.

Recordings are treated with known styles, so that the true distance of each
result is known; the weights of the score's terms are fitted to it. OUTPUT is
the calibration, a JSON file to be put beside the encoder's weights."""


def score(
    folder: list[Path],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    items: int = 200,
    weights: Path | None = None,
    seed: int = 0,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Calibrate the score.

    Parameters
    ----------
    folder
        Folders of recordings; a MANIFEST.csv with columns path and split keeps all but "train" out.
    output
        Write the calibration here, as JSON.
    items
        Pairs of recordings, of nine treatments each.
    weights
        The encoder's weights file; the shipped ones unless it is given.
    seed
        Repeats a run.
    force
        Overwrite an existing file.
    json
        Print the result as one JSON document.
    """
    check_seed(seed)
    check_force(force, [output], "-o")
    check_outputs([output], [], force=force)
    from fxstyle.train.score import train_score

    with progress("score") as advance:

        def tell(share: float) -> None:
            advance("listen", share)

        found = train_score(folder, output, count=items, seed=seed, weights=weights, force=force, tell=tell)
    if json:
        emit_json(
            {
                "command": "train score",
                "rank": found.rank,
                "mean_error": found.error,
                "rank_of_terms": found.alone,
                "calibration": str(output),
            }
        )
        return 0
    emit(f"Rank correlation with the true distance on items kept out: {found.rank:.2f}")
    for name, rank in sorted(found.alone.items(), key=lambda pair: -pair[1]):
        emit(f"  {name:9s} alone {rank:.2f}")
    emit(f"Mean error of the estimate: {found.error:.2f}")
    emit_files(calibration=output)
    return 0
