"""The command line: parse, call, print. One file per command, imported when the command runs.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some of several files failed, 130 interrupted. Usage is what
the command line itself has wrong, whatever the files are: an option, a name of an effect or knob, a value out
of range, two options that contradict each other. A file that is missing, exists already or cannot be used is
a failure of the work.

Results go to stdout, progress and errors to stderr. Nothing heavy is imported before a command has been
parsed, so that help and mistakes answer at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError, Parameter

from fxstyle import __version__
from fxstyle.cli._output import printable
from fxstyle.cli.room import room_app
from fxstyle.cli.train import train_app
from fxstyle.errors import FxstyleError, SettingError

DONE, FAILED, USAGE, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes; PARTLY is for commands that take several files."""

_COMMANDS = {
    "match": "Make INPUT sound like REFERENCE, and hand over the settings.",
    "apply": "Render recordings through a preset; nothing is fitted.",
    "compare": "Measure how two recordings differ.",
    "inspect": "Say what a recording measures like, or what a preset does.",
    "effects": "List the effects with their settings, units, ranges and defaults.",
    "warm": "Compile the kernels ahead of their first use.",
    "demo": "Run the main job on sound the program makes itself.",
}

_REMEDIES = {
    errno.ENAMETOOLONG: "; choose a shorter name",
    errno.EACCES: "; change its permissions or choose another",
    errno.ENOSPC: "; free some space",
}
"""What to do about errors of the system that no command expects."""

_EPILOGUE = """Examples:

fxstyle match dry.wav record.flac -o out.wav --preset sound.json --report report.html

fxstyle apply sound.json stem1.wav stem2.wav -o folder

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some of several files failed, 130 interrupted."""


def build_app() -> App:
    """Return the parser; commands are named by import path and loaded when they are called."""
    app = App(
        name="fxstyle",
        help="Make this recording sound like that one, and hand me the settings.",
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        version=__version__,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=()),
    )
    for name, help_text in _COMMANDS.items():
        app.command(f"fxstyle.cli.{name}:{name}", name=name, help=help_text, help_epilogue="")
    app.command(room_app())
    app.command(train_app())
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot show must not stop the work.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = build_app()(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(f"{error}\nTry: fxstyle {' '.join([*(error.command_chain or ()), '--help'])}", USAGE)
    except SettingError as error:
        return _fail(str(error), USAGE)
    except FxstyleError as error:
        return _fail(str(error), FAILED)
    except MemoryError:
        return _fail("not enough memory; use shorter recordings or close other programs", FAILED)
    except KeyboardInterrupt:
        return _fail("stopped; no file was left half written", INTERRUPTED)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        _drop_stdout()
        return DONE
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            _drop_stdout()
        where = "the result cannot be printed" if error.filename is None else str(error.filename)
        return _fail(f"{where}: {error.strerror or error}{_REMEDIES.get(error.errno or 0, '')}", FAILED)
    return code if isinstance(code, int) else DONE


def _drop_stdout() -> None:
    """Lead stdout nowhere, or Python would complain once more when it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> int:
    print(f"fxstyle: {printable(message, keep_lines=True)}", file=sys.stderr)
    return code
