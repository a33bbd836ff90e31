"""Several references in one: how much each counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fxstyle.errors import SettingError


def shares(weights: Sequence[float], count: int) -> tuple[float, ...]:
    """Return the shares of `count` references, which sum to one; without weights all are alike.

    Raises SettingError for another number of weights, for one that is negative or not finite, or all zero.
    """
    if not weights:
        return (1.0 / count,) * count if count else ()
    if len(weights) != count:
        raise SettingError(
            f"there are {len(weights)} weights for {count} reference{'' if count == 1 else 's'}:"
            " give one to each, in their order"
        )
    for weight in weights:
        if not (math.isfinite(weight) and weight >= 0.0):
            raise SettingError(f"weight {weight:g} must be a number from 0; 2 counts twice as much as 1")
    total = math.fsum(weights)
    if total <= 0.0 or not math.isfinite(total):
        raise SettingError("the weights of all references are 0: give one of them more")
    return tuple(weight / total for weight in weights)
