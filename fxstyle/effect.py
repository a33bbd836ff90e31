"""What an effect is: named knobs, a differentiable `forward`, a streaming `render`, and its laws.

    forward(x, rate, *, knob, ...) -> y              torch;  x, y: (batch, channel, time)
    render(x, rate, state, *, knob, ...) -> y, state numpy;  x, y: (channel, time)

`forward` takes each knob as a tensor of shape (batch,): every row has settings of its own.
`render` takes floats and a stream in blocks of any length; `state` is None at the beginning of a
stream and whatever the effect returned thereafter. Both compute the same thing:

    forward(x)[n] = render(x)[n + latency]     within `tolerance_db` of full scale

so `forward` is aligned with its input, while `render` is causal and late by `latency(rate, settings)`
samples. Neither changes its arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fxstyle.errors import SettingError, remedy
from fxstyle.param import Param

if TYPE_CHECKING:
    import torch

    from fxstyle.features.measure import Measurement
    from fxstyle.hosted.plugin import Hosted

Samples = npt.NDArray[np.floating[Any]]
"""Audio as numpy holds it: (channel, time), float32 or float64."""


Decays = npt.NDArray[np.float64]

_REALS = (np.dtype(np.float32), np.dtype(np.float64))


class Forward(Protocol):
    """Differentiable form: (batch, channel, time) -> the same shape, aligned with the input."""

    # Any: a protocol with typed **knobs would refuse functions that name their knobs one by one
    def __call__(self, x: torch.Tensor, rate: float, /, *_: Any, **knobs: Any) -> torch.Tensor: ...


class Render(Protocol):
    """Streaming form: one block (channel, time) and the state after the last -> block, state."""

    # Any: as in Forward
    def __call__(
        self, x: Samples, rate: float, state: Any, /, *_: Any, **knobs: Any
    ) -> tuple[Samples, Any]: ...


class Start(Protocol):
    """Closed-form first guess of the settings from what both recordings measure like."""

    def __call__(self, source: Measurement, reference: Measurement, /) -> dict[str, float]: ...


class OfDecays(Protocol):
    """Settings at which a reverb has given decay times in s and energies in dB over the dry sound.

    (octave,) each, 63 Hz .. 8 kHz (BAND_NAMES in dsp/noise.py); what the effect cannot do is clipped.
    """

    def __call__(self, t60_s: Decays, level_db: Decays, /) -> dict[str, float]: ...


class Axis(NamedTuple):
    """One axis of a room: its knobs for a size in m, two places as shares of it, and what each wall absorbs.

    walls: by octave, of the wall at 0 and of that at the size; rows of knobs with values of 0..1.
    """

    size: str
    source: str
    microphone: str
    walls: tuple[tuple[str, ...], tuple[str, ...]]


def _no_latency(rate: float, settings: Mapping[str, float]) -> int:
    return 0


def _none_idle(settings: Mapping[str, float]) -> Collection[str]:
    return ()


def _no_tail(settings: Mapping[str, float]) -> float:
    return 0.0


class Stream(NamedTuple):
    """The state of a stream: what it carries, and what the effect's own `render` remembers of it."""

    channels: int
    dtype: np.dtype[Any]
    inner: Any


def _forward_checked(name: str, params: tuple[Param, ...], forward: Forward) -> Forward:
    """Return `forward` so that it refuses what its kernels would not notice: they read without looking.

    Raises ValueError for a sound that is not (batch, channel, time) in float32 or float64, or a knob that is
    not (batch,), and SettingError for a choice that is no number of a word.
    """
    choices = [p for p in params if p.choices]

    @wraps(forward)
    def checked(x: torch.Tensor, rate: float, /, *_: Any, **knobs: torch.Tensor) -> torch.Tensor:
        if x.ndim != 3 or x.dtype.itemsize < 4 or not x.dtype.is_floating_point:
            raise ValueError(
                f"{name}: the sound must be (batch, channel, time) in float32 or float64,"
                f" got {tuple(x.shape)} in {x.dtype}"
            )
        for knob, given in knobs.items():
            if given.shape != x.shape[:1]:
                raise ValueError(
                    f"{name}.{knob} has the shape {tuple(given.shape)}, but the sound has {x.shape[0]} rows:"
                    f" each row takes its own, ({x.shape[0]},)"
                )
        for param in choices:
            value = knobs[param.name].detach()
            wrong = next((number for number in value.tolist() if not param.admits(number)), None)
            if wrong is not None:
                raise SettingError(
                    f"{name}.{param.name} = {wrong:g} is no choice; there are"
                    f" {', '.join(f'{i} ({word})' for i, word in enumerate(param.choices))}"
                )
        return forward(x, rate, **knobs)

    return checked


def _render_checked(name: str, render: Render) -> Render:
    """Return `render` with a Stream as its state, so that no kernel gets that of other channels or types."""

    @wraps(render)
    def checked(x: Samples, rate: float, state: Any, /, *_: Any, **knobs: Any) -> tuple[Samples, Any]:
        if x.ndim != 2 or x.dtype not in _REALS:
            raise ValueError(
                f"{name}: a block must be (channel, time) in float32 or float64, got {x.shape} in {x.dtype}"
            )
        if state is not None and (state.channels, state.dtype) != (x.shape[0], x.dtype):
            raise ValueError(
                f"{name}: the stream began with {state.channels} channels in {state.dtype}, this block has"
                f" {x.shape[0]} in {x.dtype}; begin another stream with the state None"
            )
        y, memory = render(x, rate, None if state is None else state.inner, **knobs)
        return y, Stream(x.shape[0], x.dtype, memory)

    return checked


