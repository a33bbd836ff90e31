"""The report: what a match did, on one page that needs nothing but itself.

No scripts, no fonts or pictures from elsewhere (the page's own security policy forbids them), every
text from outside escaped. What matters comes first: the verdict in words, then the settings, then why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fxstyle.report import figures
from fxstyle.report.document import document
from fxstyle.report.settings import settings_html
from fxstyle.report.summary import ROWS, Summary, mean, shown_number, summarise
from fxstyle.report.svg import text_of

if TYPE_CHECKING:
    from fxstyle.fit.acceptance import Verdict
    from fxstyle.fit.result import Match
    from fxstyle.presets import Preset


def html(match: Match) -> str:
    """Return the report of a match as a whole HTML document."""
    preset = match.preset
    before = summarise(match.source, "the input")
    after = summarise(match.audio, "the output")
    reference = mean([summarise(r, "the reference") for r in match.aims], match.weights or None)
    origin = preset.provenance
    source_name = origin.input.name if origin.input is not None else "input"
    reference_name = " + ".join(r.name for r in origin.reference) or "reference"
    title = _title(source_name, reference_name if match.references else "", match.text)
    aim = "reference" if match.text is None else "wanted"
    body = "\n".join(
        [
            '<header><p class="kind">fxstyle match</p>',
            f"<h1>{text_of(title)}</h1>",
            _verdict(match.verdict, aim),
            "</header><main>",
            _wish(match),
            _settings(match),
            _measures(before, after, reference, len(match.references), aim),
            _pictures(match, before, after, reference),
            _terms(match),
            _provenance(match, preset),
            "</main>",
        ]
    )
    return document(title, body)


def _title(source: str, reference: str, text: str | None) -> str:
    if text is None:
        return f"{source}, made to sound like {reference}"
    if not reference:
        return f"{source}, made to sound {text}"
    return f"{source}, made to sound like {reference}, but {text.removeprefix('but ')}"


def _wish(match: Match) -> str:
    """Return how a text was understood, and what came of it."""
    if match.asked is None:
        return ""
    words = "".join(
        f'<tr><th scope="row">{text_of(w.written)}</th><td>{text_of(w.word)}</td>'
        f'<td class="number">{w.degree:+.2g}</td><td class="soft">{text_of(w.means)}</td></tr>'
        for w in match.asked.understood
    )
    head = "".join(
        f'<th scope="col"{css}>{name}</th>'
        for name, css in (
            ("words", ""),
            ("understood as", ""),
            ("degree", ' class="number"'),
            ("meaning", ""),
        )
    )
    changes = "".join(f"<li>{text_of(str(change))}</li>" for change in match.reached)
    measured = (
        "<p>Measured on passages"
        + (" of the input" if match.references else " that were held out from the fit")
        + f":</p>\n<ul>{changes}</ul>"
        if changes
        else ""
    )
    return (
        f"<h2>What was asked for</h2>\n<p>{text_of(match.asked.text)}</p>\n"
        f"<table><thead><tr>{head}</tr></thead><tbody>{words}</tbody></table>\n"
        "<p class='soft'>By the lexicon's idea of these words. Degree 1 is the word alone, below 0 its"
        f" opposite.</p>\n{measured}"
    )


def _verdict(verdict: Verdict, aim: str) -> str:
    goal = "the reference" if aim == "reference" else "what was asked for, as the lexicon pictures it"
    css = "verdict" if verdict.accepted else "verdict none"
    longest = max(verdict.before, verdict.after, 1e-9)
    rows = "".join(
        f'<span>{name}</span><div class="{name}" style="width:{100.0 * value / longest:.1f}%"></div>'
        f"<span>{value:.2f}</span>"
        for name, value in (("input", verdict.before), ("output", verdict.after))
    )
    return (
        f'<p class="{css}">{text_of(verdict.message)}</p>\n<div class="panel">'
        f'<p class="soft">Distance from {goal}, by a judge that was no part of the fit; 1 is'
        " what two passages of one recording differ by.</p>"
        f'<div class="meter">{rows}</div></div>'
    )


def _settings(match: Match) -> str:
    remarks = ""
    if match.at_limit:
        remarks += f"<p>At their limit: {text_of(', '.join(str(limit) for limit in match.at_limit))}.</p>"
    if match.heard is not None:
        found = ", ".join(match.heard) or "none beyond tone and level"
        remarks += f"<p>Effects heard in the reference: {text_of(found)}.</p>"
    if match.pruned:
        remarks += f"<p>Left out, for it brought nothing: {text_of(', '.join(match.pruned))}.</p>"
    likely = {sure.setting: sure for sure in match.certainty}
    key = "The dot is the value, the tick the default"
    if likely:
        key += (
            ", the bar what the setting could be as well: one standard deviation to either side, pale where"
            " the recordings hardly tell it"
        )
    return (
        f"<h2>Settings</h2>\n<p class='soft'>In the order the sound passes them. {key}.</p>\n"
        f"{settings_html(match.chain, likely)}\n{remarks}"
    )


def _measures(before: Summary, after: Summary, reference: Summary, references: int, aim: str) -> str:
    rows = []
    for attribute, name, unit, meaning in ROWS:
        cells = "".join(
            f'<td class="number">{shown_number(getattr(s, attribute), unit)}</td>'
            for s in (before, after, reference)
        )
        rows.append(
            f'<tr><th scope="row">{name}</th>{cells}<td>{unit}</td><td class="soft">{meaning}</td></tr>'
        )
    last = aim if references <= 1 else f"mean of {references} references"
    head = "".join(f'<th scope="col" class="number">{text}</th>' for text in ("input", "output", last))
    return (
        f'<h2>Measures</h2>\n<table><thead><tr><th scope="col"></th>{head}<th scope="col">unit</th>'
        f'<th scope="col"></th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _pictures(match: Match, before: Summary, after: Summary, reference: Summary) -> str:
    trio = (before, after, reference)
    pictures = (
        ("Spectrum", figures.spectra(*trio), "Third octaves, each recording at its own loudness as 0 dB."),
        ("What is left", figures.gaps(*trio), "Zero all along would be the reference's colour exactly."),
        ("Equaliser", figures.equaliser(match.chain, match.source.rate), "Gain over frequency, as fitted."),
        ("Levels", figures.levels(*trio), "A steeper curve is a more even, more compressed sound."),
        (
            "The fit's course",
            figures.course(match.history),
            "Loss of the best candidate and its largest terms; each round keeps fewer candidates.",
        ),
    )
    return "\n".join(
        f"<h2>{heading}</h2>\n<figure>{picture}<figcaption>{caption}</figcaption></figure>"
        for heading, picture, caption in pictures
        if picture
    )


def _terms(match: Match) -> str:
    """Return every term of the loss, of the best candidate at the first step and at the last."""
    if not match.history:
        return ""
    first, last = match.history[0], match.history[-1]
    rows = "".join(
        f'<tr><th scope="row">{text_of(name)}</th><td class="number">{first.terms.get(name, 0.0):.4f}</td>'
        f'<td class="number">{value:.4f}</td></tr>'
        for name, value in last.terms.items()
    )
    rows += (
        f'<tr><th scope="row">loss</th><td class="number">{first.loss:.4f}</td>'
        f'<td class="number">{last.loss:.4f}</td></tr>'
    )
    head = "".join(f'<th scope="col" class="number">{text}</th>' for text in ("first step", "last step"))
    return (
        "<h2>Terms of the loss</h2>\n<p class='soft'>Of the best candidate, on the passages that were fitted"
        " on; the prior is how far the settings are from where an engineer leaves them.</p>\n"
        f'<table><thead><tr><th scope="col"></th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _provenance(match: Match, preset: Preset) -> str:
    origin = preset.provenance
    facts: list[tuple[str, str]] = []
    recordings = [("Input", origin.input), *(("Reference", r) for r in origin.reference)]
    for role, recording in recordings:
        if recording is not None:
            sound = f"{recording.rate} Hz, {recording.channels} ch, {recording.duration_s:.2f} s"
            facts.append((role, f"{recording.name}, {sound}"))
    facts += [
        ("Program", f"{origin.program}, {origin.created}"),
        ("Fit", f"quality {match.quality}, seed {match.seed}, {match.seconds:.1f} s"),
    ]
    facts += [("Note", note) for note in match.notes]
    rows = "".join(
        f'<tr><th scope="row">{text_of(name)}</th><td>{text_of(value)}</td></tr>' for name, value in facts
    )
    return (
        "<h2>Take it with you</h2>\n<p>The same sound on other recordings:</p>\n"
        "<pre>fxstyle apply preset.json OTHER.wav -o OUT.wav</pre>\n"
        "<details><summary>The preset, to be saved as preset.json</summary>"
        f"<pre>{text_of(preset.to_json())}</pre></details>\n"
        f"<h2>Where it came from</h2>\n<table><tbody>{rows}</tbody></table>"
    )
