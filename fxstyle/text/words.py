"""The words around the words of sound: how much, which way, and those that say nothing of a sound.

A degree d multiplies what a word asks for: 1 is the word alone, -1 its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

DEGREES: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("barely", "hardly", "a hint", "hint", "trace", "a trace", "ever so slightly"), 0.3),
        **dict.fromkeys(
            ("slightly", "slight", "a little", "little", "a little bit", "a bit", "bit", "a touch", "touch",
             "a tad", "tad", "a dash", "dash", "a pinch", "subtle", "subtly", "gently", "lightly", "mildly",
             "mild", "faintly", "half"), 0.5
        ),
        **dict.fromkeys(("somewhat", "some", "moderately", "moderate"), 0.7),
        **dict.fromkeys(("fairly", "rather", "pretty"), 0.85),
        "quite": 1.2,
        **dict.fromkeys(
            ("very", "really", "much", "a lot", "lots", "a lot of", "lots of", "heavily", "strongly",
             "strong", "considerably", "significantly", "plenty of", "deeply", "loads of", "so much",
             "a great deal"), 1.5
        ),
        **dict.fromkeys(("super", "way", "totally", "seriously", "highly", "mega"), 1.8),
        **dict.fromkeys(
            ("extremely", "ultra", "completely", "insanely", "massively", "hugely", "incredibly",
             "absolutely", "extreme", "tons of", "crazy", "maximum"), 2.0
        ),
    }
)  # fmt: skip
"""Factors of the words of degree; where several meet they multiply."""

MORE = frozenset({"more", "increase", "increased", "boost", "boosted", "extra", "additional"})
LESS = frozenset(
    {"less", "fewer", "reduce", "reduced", "decrease", "decreased", "lower", "lessen", "cut", "minus"}
)
NOT = frozenset(
    {"not", "dont", "do not", "never", "isnt", "is not", "not so", "not as", "not that", "not overly",
     "shouldnt be", "should not be", "dont make it", "do not make it", "not very", "not really", "not much"}
)  # fmt: skip
NOT_TOO = frozenset({"not too", "not too much", "nothing too", "never too"})
NONE = frozenset({"no", "without", "without any", "zero", "remove", "lose", "avoid", "kill", "get rid of",
                  "free of", "not any", "dont add", "do not add", "strip"})  # fmt: skip
TOO = frozenset({"too", "too much", "overly", "excessively", "far too", "way too", "much too"})

NOT_DEGREE, NOT_TOO_DEGREE, TOO_DEGREE = -0.5, -0.3, -0.75
"""What is not to be bright need not be dark, and a complaint is no wish for the opposite in full; "less
bright" is brightness undone."""

SUPERLATIVE, ISH = 1.5, 0.5

BREAKS = frozenset({"and", "but", "yet", "while", "although", "though", "then", "plus"})
"""Words that end what a degree belongs to, as commas do."""

OR = frozenset({"or", "nor"})
"""After them a negation goes on: not harsh or boxy."""

_PASSED_OVER = """
    a an the it its is are be being been was were to of with in on at by from for as like so if that
    this these those there than into onto over up out off i im id you we they me my your our us his her
    their want wants wanted would could should can may must will shall need needs please make makes
    making made sound sounds sounding sounded give gives given giving get gets getting got have has
    having had let lets put keep keeps kept add adds added adding apply use uses using used turn turned
    go goes going come comes through via just also only even still again all any every each bit kind
    sort type style feel feels feeling vibe vibes mood quality character tone tonal timbre texture
    effect effects fx processing treatment recording recordings track tracks take takes audio song songs
    music mix mixes instrument instruments vocal vocals voice voices singer guitar guitars drum drums
    piano keys keyboard synth synths strings snare cymbals speech thing things stuff something overall
    general nice nicely good great cool lovely beautiful beautifully perfect right thanks thank same
    reference original input played playing heard plays playback coming inside within around along where
    when how what which who he she one bring brings brought set do does did nothing else enough perhaps
    maybe here now both amount level levels highs ends end side sides part parts
"""

FILLERS = frozenset(_PASSED_OVER.split())
"""Words that are passed over."""

_ENDINGS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("iest", ("y",), SUPERLATIVE),
    ("est", ("", "e"), SUPERLATIVE),
    ("ier", ("y",), 1.0),
    ("er", ("", "e", "y"), 1.0),
    ("iness", ("y",), 1.0),
    ("ness", ("", "e"), 1.0),
    ("ily", ("y",), 1.0),
    ("ly", ("", "le"), 1.0),
    ("yish", ("y",), ISH),
    ("ish", ("", "e", "y"), ISH),
    ("ing", ("", "e", "ed", "y"), 1.0),
    ("ies", ("y",), 1.0),
    ("es", ("", "e"), 1.0),
    ("s", ("",), 1.0),
    ("ed", ("", "e", "y"), 1.0),
    ("y", ("", "e"), 1.0),
    ("", ("y", "ed", "d"), 1.0),
)
_LEAST_STEM = 3
"""Letters: what is left of shorter words is any word."""


def stems(word: str) -> Iterator[tuple[str, float]]:
    """Yield what a word may be a form of, likeliest first, and the factor that its ending stands for."""
    for ending, instead, factor in _ENDINGS:
        if not word.endswith(ending):
            continue
        stem = word.removesuffix(ending)
        if len(stem) < _LEAST_STEM:
            continue
        for letters in instead:
            yield stem + letters, factor
        if ending and stem[-1] == stem[-2]:  # thinner, dubbed
            yield stem[:-1], factor
