"""`fxstyle demo`: the main job on sound the program makes itself, and what was recovered.

A band plays one song dry: the input. It plays another song, which is then treated with known
settings: the reference. The match hears only these two. Afterwards the treatment is revealed, and
applied to the input itself it gives the truth that the output can be held against.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fxstyle.cli._checks import check_outputs, check_seed
from fxstyle.cli._options import Flag, Output, Quality
from fxstyle.cli._output import emit, emit_json, emit_limits, emit_table, progress
from fxstyle.files import make_folder, write_text

if TYPE_CHECKING:
    from fxstyle.audio import Audio
    from fxstyle.chain import Chain
    from fxstyle.effect import Samples
    from fxstyle.fit.result import Match, Progress

RATE = 44100
LENGTH_S = 14.0
INPUT_SONG, REFERENCE_SONG = 0, 1

TREATMENT_CHAIN = "eq,compressor,reverb,gain"
TREATMENT = {
    "eq.low_cut_hz": 90.0,
    "eq.low_shelf_db": -4.0,
    "eq.peak4_hz": 1250.0,
    "eq.peak4_db": 5.0,
    "eq.high_shelf_db": -6.0,
    "compressor.threshold_db": -26.0,
    "compressor.ratio": 4.0,
    "compressor.attack_ms": 8.0,
    "compressor.release_ms": 120.0,
    "reverb.t60_500_s": 1.4,
    "reverb.t60_1k_s": 1.4,
    "reverb.t60_2k_s": 1.2,
    "reverb.level_db": -8.0,
    "gain.gain_db": -3.0,
}
"""An old record in a hall: thin below, forward in the middle, dull above, pressed, and far away."""

CURVE_HZ = (60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
"""Where the equalisers' curves are compared."""

FILES = ("input.wav", "reference.wav", "truth.wav", "output.wav", "preset.json", "report.html")


def demo(
    *,
    output: Output = Path("fxstyle-demo"),
    quality: Quality = "standard",
    seed: int = 0,
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Run the main job on sound the program makes itself.

    Parameters
    ----------
    output
        Folder for the files; it is created.
    quality
        How long to search.
    seed
        Of the performances and of the search.
    force
        Overwrite existing files.
    json
        Print the result as one JSON document.
    """
    check_seed(seed)
    make_folder(output)
    paths = {name: output / name for name in FILES}
    check_outputs(list(paths.values()), [], force=force)

    import fxstyle
    from fxstyle.audio import write
    from fxstyle.chain import Chain
    from fxstyle.features.truth_distance import ld
    from fxstyle.memory import keep_large_blocks
    from fxstyle.performance import perform
    from fxstyle.render import render_file

    keep_large_blocks()
    treatment = Chain.parse(TREATMENT_CHAIN).with_settings(TREATMENT)
    with progress("demo") as advance:
        advance("two songs", 0.0)
        dry = perform(LENGTH_S, RATE, song=INPUT_SONG, seed=seed)
        other = perform(LENGTH_S, RATE, song=REFERENCE_SONG, seed=seed + 1)
        write(paths["input.wav"], _audio(dry), force=force)
        write(paths["reference.wav"], _treated(treatment, other), force=force)
        truth = _treated(treatment, dry)
        write(paths["truth.wav"], truth, force=force)

        def tell(now: Progress) -> None:
            advance(now.stage, now.fraction)

        found = fxstyle.match(
            paths["input.wav"], paths["reference.wav"], quality=quality, seed=seed, progress=tell
        )
    render_file(found.chain, paths["input.wav"], paths["output.wav"], force=force)
    found.preset.save(paths["preset.json"], force=force)
    write_text(paths["report.html"], found.report(), force=force)
    before = ld(found.source.samples, truth.samples, RATE)
    after = ld(found.audio.samples, truth.samples, RATE)
    if json:
        emit_json(
            {
                "command": "demo",
                "files": {name: str(path) for name, path in paths.items()},
                "treatment": TREATMENT,
                "recovered": {k: v for k, v in found.chain.settings().items() if k in TREATMENT},
                "at_limit": [asdict(limit) for limit in found.at_limit],
                "distance": {"before": found.verdict.before, "after": found.verdict.after},
                "ld_to_truth": {"input": before, "output": after},
                "seconds": found.seconds,
            }
        )
        return 0
    _reveal(found, treatment)
    emit(found.verdict.message)
    emit_limits(found.at_limit)
    emit(f"Ld to the truth, which is the input through the hidden settings: {before:.2f} -> {after:.2f}")
    emit(f"Fitted in {found.seconds:.1f} s. Listen and look:")
    for path in paths.values():
        emit(f"  {path}")
    return 0


def _audio(samples: Samples) -> Audio:
    from fxstyle.audio import Audio

    return Audio(samples, RATE)


def _treated(chain: Chain, samples: Samples) -> Audio:
    from fxstyle.render import render

    return _audio(render(chain, samples, RATE))


def _reveal(found: Match, treatment: Chain) -> None:
    """Print the hidden settings beside those that were found.

    Equalisers are compared by their curves, for different bands can make the same curve; and each
    curve about its own mean, for a level can be given by any effect.
    """
    import numpy as np

    from fxstyle.effects.eq import response_db

    pair = (treatment, found.chain)
    curves: list[list[float] | None] = []
    for chain in pair:
        slots = [slot for slot in chain if slot.effect.name == "eq" and slot.active]
        curve = response_db(np.asarray(CURVE_HZ), RATE, slots[0].settings) if slots else None
        curves.append(None if curve is None else [float(v) for v in curve - curve.mean()])
    rows = [
        (f"eq at {f:g} Hz", *("left out" if c is None else f"{c[index]:+.1f} dB" for c in curves))
        for index, f in enumerate(CURVE_HZ)
    ]
    fitted = found.chain.settings()
    active = {slot.name for slot in found.chain if slot.active}
    for address, value in TREATMENT.items():
        slot_name = address.partition(".")[0]
        if slot_name != "eq":
            param = treatment.param(address)
            shown = param.format(fitted[address]) if slot_name in active else "left out"
            rows.append((address, param.format(value), shown))
    emit_table(("setting", ">hidden", ">found"), rows, title="The reference was treated with")
