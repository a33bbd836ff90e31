"""The program that runs one plugin, apart from everything else: it may crash, hang or print what it likes.

It is started by host.py as a process of its own, imports nothing of fxstyle, and is the only place where
pedalboard is imported (an optional extra, GPL: it is talked to through pipes and linked with nothing here).
One frame answers one frame:

    length of the header, 4 bytes little-endian | header, JSON | payload, header["bytes"] bytes

    {"do": "load", "path", "name"} + state  ->  {"plugin": {...}}                 what it is, and its knobs
    {"do": "whole", "rate", "channels", "raw": {knob: 0..1}} + sound  ->  {} + sound, aligned and as long
    {"do": "begin", "rate", "channels", "raw"}  ->  {"latency": samples}          a stream begins
    {"do": "feed"} + sound  ->  {} + sound of the same length, late by that latency
    {"do": "state", "raw"}  ->  {} + state                                        as the plugin writes it

Sound is float32, channel after channel. A failure that can be said in words comes as {"error": words}.

Alignment. pedalboard leaves out the samples by which a plugin says it is late, so what comes back is short
at first and aligned. Blocks of any length are gathered here to blocks of CHUNK, the only length that a
plugin ever sees: so the lengths asked for change nothing, and nothing is prepared anew in mid-stream. The
stream is then late by the plugin's own latency and CHUNK - 1.

After its knobs were turned a plugin hears silence for a moment and is reset: what glides has arrived then.
One that is known to go on sounding after a reset is loaded anew instead.
A plugin for one channel is loaded once per channel; one for two that gets one channel hears it on both, and
its left is taken.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
import threading
import time
from typing import IO, Any

LENGTH = struct.Struct("<I")

MOST_HEADER = 1 << 24
MOST_PAYLOAD = 1 << 30
"""Bytes of a frame's parts: beyond them something is broken."""

CHUNK = 512
"""Samples that a plugin gets at once; a length every host offers."""

SETTLE_S = 0.1
"""Silence after knobs were turned: plugins glide to new settings within some ten milliseconds."""

MOST_STEPS = 64
"""A knob with more steps than these is told about at SAMPLES places, as if it had none."""

SAMPLES = 9

LOAD_TIMEOUT_S = 60.0
"""What pedalboard waits for a plugin that loads things in the background."""

WATCH_S = 1.0
"""How often it is looked whether whoever started this program is still there."""


