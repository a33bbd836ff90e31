"""`fxstyle match`: the main job."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from fxstyle.cli import DONE, INTERRUPTED
from fxstyle.cli._checks import (
    check_amount,
    check_force,
    check_inputs,
    check_outputs,
    check_seed,
    check_sound_output,
    check_tail_output,
)
from fxstyle.cli._options import Device, Flag, OutputOrNone, Paired, Quality, Texts
from fxstyle.cli._output import (
    emit,
    emit_chain_with,
    emit_files,
    emit_json,
    emit_limits,
    emit_paragraph,
    files_json,
    progress,
    remark,
)
from fxstyle.cli._reading import is_preset, notes_of, notes_of_chain, warnings_as_notes
from fxstyle.cli._render import as_json, in_words, render_shown
from fxstyle.errors import AudioError, SettingError

if TYPE_CHECKING:
    from fxstyle.fit.result import Match, Progress
    from fxstyle.presets import Preset


def match(
    input: Path,
    reference: list[Path] = [],  # noqa: B006  # never changed; the help shows it as optional
    /,
    *,
    text: str | None = None,
    output: OutputOrNone = None,
    preset: Path | None = None,
    report: Path | None = None,
    chain: str | None = None,
    lexicon: Path | None = None,
    clap: Path | None = None,
    only: Texts = (),
    lock: Texts = (),
    amount: float = 1.0,
    keep_loudness: Flag = False,
    paired: Paired = "auto",
    weights: str | None = None,
    room: Path | None = None,
    device: Device = "auto",
    quality: Quality = "standard",
    seed: int = 0,
    tail: str = "0",
    force: Flag = False,
    json: Flag = False,
) -> int:
    """Make INPUT sound like REFERENCE, or as --text wants it, and hand over the settings.

    Without -o, --preset or --report the settings are only shown.

    Parameters
    ----------
    input
        Recording to change.
    reference
        One or several recordings whose sound is wanted; several are averaged. None with --text alone.
    text
        What it should sound like, as in "warm, close, a little tape"; beside a REFERENCE, how it should
        differ from that, as in "but brighter and much less reverb".
    output
        Write the matched recording here; the ending chooses the format.
    preset
        Write the settings here, as JSON.
    report
        Write a page with figures here, as HTML.
    chain
        Effects to fit, in order, as in eq,compressor,reverb, or "auto", the default: those that are heard in
        the REFERENCE. `fxstyle effects` lists them.
    lexicon
        With --text: a file with words of your own, as JSON.
    clap
        With --text: weights of CLAP, a folder or a checkpoint, which then listens as well.
    only
        Use only these effects of the chain, as in eq,gain.
    lock
        Decide a setting yourself: compressor.ratio=4, compressor.ratio<=4, reverb=off. May be repeated.
    amount
        Share of the match to apply, 0 to 1.
    keep_loudness
        Match everything but the level.
    paired
        Whether REFERENCE is a wet version of INPUT, the same performance, so that the settings between them
        can be identified: "auto" listens for that, "yes" takes your word, "no" takes it for other content.
    weights
        How much each REFERENCE counts, in their order, as in 2,1: the first twice as much as the second.
    room
        Recording in whose room the output is put, instead of the REFERENCE's.
    device
        Where the fit runs; "auto": on a GPU if there is one.
    quality
        How long to search.
    seed
        Repeats a run.
    tail
        With -o: seconds to go on after the end of the input, or "auto" until the effects have died away.
    force
        Overwrite existing files.
    json
        Print the result as one JSON document.
    """
    tail_s = check_tail_output(tail, output)
    check_amount(amount)
    check_seed(seed)
    _check_text(text, reference, lexicon, clap)
    outputs = [path for path in (output, preset, report) if path is not None]
    check_force(force, outputs, "-o, --preset or --report")
    recordings = [input, *reference, *([room] if room is not None else [])]
    check_inputs(recordings)
    _check_recordings(recordings, output)
    counted = _read_weights(weights)
    check_outputs(outputs, [*recordings, *([lexicon] if lexicon is not None else [])], force=force)
    if output is not None:
        check_sound_output(output, input)

    import fxstyle
    from fxstyle.files import write_text
    from fxstyle.memory import keep_large_blocks

    keep_large_blocks()

    words: dict[str, Any] = {} if text is None else {"text": text, "lexicon": lexicon, "clap": clap}
    with progress("match") as advance, warnings_as_notes():

        def tell(now: Progress) -> None:
            loss = "" if now.loss is None else f" (loss {now.loss:.3f})"
            advance(now.stage + loss, now.fraction)

        found = fxstyle.match(
            input,
            reference if len(reference) > 1 else reference[0] if reference else None,
            chain=chain,
            **words,
            only=[word.strip() for text in only for word in text.split(",")],
            lock=lock,
            amount=amount,
            keep_loudness=keep_loudness,
            paired=paired,
            weights=counted,
            room=room,
            device=device,
            quality=quality,
            seed=seed,
            progress=tell,
        )
    settings = with_file_hashes(found.preset, input, reference)
    # All that can go wrong in thought goes wrong before anything is written; then the recording, the
    # one that may not fit on the disk, comes first.
    texts: list[tuple[Path, str]] = []
    if preset is not None:
        texts.append((preset, settings.to_json()))
    if report is not None:
        texts.append((report, found.report()))
    rendered = None
    if output is not None:
        rendered = render_shown(found.chain, input, output, tail=tail_s, force=force, label="write")
    for path, content in texts:
        write_text(path, content, force=force)

    notes = [
        *notes_of(found.source, *found.references),
        *found.notes,
        *notes_of_chain(found.chain),
        *(rendered.notes if rendered is not None else ()),
    ]
    notes = list(dict.fromkeys(notes))
    if json:
        emit_json(
            {
                "command": "match",
                "input": str(input),
                "reference": [str(path) for path in reference],
                **_as_asked(found),
                "verdict": asdict(found.verdict),
                **({} if found.heard is None else {"heard": list(found.heard)}),
                "chain": settings.model_dump(mode="json", exclude_none=True)["chain"],
                "pruned": list(found.pruned),
                "at_limit": [asdict(limit) for limit in found.at_limit],
                "terms": dict(found.history[-1].terms) if found.history else {},
                "certainty": [asdict(sure) for sure in found.certainty],
                "output": as_json(rendered) if rendered is not None else None,
                **files_json(preset=preset, report=report),
                "notes": notes,
                "seconds": found.seconds,
            }
        )
        return INTERRUPTED if found.stopped else DONE
    _print(found, notes)
    if rendered is not None:
        emit(f"recording  {in_words(rendered)}")
    emit_files(preset=preset, report=report)
    if not outputs:
        remark("Nothing was written: -o writes the recording, --preset the settings, --report a page.")
    return INTERRUPTED if found.stopped else DONE


def _check_text(text: str | None, reference: list[Path], lexicon: Path | None, clap: Path | None) -> None:
    """Refuse a text that says nothing, and what is for a text where there is none."""
    if text is None:
        for option, given in (("--lexicon", lexicon), ("--clap", clap)):
            if given is not None:
                raise SettingError(f'{option} {given} is for --text: add it, as in --text "warm, close"')
        if not reference:
            raise SettingError(
                'there is nothing to sound like: name a REFERENCE, or say it, as in --text "warm, close"'
            )
    elif lexicon is None:
        from fxstyle.text.lexicon import shipped
        from fxstyle.text.parse import parse

        parse(text, shipped())


def _read_weights(text: str | None) -> tuple[float, ...]:
    """Return the numbers of "2,1"; raises SettingError."""
    if text is None:
        return ()
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise SettingError(f"--weights {text}: write a number for each REFERENCE, as in 2,1") from None


def _as_asked(found: Match) -> dict[str, Any]:
    """Return what a text asked for and what came of it, nothing without one."""
    if found.asked is None:
        return {}
    return {
        "text": found.asked.text,
        "understood": [asdict(word) for word in found.asked.understood],
        "reached": [asdict(change) for change in found.reached],
    }


def _check_recordings(paths: list[Path], output: Path | None) -> None:
    """Refuse presets: nothing is fitted to them, they are applied."""
    presets = [path for path in paths if path.is_file() and is_preset(path)]
    if presets:
        others = [quote(str(path)) for path in paths if path not in presets] or ["INPUT"]
        words = [quote(str(presets[0])), *others, "-o", "OUTPUT" if output is None else quote(str(output))]
        raise AudioError(
            f"{presets[0]} is a preset and no recording; to render through it:"
            f" fxstyle apply {' '.join(words)}"
        )


def with_file_hashes(preset: Preset, source: Path, references: list[Path]) -> Preset:
    """Return the preset with the hashes of the files that took part, so that they can be told again."""
    from fxstyle.presets.schema import file_sha256

    def hashed(recording: Any, path: Path) -> Any:
        return recording.model_copy(update={"sha256": file_sha256(path)})

    was = preset.provenance
    provenance = was.model_copy(
        update={
            "input": hashed(was.input, source) if was.input is not None else None,
            "reference": tuple(hashed(r, p) for r, p in zip(was.reference, references, strict=True)),
        }
    )
    return preset.model_copy(update={"provenance": provenance})


def _print(found: Match, notes: list[str]) -> None:
    for word in found.understood:
        emit(f"Understood {word}.")
    emit(found.verdict.message)
    if found.reached:
        emit_paragraph(f"Measured: {', '.join(map(str, found.reached))}.")
    if found.heard is not None:
        emit(f"Heard in the reference: {', '.join(found.heard) or 'nothing beyond tone and level'}.")
    emit_chain_with(found.chain, found.certainty)
    if found.pruned:
        emit(f"Left out: {', '.join(found.pruned)}.")
    emit_limits(found.at_limit)
    for note in notes:
        emit(f"Note: {note}")
    emit(f"Fitted in {found.seconds:.1f} s.")
