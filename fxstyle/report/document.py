"""One self-contained HTML document: no script, nothing fetched, light or dark as the reader has it."""

from __future__ import annotations

from fxstyle.report.style import CSS
from fxstyle.report.svg import text_of

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def document(title: str, body: str, more_css: str = "") -> str:
    """Return a document of this body, which is HTML already; the title is plain text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text_of(title)}</title>\n<style>{CSS}{more_css}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
