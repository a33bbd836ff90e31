"""A plugin of another maker as an effect of a chain: "plugin:/usr/lib/vst3/ZamComp.vst3".

It is rendered by a process of its own (worker.py), which is started anew when it has crashed or hung, and
given up with an error that names the plugin when it keeps doing so. Its knobs are in the plugin's own units
(knobs.py), the slot is called by the plugin's name, and the preset keeps the file's place, the settings and
what the plugin itself writes as its state.

No gradient passes through a plugin, neither to its knobs nor to what stands before it: `forward` returns
numbers without a history. So a fit searches its knobs, and those of the slots before it, by trial
(fit/blackbox.py), and uses gradients behind it.

`forward` is aligned with its input: what the plugin says it is late by is taken off. `render` is late by that
and by the blocks in which plugins are fed here; the lengths of its blocks change nothing, to the bit, for a
plugin whose sound depends on its input and knobs alone. One that is driven by chance, or by an oscillator
that runs on when the host says reset, differs from one rendering to the next.

The state that `render` returns is that of a living plugin: it can be continued from once. Nothing is known
of how long a plugin rings: with --tail auto it gets TAIL_S.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fxstyle import effects
from fxstyle.effect import Effect, Samples
from fxstyle.errors import PluginError, SettingError
from fxstyle.hosted import trust
from fxstyle.hosted.host import Host, HostFailed, Sound
from fxstyle.hosted.knobs import knobs_of

if TYPE_CHECKING:
    import torch

PLUGIN = "plugin:"
"""What the word for a plugin begins with in a chain; its path follows."""

TAIL_S = 5.0
"""A guess that covers most rooms and echoes; --tail in seconds is for the others."""

MOST_TRIES = 3
"""Processes of which each failed at the same question: then it is the plugin and no accident."""

MOST_KEPT = 48
"""Outputs that are kept: a fit asks for those of its last trials once more. 1 MB each for 3 s of stereo."""

MOST_IDLE = 2
"""Processes kept for the next question, for each plugin."""

_LONGEST_NAME = 40


class Hosted:
    """One plugin and the processes that run it.

    Attributes
    ----------
    path, state: as given.
    name, version, maker: as the plugin says.
    knobs: what there is to turn.
    told: all this as the process tells it; given, none is started before there is something to render.
    """

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        state: bytes = b"",
        *,
        told: Mapping[str, Any] | None = None,
        start: Callable[..., Host] = Host,
    ) -> None:
        self.path, self.state = path, state
        self._asked, self._start = name, start
        self._idle: list[Host] = []
        self._kept: dict[tuple[Any, ...], Sound] = {}
        self._latencies: dict[tuple[Any, ...], int] = {}
        self.told: Mapping[str, Any] = self._tried(lambda host: host.plugin) if told is None else told
        told = self.told
        try:
            self.name = str(told["name"])[:_LONGEST_NAME]
            self.version, self.maker = str(told["version"])[:40], str(told["maker"])[:100]
            self.knobs = knobs_of(told["knobs"])
        except (KeyError, TypeError, ValueError) as error:
            raise PluginError(f"{path}: what it says of its knobs makes no sense ({error})") from None
        self._by_name = {knob.param.name: knob for knob in self.knobs}

    @cached_property
    def word(self) -> str:
        """Return the name of its slot: small letters, digits and _."""
        word = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")[:_LONGEST_NAME] or "plugin"
        known = effects.kind_of(word) in effects.names()
        return word if word[0].isalpha() and not known else f"plugin_{word}"

    def raw(self, settings: Mapping[str, float]) -> dict[str, float]:
        """Return the plugin's own 0..1 of each knob."""
        return {self._by_name[name].key: self._by_name[name].raw(v) for name, v in settings.items()}

    def whole(self, x: Samples, rate: float, settings: Mapping[str, float]) -> Samples:
        """Return the output for `x` (channel, time), aligned and as long; raises PluginError."""
        raw, rate_hz = self.raw(settings), _whole_rate(self.path, rate)
        given = np.ascontiguousarray(x, dtype=np.float32)
        key = (hashlib.blake2b(given.data).digest(), given.shape, rate_hz, tuple(raw.items()))
        if key not in self._kept:
            self._kept[key] = self._tried(lambda host: host.whole(given, rate_hz, raw))
            while len(self._kept) > MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
        return self._kept[key].astype(x.dtype)

    def latency(self, rate: float, settings: Mapping[str, float]) -> int:
        """Return the samples by which a stream is late; raises PluginError."""
        key = (rate, *settings.items())
        if key not in self._latencies:
            raw, rate_hz = self.raw(settings), _whole_rate(self.path, rate)
            self._latencies[key] = self._tried(lambda host: host.begin(rate_hz, 1, raw))
        return self._latencies[key]

    def state_at(self, settings: Mapping[str, float]) -> bytes:
        """Return what the plugin writes of itself at these settings; raises PluginError."""
        raw = self.raw(settings)
        return bytes(self._tried(lambda host: host.state(raw)))

    def stream(self, rate: float, channels: int, settings: Mapping[str, float]) -> PluginStream:
        """Begin a stream; raises PluginError."""
        rate_hz, raw = _whole_rate(self.path, rate), self.raw(settings)

        def begun(host: Host) -> Host:
            host.begin(rate_hz, channels, raw)
            return host

        return PluginStream(self._tried(begun, lent=True), rate_hz, self._keep)

    def close(self) -> None:
        """End the processes that wait."""
        while self._idle:
            self._idle.pop().close()

    def _new(self) -> Host:
        return self._start(self.path, self._asked, self.state)

    def _keep(self, host: Host) -> None:
        if host.alive and len(self._idle) < MOST_IDLE:
            self._idle.append(host)
        else:
            host.close()

    def _tried(self, ask: Callable[[Host], Any], lent: bool = False) -> Any:
        """Return the answer to a question, asked again of a new process where one fails.

        lent: whether the process is not to be asked anything else meanwhile. Raises PluginError.
        """
        failure: HostFailed | None = None
        for _ in range(MOST_TRIES):
            host = None
            try:
                host = self._idle.pop() if self._idle and failure is None else self._new()
                answer = ask(host)
            except HostFailed as error:
                failure = error
                continue
            except BaseException:
                # what is not a number, say, may stay in the plugin's memory; an interrupt ends all
                if host is not None:
                    host.close()
                raise
            if not lent:
                self._keep(host)
            return answer
        raise PluginError(
            f"{failure}, {MOST_TRIES} times in a row at the same settings; take it out of the chain, lock the"
            " setting that it does not bear, or update it"
        )