def write_frame(stream: IO[bytes], header: dict[str, Any], payload: bytes = b"") -> None:
    """Write one frame and flush it."""
    text = json.dumps({**header, "bytes": len(payload)}).encode()
    stream.write(LENGTH.pack(len(text)) + text)
    stream.write(payload)
    stream.flush()


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Return header and payload of the next frame; raises EOFError at the end, ValueError for no frame."""
    (length,) = LENGTH.unpack(_exactly(stream, LENGTH.size))
    if length > MOST_HEADER:
        raise ValueError("its header is too long")
    header = json.loads(_exactly(stream, length))
    count = header.get("bytes") if isinstance(header, dict) else None
    if not isinstance(count, int) or not 0 <= count <= MOST_PAYLOAD:
        raise ValueError("its header does not say how long it is")
    return header, _exactly(stream, count)


class Instance:
    """One loaded plugin and its knobs."""

    def __init__(self, path: str, name: str | None, state: bytes) -> None:
        # by name: what it has depends on the plugin, which its own types do not say
        library = importlib.import_module("pedalboard")
        self.plugin: Any = library.load_plugin(path, plugin_name=name, initialization_timeout=LOAD_TIMEOUT_S)
        if not self.plugin.is_effect:
            raise ValueError("it is an instrument and makes sound of its own; only effects go into a chain")
        # Held, because looking a knob up samples all of its texts.
        self.knobs = dict(self.plugin.parameters)
        self.defaults = {name: float(knob.raw_value) for name, knob in self.knobs.items()}
        if state:
            self.plugin.raw_state = state

    def turn(self, raw: dict[str, float]) -> None:
        """Set knobs, each 0..1."""
        for knob, value in raw.items():
            self.knobs[knob].raw_value = value

    @property
    def forgets(self) -> bool:
        """Whether it forgets what it heard when it is told to: pedalboard tries that out on loading."""
        return "Persists" not in str(getattr(self.plugin, "_reload_type", ""))

    def settle(self, rate: int, width: int) -> None:
        """Let what glides arrive, and forget what was heard."""
        import numpy as np

        chunks = max(1, round(SETTLE_S * rate / CHUNK))
        self.plugin.process(
            np.zeros((width, chunks * CHUNK), dtype=np.float32), rate, buffer_size=CHUNK, reset=False
        )
        if self.forgets:
            self.plugin.reset()

    def takes(self, width: int, rate: int) -> bool:
        """Whether it runs on so many channels."""
        import numpy as np

        try:
            self.plugin.process(np.zeros((width, CHUNK), dtype=np.float32), rate, buffer_size=CHUNK)
        except ValueError:
            return False
        return True


class Worker:
    """A plugin on any number of channels."""

    def __init__(self, path: str, name: str | None, state: bytes) -> None:
        self._made_of = (path, name, state)
        self._instances = [Instance(path, name, state)]
        self._layouts: dict[tuple[int, int], int] = {}
        self._groups: list[tuple[Instance, list[int]]] = []
        self._rate = 0

    def described(self) -> dict[str, Any]:
        """Return what the plugin is and what can be turned."""
        first = self._instances[0]
        plugin = first.plugin
        return {
            "name": plugin.name,
            "version": plugin.version or "",
            "maker": plugin.manufacturer_name or "",
            "knobs": [_knob(name, knob, first.defaults[name]) for name, knob in first.knobs.items()],
        }

    def _width(self, channels: int, rate: int) -> int:
        """Return for how many channels each instance is prepared."""
        if (channels, rate) not in self._layouts:
            first = self._instances[0]
            fitting = next((w for w in (channels, 1, 2) if first.takes(w, rate)), None)
            if fitting is None:
                raise ValueError(f"it takes neither one channel nor two at {rate} Hz")
            self._layouts[channels, rate] = fitting
        return self._layouts[channels, rate]

    def begin(self, rate: int, channels: int, raw: dict[str, float]) -> int:
        """Begin a stream and return the samples by which it is late."""
        import numpy as np

        width = self._width(channels, rate)
        groups = [list(range(channels))] if width == channels else [[c] for c in range(channels)]
        while len(self._instances) < len(groups):
            self._instances.append(Instance(*self._made_of))
        # pedalboard's way to make one forget that does not is to load it anew, with what it had before
        self._instances = [one if one.forgets else Instance(*self._made_of) for one in self._instances]
        self._groups = list(zip(self._instances, groups, strict=False))
        for instance, _ in self._groups:
            instance.turn(raw)
            instance.settle(rate, width)
        own: int = max(instance.plugin.reported_latency_samples for instance, _ in self._groups)
        latency = own + CHUNK - 1
        self._rate, self._repeat = rate, 1 if width == channels else width
        self._waiting = np.zeros((channels, 0), dtype=np.float32)
        self._ready = np.zeros((channels, latency), dtype=np.float32)
        return latency

    def feed(self, x: Any) -> Any:
        """Return the next samples of the stream, as many as `x` (channel, time) has."""
        import numpy as np

        waiting = np.concatenate([self._waiting, x], axis=1)
        whole = waiting.shape[1] // CHUNK * CHUNK
        self._waiting = waiting[:, whole:]
        if whole:
            parts = [self._run(group, waiting[:, :whole]) for group in self._groups]
            shortest = min(part.shape[1] for part in parts)
            y = np.concatenate([part[:, part.shape[1] - shortest :] for part in parts], axis=0)
            self._ready = np.concatenate([self._ready, y], axis=1)
        count = x.shape[1]
        if self._ready.shape[1] < count:
            raise ValueError("it gave back fewer samples than it took")
        out, self._ready = self._ready[:, :count], self._ready[:, count:]
        return out

    def _run(self, group: tuple[Instance, list[int]], x: Any) -> Any:
        import numpy as np

        instance, channels = group
        given = np.ascontiguousarray(np.repeat(x[channels], self._repeat, axis=0), dtype=np.float32)
        y = instance.plugin.process(given, self._rate, buffer_size=CHUNK, reset=False)
        return y[: len(channels)]

    def whole(self, rate: int, raw: dict[str, float], x: Any) -> Any:
        """Return the output for `x` (channel, time), aligned and as long."""
        import numpy as np

        latency = self.begin(rate, x.shape[0], raw)
        silence = np.zeros((x.shape[0], latency), dtype=np.float32)
        return self.feed(np.concatenate([x, silence], axis=1))[:, latency:]

    def state(self, raw: dict[str, float]) -> bytes:
        """Return what the plugin writes of itself at these settings."""
        instance = self._instances[0]
        instance.turn(raw)
        rate, width = next(((r, w) for (_, r), w in self._layouts.items()), (0, 0))
        if not width:
            rate = 44100
            width = self._width(2, rate)
        instance.settle(rate, width)
        return bytes(instance.plugin.raw_state)


def _knob(name: str, knob: Any, default: float) -> dict[str, Any]:
    """Return what there is to know of a knob; its texts are those at equal steps from 0 to 1."""
    stepped = 2 <= knob.num_steps <= MOST_STEPS
    count = knob.num_steps if stepped else SAMPLES
    return {
        "name": name,
        "title": knob.name,
        "label": knob.label or "",
        "stepped": stepped,
        "automatable": bool(knob.is_automatable),
        "default": default,
        "texts": [str(knob.get_text_for_raw_value(i / (count - 1))) for i in range(count)],
    }


def answer(
    worker: Worker | None, header: dict[str, Any], payload: bytes
) -> tuple[Worker, dict[str, Any], bytes]:
    """Do what a frame asks for; return the worker and the answering frame."""
    import numpy as np

    what = header["do"]
    if what == "load":
        worker = Worker(header["path"], header["name"], payload)
        return worker, {"plugin": worker.described()}, b""
    if worker is None:
        raise ValueError("no plugin is loaded yet")
    if what == "state":
        return worker, {}, worker.state(header["raw"])
    if what == "begin":
        return worker, {"latency": worker.begin(header["rate"], header["channels"], header["raw"])}, b""
    x = np.frombuffer(payload, dtype="<f4").reshape(header["channels"], -1)
    y = worker.whole(header["rate"], header["raw"], x) if what == "whole" else worker.feed(x)
    return worker, {}, np.ascontiguousarray(y, dtype="<f4").tobytes()


def _end_with(parent: int) -> None:
    """End this program when the one that started it is gone, even while a plugin hangs."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


def main() -> None:
    """Answer frames from stdin on what was stdout; a plugin's own prints go nowhere."""
    take, give = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    worker: Worker | None = None
    while True:
        try:
            header, payload = read_frame(take)
        except EOFError:
            # Not by way of the destructors of plugins, which are no safer than the rest of them.
            os._exit(0)
        try:
            worker, reply, data = answer(worker, header, payload)
        except ModuleNotFoundError as error:
            reply, data = {"missing": str(error.name)}, b""
        except Exception as error:  # whatever it is: the other side says it, and this one goes on
            reply, data = {"error": f"{error}" or type(error).__name__}, b""
        write_frame(give, reply, data)


if __name__ == "__main__":
    main()
