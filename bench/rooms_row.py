"""A row of the table of targets for rooms."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """What is measured, as measured, what is wanted, and whether it is met; None where nothing is wanted."""

    what: str
    measured: str
    target: str
    met: bool | None