class PluginStream:
    """A stream through a plugin; its process goes back when no one holds the stream any more."""

    def __init__(self, host: Host, rate: int, keep: Callable[[Host], None]) -> None:
        self._host, self._rate, self._keep = host, rate, keep

    def feed(self, x: Samples) -> Samples:
        """Return the next samples, as many as `x` (channel, time) has; raises PluginError."""
        try:
            return self._host.feed(x.astype(np.float32), self._rate).astype(x.dtype)
        except HostFailed as error:
            raise PluginError(f"{error} in the middle of a recording; run it again, or do without") from None

    def __del__(self) -> None:
        if self._host.alive:
            self._keep(self._host)


def _whole_rate(path: Path, rate: float) -> int:
    if rate != round(rate):
        raise PluginError(f"{path}: a plugin runs at a whole number of Hz, not at {rate:g}")
    return round(rate)


@dataclass(frozen=True)
class _Key:
    path: Path
    name: str | None
    state: bytes


_EFFECTS: dict[_Key, Effect] = {}


def effect_at(path: str | Path, name: str | None = None, state: bytes = b"") -> Effect:
    """Return the effect that a plugin is; raises PluginError where there is none or it cannot be loaded.

    Parameters
    ----------
    path: of the file or bundle.
    name: which plugin, for a file that holds several.
    state: what the plugin wrote of itself, which it begins from; b"" for none.
    """
    where = trust.absolute(path)
    if not where.exists():
        raise PluginError(
            f"{path}: there is no such plugin on this machine; install it, or write where it is instead"
        )
    key = _Key(where, name, hashlib.sha256(state).digest() if state else b"")
    if key not in _EFFECTS:
        same = (e.hosted for k, e in _EFFECTS.items() if k.path == where and e.hosted is not None)
        told = next((h.told for h in same if name in {None, h.name}), None)
        _EFFECTS[key] = effect_of(Hosted(where, name, state, told=told))
    return _EFFECTS[key]


def kind(word: str) -> Effect:
    """Return the effect that a user names: "plugin:PATH", trusted thereby, or one of our own.

    Not for words out of files, which must not name what is run. Raises SettingError, PluginError.
    """
    if not word.startswith(PLUGIN):
        return effects.get(word)
    path = word.removeprefix(PLUGIN).strip()
    if not path:
        raise SettingError(f"{word!r} names no plugin; write its path, as in {PLUGIN}/usr/lib/vst3/A.vst3")
    trust.allow(path)
    return effect_at(path)


def effect_of(hosted: Hosted) -> Effect:
    """Return a plugin as an effect."""
    names = tuple(knob.param.name for knob in hosted.knobs)

    def forward(x: torch.Tensor, rate: float, /, **knobs: torch.Tensor) -> torch.Tensor:
        import torch

        rows = x.detach().numpy()
        values = {name: value.detach().tolist() for name, value in knobs.items()}
        y = np.empty_like(rows)
        for row in range(len(rows)):
            y[row] = hosted.whole(rows[row], rate, {name: value[row] for name, value in values.items()})
        return torch.from_numpy(y)

    def render(x: Samples, rate: float, state: Any, /, **knobs: float) -> tuple[Samples, Any]:
        stream = hosted.stream(rate, x.shape[0], knobs) if state is None else state
        return stream.feed(x), stream

    for function in (forward, render):
        _declare(function, names)
    about = " ".join(filter(None, (hosted.name, hosted.version)))
    return Effect(
        name=hosted.word,
        summary=f"plugin {about}" + (f" by {hosted.maker}" if hosted.maker else ""),
        params=tuple(knob.param for knob in hosted.knobs),
        forward=forward,
        render=render,
        latency=hosted.latency,
        tail_s=lambda settings: TAIL_S,
        time_invariant=False,
        hosts={"any host of VST3": f"{about}, {hosted.path}"},
        hosted=hosted,
    )


def _declare(function: Callable[..., Any], names: tuple[str, ...]) -> None:
    """Write into the signature of a function of **knobs which these are."""
    kind = inspect.Parameter
    given = [p for p in inspect.signature(function).parameters.values() if p.kind is not kind.VAR_KEYWORD]
    keywords = [kind(name, kind.KEYWORD_ONLY) for name in names]
    function.__signature__ = inspect.Signature([*given, *keywords])  # type: ignore[attr-defined]  # a function's own
