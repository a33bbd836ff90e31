"""What the commands print: tables for people, one JSON document for programs, progress for the patient."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

    from fxstyle.chain import Chain

PIPE_WIDTH = 120
"""Columns of a table that goes into a file or a pipe, where nobody has said how wide it may be."""

TEXT_WIDTH = 100
"""Columns beyond which sentences are no longer read with ease."""

Advance = Callable[[str, float], None]
"""Called with the name of the stage and the share done, 0..1."""


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Return `text` without control characters: tags and file names come from strangers."""
    return "".join(c if c.isprintable() or (keep_lines and c == "\n") else f"\\x{ord(c):02x}" for c in text)


def emit_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one JSON document on stdout; numbers that are not finite would be no JSON and are refused."""
    print(json.dumps(content, indent=2, allow_nan=False))


def emit(text: str = "") -> None:
    """Print one line of a result on stdout."""
    print(printable(text))


def emit_files(**files: Path | None) -> None:
    """Print what was written, a line each: what it is and where."""
    for what, path in files.items():
        if path is not None:
            emit(f"{what:<10} {path}")


def files_json(**files: Path | None) -> dict[str, str | None]:
    """Return the names of what was written, None for what was not asked for."""
    return {what: None if path is None else str(path) for what, path in files.items()}


def emit_paragraph(text: str) -> None:
    """Print a sentence or more of a result on stdout, indented, in lines that fit the terminal."""
    columns = get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    lines = wrap(
        printable(text),
        min(columns, TEXT_WIDTH),
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    print("\n".join(lines))


def emit_limits(limits: Iterable[object]) -> None:
    """Print which settings of a fitted chain ended at a limit, if any did."""
    named = ", ".join(str(limit) for limit in limits)
    if named:
        emit(f"At their limit: {named}.")


def remark(text: str) -> None:
    """Print one line beside the result, on stderr."""
    print(printable(text), file=sys.stderr)


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print a table on stdout; a column whose name begins with ">" is aligned to the right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    _console().print(table)


def _console() -> Console:
    from rich.console import Console

    class Plain(Console):
        """A console that leaves a broken pipe to the caller; rich would end the program with code 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    # Markup and emoji codes in a file's name are its own business, not instructions to us.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Plain(markup=False, emoji=False, highlight=False, width=width)


class Sure(Protocol):
    """How sure a fit is of a setting, as a match or a preset holds it."""

    @property
    def setting(self) -> str: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def identified(self) -> bool: ...


def emit_chain(chain: Chain, likely: Mapping[str, str] | None = None) -> None:
    """Print the settings that differ from their default; the others do what they do in a new chain.

    What does not count at these settings is marked. likely: what settings could be as well, by address; with
    it there is a column for that.
    """
    rows = []
    for slot in chain:
        state = "bypassed" if slot.bypass else f"amount {slot.amount:.2f}"
        idle = slot.effect.idle(slot.settings)
        changed = [p for p in slot.effect.params if slot.settings[p.name] != p.default]
        for index, param in enumerate(changed):
            rows.append(
                {
                    "effect": slot.name if index == 0 else "",
                    "": state if index == 0 else "",
                    "setting": f"{param.name} (does not count)" if param.name in idle else param.name,
                    ">value": param.format(slot.settings[param.name]),
                    ">likely": "" if likely is None else likely.get(f"{slot.name}.{param.name}", ""),
                    ">default": param.format(param.default),
                }
            )
        if not changed:
            rows.append({"effect": slot.name, "": state, "setting": "(all at their defaults)"})
    if not rows:
        emit("No effects.")
        return
    columns = ["effect", "", "setting", ">value", ">likely", ">default"]
    if likely is None:
        columns.remove(">likely")
    emit_table(columns, [[row.get(column, "") for column in columns] for row in rows])


LIKELY = "likely: one standard deviation to either side; ?: the recordings hardly tell it."


def emit_chain_with(chain: Chain, certainty: Iterable[Sure]) -> None:
    """Print a chain as emit_chain does, with how sure a fit was of its settings, where that is known."""
    sure = [s for s in certainty if s.setting in chain.settings()]
    if not sure:
        emit_chain(chain)
        return
    likely = {}
    for s in sure:
        param = chain.param(s.setting)
        likely[s.setting] = f"{param.format(s.low)} to {param.format(s.high)}" + (
            "" if s.identified else " ?"
        )
    emit_chain(chain, likely)
    emit(LIKELY)


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """Show how far the work is on stderr, where that is a terminal; elsewhere say nothing."""
    if not sys.stderr.isatty():
        yield lambda stage, fraction: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(label), total=1.0)

        def advance(stage: str, fraction: float) -> None:
            bar.update(task, description=printable(f"{label}: {stage}"), completed=fraction)

        yield advance
