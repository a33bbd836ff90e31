"""What can go wrong for a user, in words that name the thing, its value and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_SUGGESTED = 3
"""More names than these are no suggestion."""

_PART = 3
"""Letters from which on a part of a name points to it: "verb" to reverb, but "e" to nothing."""


class FxstyleError(Exception):
    """Base of every error a user can cause or cure. The command line prints it and exits with 1."""


class AudioError(FxstyleError):
    """A recording that cannot be read, measured or written."""


class SettingError(FxstyleError):
    """A setting, lock, bound or chain that is unknown or out of range."""


class PresetError(FxstyleError):
    """A preset file that is damaged, hostile, or from an unknown version."""


class PluginError(FxstyleError):
    """A hosted plugin that is missing, may not be loaded, or fails."""


class MatchError(FxstyleError):
    """Input and reference from which no match can be made."""


def remedy(wrong: str, known: Iterable[str], *, lead: str, listed: str) -> str:
    """Return the end of a message about an unknown name: what was meant, where that shows, and what there is.

    Parameters
    ----------
    wrong: what was written.
    known: the names it may have stood for.
    lead, listed: the list that follows, as in "there are" and "eq, gain".
    """
    near = _near(wrong, tuple(known))
    if not near:
        return f"; {lead} {listed}"
    return f"; did you mean {' or '.join(near)}? {lead[:1].upper()}{lead[1:]} {listed}"


def _near(wrong: str, known: tuple[str, ...]) -> list[str]:
    """Return the few names that begin with what was written, contain it, or are nearly spelled like it."""
    folded = {name.casefold(): name for name in known}
    word = wrong.strip().casefold()
    if word in folded:
        return [folded[word]]
    if len(word) >= _PART:
        for fits in (str.startswith, str.__contains__):
            found = [name for key, name in folded.items() if fits(key, word)]
            if found:
                return found if len(found) <= _MOST_SUGGESTED else []
    return [folded[key] for key in get_close_matches(word, folded, n=1)]
