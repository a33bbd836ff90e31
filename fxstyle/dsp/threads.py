"""Rows of a batch side by side: one pool of Python threads for kernels that release the interpreter's lock.

The number of threads is torch's (`torch.set_num_threads`), so that one setting bounds all of them. Inside a
row torch itself uses one thread: its own pool on top would make more threads than there are cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Barrier, Lock
from typing import Any

import torch

_making = Lock()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads in each of which torch uses one thread.

    That number is each thread's own, but the last one set is what any thread begins with that has not yet
    asked for its own.
    """
    ready = Barrier(threads + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()
        ready.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="fxstyle", initializer=begin)
    for _ in range(threads):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)
    return pool


def _after_fork() -> None:
    """Forget the pool: threads do not survive a fork, and a lock that one of them held stays held."""
    global _making  # noqa: PLW0603
    _making = Lock()
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def side_by_side(work: Callable[[int], object], count: int) -> None:
    """Call work(0) .. work(count - 1), on as many threads as torch has been given.

    Threads start when they are first needed, and stay. An exception of any call is raised here, after all.
    """
    threads = torch.get_num_threads()
    if min(threads, count) == 1:
        for lane in range(count):
            work(lane)
        return
    with _making:
        pool = _pool(threads)
    calls = [pool.submit(work, lane) for lane in range(count)]
    wait(calls)  # all of them, even if one fails: none may go on writing into what the caller has given up
    for call in calls:
        call.result()


def for_each(function: Callable[..., object], *sequences: Iterable[Any]) -> None:
    """Call a function with the first of each sequence, with the second, ..., side by side.

    Raises ValueError if the sequences are not equally long.
    """
    calls = list(zip(*sequences, strict=True))
    side_by_side(lambda call: function(*calls[call]), len(calls))
