"""From a sentence to words of the lexicon with their degrees.

    wish = clause {("," | "and" | "but" | ..) clause},  clause = {filler | degree | negation | word}

Degrees and negations belong to the next word of their clause and multiply:

    slightly warm .5 · warm 1 · warmer 1 · much warmer 1.5 · 30 % warm .3
    not warm -.5 · less warm -1 · too warm -.75 · not too warm -.3 · no tape -1

The longest phrase wins, then endings are taken off (words.py). What is not understood is said in a note; a
text of which nothing is understood is refused.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches

from fxstyle.errors import SettingError
from fxstyle.text import words
from fxstyle.text.lexicon import Lexicon, folded

LONGEST_TEXT = 500
"""Letters; a wish is a sentence or two."""

MOST_DEGREE = 2.5
"""However many words of degree are heaped up."""

_NEAR = 0.72
"""Share of letters that have to agree for one word to be taken for another's slip."""

_MOST_UNKNOWN = 6
_PERCENT = re.compile(r"(\d{1,4})\s*(?:%|percent\b|per cent\b|pct\b)")
_TOKEN = re.compile(r"\d{1,4}\s*(?:%|percent\b|per cent\b|pct\b)|[^\W_]+|[,;.:!?/+&()\n]")
_NO_SIGNAL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True)
class Said:
    """One word of the lexicon: its entry's name, how much of it, the words as written, whether none."""

    name: str
    degree: float
    written: str
    none: bool = False


@dataclass(frozen=True)
class Reading:
    """What a text says: words by name, and notes on what was not understood."""

    text: str
    said: tuple[Said, ...]
    notes: tuple[str, ...]


@dataclass
class _Pending:
    """What stands before a word."""

    factor: float = 1.0
    sign: float = 1.0
    none: bool = False
    words: tuple[str, ...] = ()

    @property
    def degree(self) -> float:
        wanted = self.sign * self.factor
        return min(max(wanted, -MOST_DEGREE), MOST_DEGREE)


def parse(text: str, lexicon: Lexicon, *, clap: bool = False) -> Reading:
    """Read a wish by a lexicon; raises SettingError where the text is none or nothing of it is understood.

    clap: whether CLAP hears the text as well, so that nothing need be understood.
    """
    clean = _checked(text)
    reader = _Reader(lexicon)
    for clause in _clauses(clean):
        reader.read(clause)
    if not reader.said and not clap:
        raise SettingError(_nothing(clean, reader.unknown, lexicon))
    notes = list(reader.notes)
    left = "is left to CLAP" if clap else "was passed over"
    for word in reader.unknown[:_MOST_UNKNOWN]:
        notes.append(f"{word!r} is not in the lexicon and {left}{_near(word, lexicon)}")
    if len(reader.unknown) > _MOST_UNKNOWN:
        notes.append(f"{len(reader.unknown) - _MOST_UNKNOWN} more words of the text are not in the lexicon")
    said, more = _merged(reader.said)
    return Reading(clean, said, (*notes, *more))


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise SettingError(
            f"the text has to be words, got {type(text).__name__}; write it in quotation marks"
        )
    if len(text) > LONGEST_TEXT:
        raise SettingError(f"the text has {len(text)} letters; describe the sound in at most {LONGEST_TEXT}")
    for sign in text:
        if unicodedata.category(sign) in _NO_SIGNAL and sign not in "\n\t\r":
            raise SettingError(f"the text holds the control character {sign!a}; write plain words")
    clean = " ".join(unicodedata.normalize("NFKC", text).split())
    if not clean:
        raise SettingError('the text is empty; describe the sound, as in "warm, close, a little tape"')
    return clean


def _clauses(text: str) -> list[list[str]]:
    plain = text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("'", "").replace("-", " ")
    clauses: list[list[str]] = [[]]
    for token in _TOKEN.findall(plain):
        if token in words.BREAKS or not (token[0].isalnum()):
            clauses.append([])
        else:
            clauses[-1].append(token)
    return [clause for clause in clauses if clause]


