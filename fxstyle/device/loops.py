"""What has to be done sample by sample: functions for `fxstyle.device.lane_functions`, and their adjoints.

    follow       e[n] = u[n] + k (e[n-1] - u[n]),   k = up if u[n] > e[n-1] else down
    recede       c[n] = g[n] + k[n+1] c[n+1],       the adjoint of follow: linear, so blocks run at once
    latest_maximum   where max(v[n-L] .. v[n]) is,  after van Herk (1992) and Gil & Werman (1993)

All arrays are (lane, time) in float64 unless said.

A loop that has stored a sample may not read the next one before the store is done, for all the compiler
knows; `follow` reads AHEAD samples early, so that its recursion need not wait for memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from fxstyle.device import lane_functions

AHEAD = 8
"""Samples that are read early: a few hundred cycles, in which memory answers."""

BLOCK = 256
"""Samples that one thread of `recede` goes back."""


def _follow(lane: int, arguments: Any) -> None:
    """Fill e from u; up, down (lane,), first a number."""
    u, up, down, first, e = arguments
    size = u.shape[1]
    rises, falls, last = up[lane], down[lane], first
    # Past the end it does not matter what is read early.
    u0, u1, u2, u3 = u[lane, 0], u[lane, 1 % size], u[lane, 2 % size], u[lane, 3 % size]
    u4, u5, u6, u7 = u[lane, 4 % size], u[lane, 5 % size], u[lane, 6 % size], u[lane, 7 % size]
    for n in range(size):
        now, early = u0, n + AHEAD
        u0, u1, u2, u3, u4, u5, u6 = u1, u2, u3, u4, u5, u6, u7
        u7 = u[lane, early if early < size else n]
        # u + k (e - u) rather than k e + (1 - k) u: exactly u once e is there
        last = now + (rises if now > last else falls) * (last - now)
        e[lane, n] = last


def _recede(thread: int, arguments: Any) -> None:
    """Fill c in one block of BLOCK samples, and the block's own end and gain, from what comes after it.

    after, ends, gains: (lane, block). k may be longer than the rest: k[n] belongs to g[n - 1].
    """
    g, k, after, c, ends, gains = arguments
    blocks = after.shape[1]
    lane, block = thread // blocks, thread % blocks
    begin = block * BLOCK
    carry, gain = after[lane, block], 1.0
    end = begin + BLOCK if begin + BLOCK < g.shape[1] else g.shape[1]
    for n in range(end - 1, begin - 1, -1):
        carry = g[lane, n] + k[lane, n + 1] * carry
        gain *= k[lane, n + 1]
        c[lane, n] = carry
    ends[lane, block] = carry
    gains[lane, block] = gain


def _join(lane: int, arguments: Any) -> None:
    """Fill after (lane, block) from the ends and gains of blocks that began with nothing."""
    ends, gains, after = arguments
    carry = 0.0
    for block in range(ends.shape[1] - 1, -1, -1):
        after[lane, block] = carry
        carry = ends[lane, block] + gains[lane, block] * carry


def recede(g: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Return c (lane, time) of g (lane, time) and k (lane, time + 1), of which k[0] is never used."""
    c = torch.empty_like(g)
    lanes, blocks = g.shape[0], -(-g.shape[1] // BLOCK)
    after = g.new_zeros(lanes, blocks)
    ends, gains = torch.empty_like(after), torch.empty_like(after)
    lane_functions.run(_recede, lanes * blocks, g, k, after, c, ends, gains)
    lane_functions.run(_join, lanes, ends, gains, after)
    lane_functions.run(_recede, lanes * blocks, g, k, after, c, ends, gains)
    return c


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: torch.Tensor, up: torch.Tensor, down: torch.Tensor, first: float
    ) -> torch.Tensor:
        given, rise, fall = u.detach().contiguous(), up.detach().contiguous(), down.detach().contiguous()
        e = torch.empty_like(given)
        lane_functions.run(_follow, given.shape[0], given, rise, fall, first, e)
        ctx.save_for_backward(given, rise, fall, e)
        ctx.first = first
        return e

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, de: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        u, up, down, e = ctx.saved_tensors
        before = torch.cat([torch.full_like(e[:, :1], ctx.first), e[:, :-1]], dim=1)
        rises = u > before
        k = torch.where(rises, up[:, None], down[:, None])
        c = recede(de.contiguous(), torch.cat([k, torch.zeros_like(k[:, :1])], dim=1))
        moved = c * (before - u)
        by_up, both = torch.where(rises, moved, 0.0).sum(dim=1), moved.sum(dim=1)
        return c * (1.0 - k), by_up, both - by_up, None


def follow(u: torch.Tensor, up: torch.Tensor, down: torch.Tensor, first: float = 0.0) -> torch.Tensor:
    """Smooth each lane with one coefficient while it rises and one while it falls, differentiably.

    Parameters
    ----------
    u: (lane, time) in float64.
    up, down: (lane,) in float64; 0 follows at once.
    first: the value before the first.

    Returns
    -------
    (lane, time). Memory: u and e are kept for the backward pass, which needs four more of their size.
    """
    return _Follow.apply(u, up, down, first)  # type: ignore[no-any-return, no-untyped-call]


def _latest_maximum(thread: int, arguments: Any) -> None:
    """Fill at[lane, n] in blocks of L + 1 samples, which are dealt to the threads of a lane by turns.

    span (lane,): L, in int64. at (lane, time), in int64. share: threads of a lane.
    """
    v, span, share, at = arguments
    lane, length = thread // share, v.shape[1]
    count = span[lane] + 1
    for begin in range((thread % share) * count, length, share * count):
        end = begin + count if begin + count < length else length
        # What is left of the block before: the maximum from n - L to its end, for all n but the last.
        most = begin - 1
        for back in range(begin - 1, begin - count if begin > 0 else begin, -1):
            most = back if v[lane, back] > v[lane, most] else most
            if back + count - 1 < end:
                at[lane, back + count - 1] = most
        # What has come of this one.
        most = begin
        for n in range(begin, end):
            most = n if v[lane, n] >= v[lane, most] else most
            if begin == 0 or n == begin + count - 1 or v[lane, most] >= v[lane, at[lane, n]]:
                at[lane, n] = most


_SHARES = 512
"""Threads of a lane, at most, that look for maxima: more would only wait."""


def latest_maximum(v: torch.Tensor, span: torch.Tensor) -> torch.Tensor:
    """Return where the largest of v[n-L] .. v[n] is, the latest of equals: (lane, time) in int64.

    Parameters
    ----------
    v: (lane, time) in float64; has no gradient here, which goes through `v.gather(1, at)`.
    span: L of each lane (lane,), in int64, on any device.
    """
    given = v.detach().contiguous()
    at = torch.empty_like(given, dtype=torch.int64)
    shortest = int(span.min()) + 1 if span.numel() else 1
    share = min(-(-given.shape[1] // shortest), _SHARES)
    lane_functions.run(_latest_maximum, given.shape[0] * share, given, span.to(v.device), share, at)
    return at
