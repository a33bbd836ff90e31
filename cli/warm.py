"""`fxstyle warm`: compile now rather than when the first recording waits."""

from __future__ import annotations

import time

from fxstyle.cli._options import Flag
from fxstyle.cli._output import emit, emit_json, progress
from fxstyle.errors import SettingError


def warm(*names: str, json: Flag = False) -> int:
    """Compile the kernels ahead of their first use, once after installation.

    Parameters
    ----------
    names
        Effects whose kernels are wanted, or "all"; by default those of the default chain.
    json
        Print the result as one JSON document.
    """
    from fxstyle.effects import DEFAULT_CHAIN
    from fxstyle.effects import names as all_names
    from fxstyle.warm import warm as compile_kernels

    if "all" in names and set(names) != {"all"}:
        others = ", ".join(name for name in names if name != "all")
        raise SettingError(f'"all" is every effect: write it alone, or leave it out and name only {others}')
    chosen = tuple(dict.fromkeys(names)) or tuple(DEFAULT_CHAIN.split(","))
    wanted = all_names() if "all" in chosen else chosen
    total = len(wanted) + 1
    finished: list[str] = []
    began = time.perf_counter()
    with progress("compiling") as advance:

        def done(name: str) -> None:
            finished.append(name)
            advance(name, len(finished) / total)

        seconds = compile_kernels(wanted, done=done)
    took = time.perf_counter() - began
    if json:
        emit_json({"command": "warm", "seconds": took, "kernels": seconds})
    else:
        count = len(seconds) - 1  # less measuring
        emit(f"Kernels of {count} effect{'s' if count > 1 else ''} are compiled ({took:.0f} s).")
    return 0
