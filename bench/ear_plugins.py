"""Recordings through third-party plugins (drywet/plugins): the same plugin and settings on other content?

The data hold X__dry.flac and X__EFFECT.flac of five contents X, rendered by others' hosts; the manifest gives
plugin and settings. A query is X__EFFECT, the candidates are all files of another content X' that has EFFECT
by the same plugin and settings, X'__dry among them; all as their first SECONDS at -23 LUFS, 44.1 kHz. Twelve
queries, with five to eight candidates each: the rows say what chance is. Nothing is drawn, so the number of
queries asked for has no bearing, and slow methods are asked all of them.

`untreated` asks for X'__dry by X__dry, 20 times. `place of the right one`: 0 where it is the nearest, 1 where
it is the farthest. Latency is not compensated in the data. Some of the plugins (Calf) are in the encoder's
training, with other settings; `those not trained on` are the others.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from counterfx import RATE, Stereo, at_loudness, data_folder, load
from ear_contents import LOUDNESS_LUFS
from ear_row import Floats, Methods, Rows, distances, embed, mean_row, picked, share_row

from fxstyle.embed import Embedding
from fxstyle.train.episodes import PROGRAMS

SECONDS = 6.0
FOLDER, DRY = "drywet/plugins/", "dry"
PLACE = "place of the right one"


class Wet(NamedTuple):
    """A file: its content, effect, and what the manifest says of plugin and settings."""

    content: str
    effect: str
    how: str
    sound: Stereo


class Query(NamedTuple):
    """Numbers of the file asked by, of the right one, and of the others of its content."""

    asked: int
    right: int
    others: tuple[int, ...]


def wets() -> list[Wet]:
    """Return the files of the test split."""
    with (data_folder() / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith(FOLDER)]
    found = []
    for row in sorted(rows, key=lambda row: row["path"]):
        content, _, effect = row["path"].removeprefix(FOLDER).removesuffix(".flac").partition("__")
        # "WET of X through PLUGIN params SETTINGS; post gain ..; ..": what follows depends on the content
        how = DRY if effect == DRY else row["description"].partition(" through ")[2].partition("; post")[0]
        if row["split"] == "test":
            passage = load(data_folder() / row["path"])[:, : round(SECONDS * RATE)]
            found.append(Wet(content, effect, how, at_loudness(passage, LOUDNESS_LUFS)))
    return found


def queries_of(files: Sequence[Wet]) -> list[Query]:
    """Return a query for each file and each other content that was treated alike."""
    found = []
    for asked, one in enumerate(files):
        for right, other in enumerate(files):
            if other.content != one.content and other.how == one.how:
                own = [n for n, file in enumerate(files) if file.content == other.content and n != right]
                found.append(Query(asked, right, tuple(own)))
    return found


def trained_on(how: str) -> bool:
    """Return whether a plugin is of a program that is in training by default."""
    return any(program.rpartition(".")[2] in how.lower() for program in PROGRAMS)


def nearer(method: Embedding, files: Sequence[Wet], asked: Sequence[Query]) -> Floats:
    """Return for each query the share of the other candidates that are at least as near as the right one."""
    vectors = embed(method, [file.sound for file in files])
    found = []
    for query in asked:
        apart = distances(
            method, picked(vectors, [query.right, *query.others]), picked(vectors, [query.asked])
        )
        found.append((apart[1:] <= apart[0]).mean())
    return np.array(found)


def rows(methods: Methods, queries: int) -> Rows:
    """Yield the share of right ones that are nearest, and their mean place among the candidates."""
    files = wets()
    asked = queries_of(files)
    hows = [files[query.asked].how for query in asked]
    parts = {
        "treated": [how != DRY for how in hows],
        "those not trained on": [how != DRY and not trained_on(how) for how in hows],
        "untreated": [how == DRY for how in hows],
    }
    places = {name: nearer(method, files, asked) for name, method in methods.items()}
    for what, part in parts.items():
        chance = float(
            np.mean([1.0 / (1 + len(query.others)) for query, p in zip(asked, part, strict=True) if p])
        )
        for name, place in places.items():
            hits = (place[part] == 0.0).astype(float).tolist()
            yield share_row(f"plugins, {what} (chance {chance:.2f})", name, hits)
        for name, place in places.items():
            yield mean_row(f"plugins, {what}, {PLACE}", name, place[part].tolist(), -1.0)
