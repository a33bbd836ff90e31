"""Effects that are a convolution: the dry sound, and what a response made from the knobs adds to it.

    y_c = dry x_c + h_c * x_c          *: convolution;  c: channel

The response is made by one function for both forms: `forward` convolves a batch with a batch of responses,
`render` makes one and convolves a stream with it. From the channel on that has no response of its own, the
responses repeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch

from fxstyle.dsp.convolve import LEAST_LATENCY, ConvolverState, StreamConvolver, convolve
from fxstyle.effect import Effect, Samples, with_knobs
from fxstyle.param import Param

LATENCY_S = 0.3
"""Wanted latency of `render`; the power of two next to it is taken. Half of it is twice the products."""


class MakeResponse(Protocol):
    """From knobs (batch,) to wet impulse responses (batch, at most channels, time), differentiably.

    What lies beyond so many frames will not be heard and may be left out; None: all will be.
    """

    def __call__(
        self,
        rate: float,
        channels: int,
        dtype: torch.dtype,
        device: torch.device,
        frames: int | None,
        /,
        **knobs: torch.Tensor,
    ) -> torch.Tensor: ...


@cache
def latency(rate: float) -> int:
    """Return the latency of `render` in samples."""
    return max(1 << round(math.log2(max(LATENCY_S * rate, 1.0))), LEAST_LATENCY)


def within(params: tuple[Param, ...], wanted: Mapping[str, float]) -> dict[str, float]:
    """Return settings by knob, each in its knob's range."""
    knobs = {param.name: param for param in params}
    return {name: min(max(value, knobs[name].low), knobs[name].high) for name, value in wanted.items()}


@dataclass(frozen=True)
class State:
    """One stream's convolution, and the settings its response was made for."""

    convolver: StreamConvolver
    settings: tuple[float, ...]
    stream: ConvolverState | None = None


def _all_dry(knobs: Mapping[str, Any]) -> Any:
    return 1.0


def reverberation(
    name: str,
    summary: str,
    params: tuple[Param, ...],
    response: MakeResponse,
    *,
    tail_s: Callable[[Mapping[str, float]], float],
    dry: Callable[[Mapping[str, Any]], Any] = _all_dry,
    **more: Any,
) -> Effect:
    """Return the effect that adds `response` to the dry sound.

    Parameters
    ----------
    name, summary, params, tail_s, more: of the effect.
    response: makes the responses; its module's docstring explains the effect.
    dry: the gain of the dry sound, from the knobs: numbers or tensors (batch,).
    """
    names = tuple(param.name for param in params)

    def forward(x: torch.Tensor, rate: float, **knobs: torch.Tensor) -> torch.Tensor:
        """Add the responses to each row of (batch, channel, time), each by its own settings."""
        if x.shape[-1] == 0:
            return x.clone()
        ir = response(rate, x.shape[1], x.dtype, x.device, x.shape[-1], **knobs)
        if x.shape[1] > ir.shape[1]:
            ir = ir[:, torch.arange(x.shape[1], device=ir.device) % ir.shape[1]]
        share = dry(knobs)
        direct = share.to(x)[:, None, None] * x if isinstance(share, torch.Tensor) else share * x
        return direct + convolve(x, ir)

    def render(x: Samples, rate: float, state: State | None, **knobs: float) -> tuple[Samples, State]:
        """Add the response to a block (channel, time), late by `latency(rate)`."""
        settings = tuple(knobs[name] for name in names)
        if state is None or state.settings != settings:
            one = {key: torch.tensor([value], dtype=torch.float64) for key, value in knobs.items()}
            dtype = torch.float64 if x.dtype == np.float64 else torch.float32
            with torch.no_grad():
                ir = response(rate, x.shape[0], dtype, torch.device("cpu"), None, **one)[0].numpy()
            convolver = StreamConvolver(ir, x.shape[0], latency(rate), dry=float(dry(knobs)))
            state = State(convolver, settings, state.stream if state else None)
        y, stream = state.convolver.process(x, state.stream)
        return y, State(state.convolver, settings, stream)

    for function in (forward, render):
        function.__module__ = response.__module__  # whose docstring explains it
    return Effect(
        name=name,
        summary=summary,
        params=params,
        forward=with_knobs(name, names, forward),
        render=with_knobs(name, names, render),
        latency=lambda rate, settings: latency(rate),
        tail_s=tail_s,
        linear=True,
        **more,
    )
