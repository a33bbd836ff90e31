"""There and back: run what is written for the CPU on tensors that lie elsewhere.

Autograd moves gradients the same way, so the result is the CPU's, differentiable, for the price of two
copies of the sound each way (256 rows of 2 x 131072 float32: 256 MiB).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def via_host(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return `function` for tensors on any device: it sees them on the CPU.

    All tensors among its arguments, by position or name, are moved; all must lie on one device or on the
    CPU. The result lies where the first of them does.
    """

    @wraps(function)
    def there_and_back(*arguments: Any, **named: Any) -> torch.Tensor:
        device = next(value.device for value in arguments if isinstance(value, torch.Tensor))
        y = function(*map(_on_host, arguments), **{name: _on_host(value) for name, value in named.items()})
        return y.to(device)

    return there_and_back


def _on_host(value: Any) -> Any:
    return value.cpu() if isinstance(value, torch.Tensor) else value


_WITHOUT_DOUBLE = ("mps",)
"""Kinds of devices that know no float64, which knobs and recursions are in."""


def anywhere(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return an effect's `forward` for sound on any device.

    Knobs are worked out on the CPU, wherever they come from: a few numbers each, of which the device would
    make a few hundred steps that it has to be asked for one by one. They come over in a single copy. The
    sound stays where it lies; what `forward` hands it to looks at its device.
    """

    @wraps(forward)
    def from_anywhere(x: torch.Tensor, rate: float, **knobs: torch.Tensor) -> torch.Tensor:
        if x.device.type == "cpu":
            return forward(x, rate, **knobs)
        away = {name: value for name, value in knobs.items() if value.device.type != "cpu"}
        if away:
            here = torch.stack(tuple(away.values())).cpu()
            knobs = {**knobs, **dict(zip(away, here.unbind(), strict=True))}
        if x.device.type in _WITHOUT_DOUBLE:
            return via_host(forward)(x, rate, **knobs)
        return forward(x, rate, **knobs)

    return from_anywhere
