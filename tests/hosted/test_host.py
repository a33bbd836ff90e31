"""A plugin's process may crash, hang and talk nonsense: the program goes on, or says which plugin it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fxstyle.errors import PluginError
from fxstyle.hosted import worker
from fxstyle.hosted.host import Host, HostFailed
from fxstyle.hosted.plugin import Hosted

RATE = 44100
X = np.random.default_rng(0).normal(0.0, 0.1, (2, 4410)).astype(np.float32)
SETTINGS = {"gain_db": -6.0}

Program = Callable[[str], tuple[str, ...]]
StandIn = Callable[..., Hosted]

posix = pytest.mark.skipif(sys.platform == "win32", reason="asks after processes as POSIX does")


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process ends in time; one that is dead but not yet buried counts as ended."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
        ).stdout
        if state.strip().startswith("Z") or not state.strip():
            return True
        time.sleep(0.05)
    return False


def test_the_knob_is_in_the_plugins_own_unit(stand_in: StandIn) -> None:
    hosted = stand_in("behaves")
    param = hosted.knobs[0].param
    assert (param.name, param.unit, param.low, param.high, param.default) == ("gain_db", "dB", -24, 24, 0)
    # float32 samples times a float32 gain
    np.testing.assert_allclose(hosted.whole(X, RATE, SETTINGS), X * 10.0 ** (-6.0 / 20.0), rtol=1e-6)


def test_the_same_question_is_rendered_once(stand_in: StandIn, tmp_path: Path) -> None:
    hosted = stand_in("behaves")
    for _ in range(3):
        hosted.whole(X, RATE, SETTINGS)
    hosted.whole(X, RATE, {"gain_db": 0.0})
    assert (tmp_path / "log").read_text().split() == ["whole", "whole"]


def test_a_crash_is_survived(stand_in: StandIn, tmp_path: Path) -> None:
    y = stand_in("dies_once").whole(X, RATE, SETTINGS)
    assert (tmp_path / "died").exists()
    np.testing.assert_allclose(y, X * 10.0 ** (-6.0 / 20.0), rtol=1e-6)


def test_a_plugin_that_keeps_crashing_is_named(stand_in: StandIn) -> None:
    with pytest.raises(PluginError, match=r"StandIn\.vst3 crashed \(exit code 139\), 3 times in a row"):
        stand_in("dies").whole(X, RATE, SETTINGS)


def test_a_plugin_that_crashes_when_loaded_is_named(stand_in: StandIn) -> None:
    with pytest.raises(PluginError, match=r"StandIn\.vst3 crashed \(exit code 3\), 3 times in a row"):
        stand_in("dies_at_once")


def test_a_hanging_plugin_is_stopped_and_named(program: Program, tmp_path: Path) -> None:
    host = Host(tmp_path / "StandIn.vst3", program=program("hangs"), answer_timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(HostFailed, match=r"StandIn\.vst3 has not answered for .* s and was stopped"):
        host.whole(X, RATE, {"gain_db": 0.5})
    # 0.3 s and ten times the sound's 0.1 s; the rest is a busy machine
    assert time.monotonic() - began < 10.0
    assert not host.alive


def test_what_is_no_number_is_refused(stand_in: StandIn) -> None:
    with pytest.raises(PluginError, match=r"StandIn\.vst3: its output is not a number"):
        stand_in("no_number").whole(X, RATE, SETTINGS)


@pytest.mark.parametrize(
    ("how", "words"),
    [("babbles", "answers nonsense"), ("short", "gave back 8819 samples for 8820")],
)
def test_nonsense_is_refused(stand_in: StandIn, how: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        stand_in(how).whole(X, RATE, SETTINGS)


def test_what_the_process_says_is_passed_on(stand_in: StandIn) -> None:
    with pytest.raises(PluginError, match=r"StandIn\.vst3: it holds several plugins"):
        stand_in("refuses")


def test_without_pedalboard_it_is_said_what_to_install(stand_in: StandIn) -> None:
    with pytest.raises(PluginError, match=r'needs pedalboard.*pip install "fxstyle\[plugins\]"'):
        stand_in("lacks")


def test_a_stream_that_crashes_says_so(stand_in: StandIn) -> None:
    with pytest.raises(PluginError, match=r"crashed"):
        stand_in("dies").stream(RATE, 2, SETTINGS).feed(X)


def test_processes_are_used_again(stand_in: StandIn, tmp_path: Path) -> None:
    hosted = stand_in("behaves")
    for db in range(5):
        hosted.whole(X, RATE, {"gain_db": float(db)})
        hosted.stream(RATE, 2, SETTINGS).feed(X)
    # one that was described, and none beside it: each stream had ended before the next question
    assert len(hosted._idle) == 1


@posix
def test_an_interrupt_leaves_no_process(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path / "StandIn.vst3", program=program("hangs"))
    pid = host._process.pid

    def interrupted(stream: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "read_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.whole(X, RATE, {"gain_db": 0.5})
    assert gone(pid)


CODE = """
import subprocess, sys, threading, time
from pathlib import Path
from fxstyle.hosted import host

start = subprocess.Popen

def told(*arguments, **options):
    process = start(*arguments, **options)
    print(process.pid, flush=True)
    return process

subprocess.Popen = told
threading.Thread(target=lambda: host.Host(Path("x.vst3"), program=sys.argv[1:]), daemon=True).start()
time.sleep(600)
"""


@posix
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_no_plugin_outlives_the_program(program: Program, by: signal.Signals) -> None:
    # By SIGKILL nobody can tidy up: the process notices by itself, although its plugin hangs.
    parent = subprocess.Popen(
        [sys.executable, "-c", CODE, *program("hangs_inside")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(1.0)
    parent.send_signal(by)
    parent.wait(10.0)
    parent.stdout.close()
    assert gone(pid)
