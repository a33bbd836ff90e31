"""The near end of a plugin's process: starts it, asks it, gives up on it in time, and ends it.

A `Host` is one process with one plugin (worker.py is what runs there). Each question has a time limit; when
it has passed, or the user interrupts, the process and all it has started are killed, so nothing is left
behind. A host that failed is not used again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fxstyle.errors import PluginError
from fxstyle.hosted import worker

Sound = npt.NDArray[np.float32]

LOAD_TIMEOUT_S = 180.0
"""Some plugins take a minute: ZamVerb prepares its convolution anew for each of pedalboard's trials."""

ANSWER_TIMEOUT_S = 20.0
TIMES_REAL = 10.0
"""A question may take ANSWER_TIMEOUT_S and TIMES_REAL times the length of its sound."""

PROGRAM = (sys.executable, "-P", worker.__file__)
"""-P: no module is taken from the folder that the user happens to be in."""

_HOSTS: weakref.WeakSet[Host] = weakref.WeakSet()


class HostFailed(PluginError):
    """The process died, hung or spoke nonsense; another may do better."""


class Host:
    """A process that holds one plugin.

    Parameters
    ----------
    path: of the plugin.
    name: which one, for a file that holds several.
    state: what the plugin once wrote of itself; b"" for none.
    program: what to start.
    load_timeout_s, answer_timeout_s: the patience for loading, and for an answer besides the sound's length.

    Raises
    ------
    HostFailed: the process dies or hangs. PluginError: it says that the plugin cannot be loaded.
    """

    def __init__(
        self,
        path: Path,
        name: str | None = None,
        state: bytes = b"",
        *,
        program: Sequence[str] = PROGRAM,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.path, self._answer_timeout_s = path, answer_timeout_s
        self._late = False
        # A group of its own: an interrupt at the keyboard is for us, and we end the whole group.
        self._process = subprocess.Popen(
            list(program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _HOSTS.add(self)
        asked = {"do": "load", "path": str(path), "name": name}
        reply, _ = self._ask(asked, state, load_timeout_s)
        self.plugin: dict[str, Any] = self._of(reply, "plugin", dict)

    @property
    def alive(self) -> bool:
        """Whether the process can be asked."""
        return self._process.poll() is None

    def whole(self, x: Sound, rate: int, raw: Mapping[str, float]) -> Sound:
        """Return the plugin's output for `x` (channel, time), aligned and as long."""
        header = {"do": "whole", "rate": rate, "channels": x.shape[0], "raw": dict(raw)}
        return self._heard(header, x, rate)

    def begin(self, rate: int, channels: int, raw: Mapping[str, float]) -> int:
        """Begin a stream and return the samples by which it is late."""
        header = {"do": "begin", "rate": rate, "channels": channels, "raw": dict(raw)}
        reply, _ = self._ask(header, b"", self._answer_timeout_s)
        return int(self._of(reply, "latency", int))

    def feed(self, x: Sound, rate: int) -> Sound:
        """Return the next samples of the stream, as many as `x` (channel, time) has."""
        return self._heard({"do": "feed", "channels": x.shape[0]}, x, rate)

    def state(self, raw: Mapping[str, float]) -> bytes:
        """Return what the plugin writes of itself at these settings."""
        return self._ask({"do": "state", "raw": dict(raw)}, b"", self._answer_timeout_s)[1]

    def close(self) -> None:
        """End the process, and whatever it has started."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                if sys.platform == "win32":
                    self._process.kill()
                else:
                    os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            # what is still in the buffer of a pipe nobody reads cannot be flushed
            with contextlib.suppress(OSError):
                _open(pipe).close()
        _HOSTS.discard(self)

    def _heard(self, header: dict[str, Any], x: Sound, rate: int) -> Sound:
        data = np.ascontiguousarray(x, dtype="<f4").tobytes()
        patience_s = self._answer_timeout_s + TIMES_REAL * x.shape[1] / rate
        _, payload = self._ask(header, data, patience_s)
        if len(payload) != len(data):
            self.close()
            raise HostFailed(f"{self.path} gave back {len(payload) // 4} samples for {x.size}")
        y = np.frombuffer(payload, dtype="<f4").reshape(x.shape).astype(np.float32)
        if not np.isfinite(y).all():
            raise PluginError(f"{self.path}: its output is not a number at these settings")
        return y

    def _of(self, reply: dict[str, Any], key: str, kind: type) -> Any:
        if not isinstance(reply.get(key), kind):
            self.close()
            raise HostFailed(f"{self.path}: its process answers nonsense")
        return reply[key]

    def _ask(self, header: dict[str, Any], payload: bytes, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """Send a frame and return the answer. The clock kills a process that is late, which ends the wait."""
        clock = threading.Timer(timeout_s, self._give_up)
        clock.daemon = True
        clock.start()
        try:
            worker.write_frame(_open(self._process.stdin), header, payload)
            reply, data = worker.read_frame(_open(self._process.stdout))
        except (OSError, EOFError, ValueError) as error:
            late, code = self._late, self._process.poll()
            self.close()
            what = (
                f"has not answered for {timeout_s:g} s and was stopped"
                if late
                else f"answers nonsense ({error})"
                if isinstance(error, ValueError)
                else f"crashed ({_how(self._process.returncode if code is None else code)})"
            )
            raise HostFailed(f"{self.path} {what}") from None
        except BaseException:
            # an interrupt: what it would still answer would be taken for the answer to another question
            self.close()
            raise
        finally:
            clock.cancel()
        if "missing" in reply:
            self.close()
            raise PluginError(
                f"{self.path}: a plugin needs {reply['missing']}, which is not installed;"
                ' install it with pip install "fxstyle[plugins]"'
            )
        if "error" in reply:
            self.close()
            raise PluginError(f"{self.path}: {str(reply['error'])[:400]}")
        return reply, data

    def _give_up(self) -> None:
        self._late = True
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "both were asked for as pipes"
    return pipe


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


@atexit.register
def _close_all() -> None:
    for host in list(_HOSTS):
        host.close()