def with_knobs(effect: str, names: tuple[str, ...], function: Callable[..., Any]) -> Any:
    """Return a function of **knobs so that it takes just these, and so that it can be read that it does.

    For effects with more knobs than one would write down one by one. Raises TypeError for others.
    """

    @wraps(function)
    def checked(*arguments: Any, **knobs: Any) -> Any:
        if knobs.keys() != set(names):
            wrong = ", ".join(sorted(knobs.keys() ^ set(names)))
            raise TypeError(f"{effect} takes each of its {len(names)} knobs, and no others: see to {wrong}")
        return function(*arguments, **knobs)

    parameter = inspect.Parameter
    positional = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    keywords = [parameter(name, parameter.KEYWORD_ONLY) for name in names]
    checked.__signature__ = inspect.Signature([*positional, *keywords])  # type: ignore[attr-defined]  # a function's own
    return checked


@dataclass(frozen=True)
class Dry:
    """What the dry sound passes before it is mixed with the wet one, so that it keeps step with it.

    Both forms take the effect's knobs and obey the laws of its `forward` and `render`, but for the latency,
    of which they have none.
    """

    forward: Forward
    render: Render


@dataclass(frozen=True)
class Effect:
    """One kind of effect; its module in effects/ defines exactly one.

    Attributes
    ----------
    name: the word used in chains and presets.
    summary: one line in an engineer's words.
    params: the knobs, in the order they are shown.
    forward, render: see this module's docstring.
    tolerance_db: largest difference between the two forms, in dB of full scale, and why it is not lower
        is said in the effect's module.
    latency: samples by which `render` is late, from the rate in Hz and the settings.
    tail_s: seconds until the output has decayed by 60 dB after the input ends, from the settings.
    start: optional closed-form guess used by the fit.
    level_knob: the knob, in dB, that does nothing but scale the output, if there is one.
    polarity_knob: the knob that turns the output over where it is 1, if there is one.
    linear: whether it obeys superposition: f(a x + b y) = a f(x) + b f(y).
    time_invariant: whether a delayed input gives the same output as much later.
    hosts: other programs that compute the same, each with what it takes there and how near it comes.
    straight_through: whether the gradient stands in for that of a staircase, which is zero almost everywhere;
        the law it obeys instead is in the effect's own tests.
    dry: what the dry sound passes where the amount is below 1, for effects that turn the phase even of what
        they leave alone; None: nothing.
    idle: the knobs that do not count at these settings.
    of_decays: for reverbs: the settings for given decays and levels per octave.
    smooth: rows of knobs, such as those of neighbouring bands, that a fit keeps from jumping.
    geometry: the three axes of a rectangular room with image sources, if it is one.
    hosted: the plugin of another maker that it is, if it is one: no gradient passes it.
    """

    name: str
    summary: str
    params: tuple[Param, ...]
    forward: Forward
    render: Render
    tolerance_db: float = -100.0
    latency: Callable[[float, Mapping[str, float]], int] = _no_latency
    tail_s: Callable[[Mapping[str, float]], float] = _no_tail
    start: Start | None = None
    level_knob: str | None = None
    polarity_knob: str | None = None
    linear: bool = False
    time_invariant: bool = True
    hosts: Mapping[str, str] = field(default_factory=dict)
    straight_through: bool = False
    dry: Dry | None = None
    idle: Callable[[Mapping[str, float]], Collection[str]] = _none_idle
    of_decays: OfDecays | None = None
    smooth: tuple[tuple[str, ...], ...] = ()
    geometry: tuple[Axis, ...] = ()
    hosted: Hosted | None = None
    _by_name: dict[str, Param] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [p.name for p in self.params]
        if len(set(names)) != len(names):
            raise ValueError(f"effect {self.name}: a knob is declared twice in {names}")
        for function in (self.forward, self.render):
            keywords = [
                p.name
                for p in inspect.signature(function).parameters.values()
                if p.kind is inspect.Parameter.KEYWORD_ONLY
            ]
            if keywords != names:
                raise ValueError(
                    f"effect {self.name}: keyword-only arguments {keywords} of"
                    f" {getattr(function, '__name__', function)} differ from its params {names}"
                )
        for kind, knob in (("level", self.level_knob), ("polarity", self.polarity_knob)):
            if knob is not None and knob not in names:
                raise ValueError(f"effect {self.name}: its {kind} knob {knob!r} is not among {names}")
        if not {knob for row in self.smooth for knob in row} <= set(names):
            raise ValueError(f"effect {self.name}: its smooth knobs {self.smooth} are not all among {names}")
        object.__setattr__(self, "_by_name", {p.name: p for p in self.params})
        # Here, because importing torch takes its time and whoever makes an effect has done so.
        from fxstyle.device.host import anywhere

        object.__setattr__(self, "forward", anywhere(_forward_checked(self.name, self.params, self.forward)))
        object.__setattr__(self, "render", _render_checked(self.name, self.render))
        if self.dry is not None:
            object.__setattr__(self, "dry", Dry(anywhere(self.dry.forward), self.dry.render))

    def param(self, name: str, besides: tuple[str, ...] = ()) -> Param:
        """Return the knob `name`, or raise SettingError listing those there are, and those of `besides`."""
        if name not in self._by_name:
            there = (*self._by_name, *besides)
            raise SettingError(
                f"effect {self.name!r} has no setting {name!r}"
                + remedy(name, there, lead="it has", listed=", ".join(there))
            )
        return self._by_name[name]

    @property
    def explanation(self) -> str:
        """Equation, conventions and source: the docstring of the effect's module."""
        return inspect.getdoc(inspect.getmodule(self.forward)) or self.summary

    def defaults(self) -> dict[str, float]:
        """Return the default of every knob, in physical units."""
        return {p.name: p.default for p in self.params}
