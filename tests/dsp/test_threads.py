"""Rows side by side: each once, errors raised, torch's own threads left as they were."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch

from fxstyle.dsp.threads import side_by_side


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_every_lane_is_worked_on_once_and_torchs_threads_are_left_as_they_were() -> None:
    seen: list[int] = []
    inside = set()

    def work(lane: int) -> None:
        seen.append(lane)
        inside.add(torch.get_num_threads())

    side_by_side(work, 7)
    assert sorted(seen) == list(range(7))
    # several threads inside each of several would fight for the cores
    assert inside == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_lane_is_raised() -> None:
    def work(lane: int) -> None:
        raise ZeroDivisionError(f"lane {lane}")

    with pytest.raises(ZeroDivisionError, match="lane 0"):
        side_by_side(work, 3)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_is_not_raised_before_the_other_lanes_have_ended(failing: int) -> None:
    """They write into arrays that the caller gives up with the error."""
    ended: list[int] = []

    def work(lane: int) -> None:
        if lane == failing:
            raise ZeroDivisionError
        time.sleep(0.1)
        ended.append(lane)

    with pytest.raises(ZeroDivisionError):
        side_by_side(work, 3)
    assert sorted(ended) == [lane for lane in range(3) if lane != failing]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork")
def test_a_forked_process_gets_threads_of_its_own() -> None:
    program = """
import os, torch
from fxstyle.dsp.threads import side_by_side
torch.set_num_threads(2)
seen = []
side_by_side(seen.append, 4)
child = os.fork()
if child == 0:
    side_by_side(seen.append, 4)
    os._exit(len(seen))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "8"