class _Reader:
    """Goes through clauses and gathers words."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._longest = max(len(phrase.split()) for phrase in lexicon.phrases)
        self.said: list[Said] = []
        self.unknown: list[str] = []
        self.notes: list[str] = []

    def read(self, clause: list[str]) -> None:
        pending, before = _Pending(), None
        at = 0
        while at < len(clause):
            used, entry, factor = self._entry(clause, at)
            if entry is not None:
                written = " ".join((*pending.words, *clause[at : at + used]))
                pending.factor *= factor
                self.said.append(Said(entry, round(pending.degree, 4), written, pending.none))
                before, pending = pending, _Pending()
                at += used
                continue
            used = self._modifier(clause, at, pending)
            if not used and clause[at] in words.OR and before is not None and before.sign < 0.0:
                pending = _Pending(1.0, before.sign, before.none, before.words)
                used = 1
            if not used:
                if clause[at] not in words.FILLERS and clause[at] not in words.OR:
                    if clause[at] not in self.unknown:
                        self.unknown.append(clause[at])
                    pending = _Pending()
                used = 1
            at += used
        if pending.words and before is not None and (percent := _percent(pending.words[-1])) is not None:
            last = self.said[-1]
            degree = min(last.degree * percent, MOST_DEGREE)
            self.said[-1] = Said(
                last.name, round(degree, 4), f"{last.written} {pending.words[-1]}", last.none
            )
        elif pending.words:
            self.notes.append(f"{' '.join(pending.words)!r} belongs to no word of the lexicon")

    def _entry(self, clause: list[str], at: int) -> tuple[int, str | None, float]:
        """Return how many tokens the word at a place takes, its name, and what its ending stands for."""
        for count in range(min(self._longest, len(clause) - at), 0, -1):
            phrase = " ".join(clause[at : at + count])
            if phrase in self._lexicon.phrases:
                return count, self._lexicon.phrases[phrase], 1.0
            if count == 1 and (self._says_how(phrase) or phrase in words.FILLERS):
                break
            first, _, last = phrase.rpartition(" ")
            for stem, factor in words.stems(last):
                name = self._lexicon.phrases.get(f"{first} {stem}".strip())
                if name is not None:
                    return count, name, factor
        return 0, None, 1.0

    @staticmethod
    def _says_how(phrase: str) -> bool:
        return phrase in words.DEGREES or any(
            phrase in group
            for group in (words.MORE, words.LESS, words.NOT, words.NOT_TOO, words.NONE, words.TOO)
        )

    @staticmethod
    def _modifier(clause: list[str], at: int, pending: _Pending) -> int:
        """Take the modifier at a place into account and return how many tokens it takes, 0 if it is none."""
        for count in range(min(4, len(clause) - at), 0, -1):
            phrase = " ".join(clause[at : at + count])
            percent = _percent(phrase) if count == 1 else None
            if percent is not None:
                pending.factor *= percent
            elif phrase in words.NOT_TOO:
                pending.sign *= words.NOT_TOO_DEGREE
            elif phrase in words.NOT:
                pending.sign *= words.NOT_DEGREE
            elif phrase in words.NONE:
                pending.sign, pending.none = -pending.sign, pending.sign > 0.0
            elif phrase in words.TOO:
                pending.sign *= words.TOO_DEGREE
            elif phrase in words.LESS:
                pending.sign *= -1.0
            elif phrase in words.DEGREES:
                pending.factor *= words.DEGREES[phrase]
            elif phrase not in words.MORE:
                continue
            pending.words += (phrase,)
            return count
        return 0


def _percent(token: str) -> float | None:
    found = _PERCENT.fullmatch(token)
    return None if found is None else float(found[1]) / 100.0


def _near(word: str, lexicon: Lexicon) -> str:
    found = get_close_matches(folded(word), lexicon.phrases, n=3, cutoff=_NEAR)
    return f"; near: {', '.join(found)}" if found else ""


def _nothing(text: str, unknown: list[str], lexicon: Lexicon) -> str:
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    near = [get_close_matches(word, lexicon.phrases, n=1, cutoff=_NEAR) for word in unknown]
    meant = list(dict.fromkeys(match[0] for match in near if match))
    hint = f"; did you mean {', '.join(meant[:3])}?" if meant else "."
    return (
        f"no word of the text {shown!r} is in the lexicon{hint} Use English words of sound, such as warm,"
        " bright, punchy, wide, distant, tape, or add your own with a lexicon file"
    )


def _merged(said: list[Said]) -> tuple[tuple[Said, ...], tuple[str, ...]]:
    """Return each word once, sorted by name: the order of words must not matter."""
    found: dict[str, Said] = {}
    notes = []
    for one in said:
        other = found.get(one.name)
        if other is None:
            found[one.name] = one
        elif other.degree * one.degree < 0.0:
            notes.append(f"{other.written!r} and {one.written!r} contradict each other; both count")
            together = Said(one.name, round(other.degree + one.degree, 4), f"{other.written}, {one.written}")
            found[one.name] = together
        elif abs(one.degree) > abs(other.degree):
            found[one.name] = one
    return tuple(found[name] for name in sorted(found) if found[name].degree != 0.0), tuple(notes)
