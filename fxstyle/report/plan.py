"""A room in plan and side view, to scale, as SVG text: its walls, its source and its microphones.

The plan is seen from above with the front wall at its top; the side view looks from the back wall to the
front, so that left is left in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fxstyle.report.svg import WIDTH, round_ticks, text_of

SURFACES = ("left", "right", "front", "back", "floor", "ceiling")

_MARGIN = 78.0
"""Around a room, for the names of its walls and its measures."""

_LONGEST_PX, _TALLEST_PX = WIDTH - 2.0 * _MARGIN, 380.0
_SOURCE_PX, _MICROPHONE_PX = 7.0, 8.0
_LETTER_PX = 6.4
"""Width of a letter at 12 px, so that a name is cut before its wall ends."""

_LEAST_LETTERS = 22
_LABEL_GAP_PX = 5.0


def _place(values: npt.ArrayLike, what: str) -> tuple[float, float, float]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (3,) or not np.all(np.isfinite(array)):
        raise ValueError(f"{what} has to be three finite lengths; it has shape {array.shape}")
    x, y, z = (float(v) for v in array)
    return x, y, z


def _metres(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") + " m"


def _cut(text: str, px: float) -> str:
    """Shorten a text to a width, with an ellipsis."""
    letters = max(int(px / _LETTER_PX), _LEAST_LETTERS)
    return text if len(text) <= letters else text[: letters - 1].rstrip(" ,") + "\N{HORIZONTAL ELLIPSIS}"


def _said(places: Sequence[tuple[str, tuple[float, float, float]]], labels: Sequence[str]) -> str:
    """Say a room in words, for those who do not see its picture."""
    where = [f"{name} at {', '.join(_metres(v) for v in place)}" for name, place in places]
    made = [f"{name} {label}" for name, label in zip(SURFACES, labels, strict=True) if label]
    return "; ".join([*where, *made])


def _check_labels(labels: Sequence[str]) -> Sequence[str]:
    if len(labels) != len(SURFACES):
        raise ValueError(f"there are {len(labels)} labels; give one for each of {', '.join(SURFACES)}")
    return labels


def plan(
    size_m: npt.ArrayLike,
    source_m: npt.ArrayLike,
    microphones_m: Sequence[npt.ArrayLike],
    labels: Sequence[str],
) -> str:
    """Return the room from above, to scale.

    Parameters
    ----------
    size_m: (3,), left to right, front to back, floor to ceiling.
    source_m: (3,) from the left, front and floor.
    microphones_m: as many (3,).
    labels: what left, right, front, back, floor and ceiling are made of; "" leaves one out.
    """
    return _view("Plan", (0, 1), size_m, source_m, microphones_m, labels, ("left", "right", "front", "back"))


def elevation(
    size_m: npt.ArrayLike,
    source_m: npt.ArrayLike,
    microphones_m: Sequence[npt.ArrayLike],
    labels: Sequence[str],
) -> str:
    """Return the room from the back wall towards the front, to the scale of its plan; arguments as there."""
    sides = ("left", "right", "ceiling", "floor")
    return _view("Side view", (0, 2), size_m, source_m, microphones_m, labels, sides)


def _view(
    title: str,
    axes: tuple[int, int],
    size_m: npt.ArrayLike,
    source_m: npt.ArrayLike,
    microphones_m: Sequence[npt.ArrayLike],
    labels: Sequence[str],
    sides: tuple[str, str, str, str],
) -> str:
    """Draw two axes of a room; `sides` are the walls at the left, right, top and bottom of the picture."""
    size = _place(size_m, "the size")
    places = [("source", _place(source_m, "the source"))]
    microphones = [_place(m, "a microphone") for m in microphones_m]
    named = [
        f"microphone {i}" if len(microphones) > 1 else "microphone" for i in range(1, len(microphones) + 1)
    ]
    places += zip(named, microphones, strict=True)
    words = dict(zip(SURFACES, _check_labels(labels), strict=True))
    # One scale for all views of a room: what is high looks high.
    scale = min(_LONGEST_PX / size[0], _TALLEST_PX / size[1], _TALLEST_PX / size[2])
    across, down = size[axes[0]] * scale, size[axes[1]] * scale
    left, top = (WIDTH - across) / 2.0, _MARGIN
    height = down + 2.0 * _MARGIN

    def at(place: tuple[float, float, float]) -> tuple[float, float]:
        y = place[axes[1]] * scale
        return left + place[axes[0]] * scale, top + (down - y if axes[1] == 2 else y)

    about = f"{title}, {_metres(size[axes[0]])} by {_metres(size[axes[1]])}: {_said(places, labels)}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" class="plot">',
        f"<title>{text_of(about)}</title>",
        f'<rect class="room" x="{left:.1f}" y="{top:.1f}" width="{across:.1f}" height="{down:.1f}"/>',
        *_wall_names(sides, words, left, top, across, down),
        f'<text x="{left + across - 8:.1f}" y="{top + down - 8:.1f}" text-anchor="end">'
        f"{_metres(size[axes[0]])} \N{MULTIPLICATION SIGN} {_metres(size[axes[1]])}</text>",
        *_scale_bar(scale, size[0]),
        *_marks([(name, *at(place)) for name, place in places], left, top, across),
        "</svg>",
    ]
    return "\n".join(parts)


def _wall_names(
    sides: Sequence[str], words: Mapping[str, str], left: float, top: float, across: float, down: float
) -> Iterable[str]:
    middle_x, middle_y = left + across / 2.0, top + down / 2.0
    beyond = _MARGIN - 18.0
    places = (
        (left - 12.0, middle_y, -90, down + beyond),
        (left + across + 20.0, middle_y, -90, down + beyond),
        (middle_x, top - 12.0, 0, across + beyond),
        (middle_x, top + down + 22.0, 0, across + beyond),
    )
    for side, (x, y, turned, room_px) in zip(sides, places, strict=True):
        text = f"{side}: {words[side]}" if words[side] else side
        turn = f' transform="rotate({turned} {x:.1f} {y:.1f})"' if turned else ""
        yield (
            f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="middle"{turn}>'
            f"{text_of(_cut(text, room_px))}</text>"
        )


def _scale_bar(scale: float, longest_m: float) -> Iterable[str]:
    """Yield a bar of a round length, about a fifth of the room."""
    metres = next((t for t in round_ticks(0.0, longest_m / 4.0, 2) if t > 0.0), 1.0)
    x, y, end = 14.0, 24.0, 14.0 + metres * scale
    yield f'<line class="size" x1="{x}" y1="{y}" x2="{end:.1f}" y2="{y}"/>'
    for tick in (x, end):
        yield f'<line class="size" x1="{tick:.1f}" y1="{y - 4}" x2="{tick:.1f}" y2="{y + 4}"/>'
    yield f'<text x="{end + 7:.1f}" y="{y + 4}">{_metres(metres)}</text>'


def _marks(
    places: Sequence[tuple[str, float, float]], left: float, top: float, across: float
) -> Iterable[str]:
    """Yield source and microphones, a line between each two, and their names on the sides turned away."""
    _, source_x, source_y = places[0]
    for _, x, y in places[1:]:
        yield f'<line class="path" x1="{source_x:.1f}" y1="{source_y:.1f}" x2="{x:.1f}" y2="{y:.1f}"/>'
    others = [x for _, x, _ in places[1:]]
    source_is_left = not others or source_x <= sum(others) / len(others)
    for index, (name, x, y) in enumerate(places):
        if index == 0:
            size = _SOURCE_PX
            yield f'<circle class="place source" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}"/>'
        else:
            size = _MICROPHONE_PX
            corners = ((x, y - size), (x + size, y + 0.8 * size), (x - size, y + 0.8 * size))
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
            yield f'<polygon class="place microphone" points="{points}"/>'
        away = size + _LABEL_GAP_PX
        wide = _LETTER_PX * len(name)
        to_left = source_is_left == (index == 0)
        free = x - left if to_left else left + across - x
        if free > away + wide:
            text_x, text_y, anchor = (x - away, y + 4.0, "end") if to_left else (x + away, y + 4.0, "start")
        else:
            above = index == 0 and y - top > 3.0 * away
            text_x, text_y, anchor = x, y - away if above else y + away + 8.0, "middle"
        yield (
            f'<text class="name" x="{text_x:.1f}" y="{text_y:.1f}" text-anchor="{anchor}">'
            f"{text_of(name)}</text>"
        )
