"""Options that several commands share, written once so that they are spelled alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(show_default=False)]
Output = Annotated[Path, Parameter(name=("--output", "-o"))]
OutputOrFolder = Annotated[str, Parameter(name=("--output", "-o"))]
"""As text: a path forgets the slash at its end, which says that a folder is meant."""
OutputOrNone = Annotated[Path | None, Parameter(name=("--output", "-o"))]
Texts = Annotated[tuple[str, ...], Parameter(show_default=False)]
"""An option that may be given again and again."""

Plugins = Annotated[tuple[Path, ...], Parameter(name="--allow-plugin", show_default=False)]
"""Plugins that a preset may load although they lie elsewhere than plugins do."""

Quality = Literal["draft", "standard", "best"]
Paired = Literal["auto", "yes", "no"]
Device = Literal["auto", "cpu", "cuda"]
