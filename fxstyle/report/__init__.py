"""What a match did, for people: one self-contained HTML page."""

from __future__ import annotations

from fxstyle.report.page import html

__all__ = ["html"]
