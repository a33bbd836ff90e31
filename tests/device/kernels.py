"""Run by test_loops.py in a process of its own: lane functions as the GPU runs them, without one.

    NUMBA_ENABLE_CUDASIM=1 python kernels.py simulate     in numba's simulator, against bare Python
    python kernels.py compile                             to PTX, and with ptxas to machine code

Prints one line per lane function, or "no compiler: ..." where CUDA's is not installed.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numba import cuda

from fxstyle.device import feedback, loops, on_cuda, varispeed

LANES, LENGTH = 5, 150
BLOCK = 4  # threads in multiples of it: of eight for five lanes three have nothing to do
CAPABILITIES = ((7, 5), (8, 6), (9, 0))
PTXAS = shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")


def cases() -> dict[Any, tuple[int, tuple[Any, ...]]]:
    """Return threads and arguments of each lane function; what it fills is zero."""
    rng = np.random.default_rng(0)

    def noise(*shape: int) -> Any:
        return rng.standard_normal(shape)

    def share(*shape: int) -> Any:
        return rng.uniform(0.1, 0.9, shape)

    zeros = np.zeros
    blocks = -(-LENGTH // feedback.BLOCK)
    pieces, reach = 1, 20
    delay = rng.uniform(1.0, 12.0, (LANES, LENGTH))
    line = np.concatenate([zeros((LANES, reach)), noise(LANES, LENGTH)], axis=1)
    block = zeros((LANES, pieces))
    # All lanes are channels of one row.
    place = (np.arange(LENGTH) + np.floor(3.0 * np.sin(0.2 * np.arange(LENGTH))).astype(np.int64))[None]
    earliest = np.maximum(np.arange(LENGTH) - 20, 0)[None]
    return {
        loops._follow: (
            LANES, (noise(LANES, LENGTH), share(LANES), share(LANES), 0.5, zeros((LANES, LENGTH)))
        ),
        loops._recede: (
            LANES * pieces,
            (noise(LANES, LENGTH), share(LANES, LENGTH + 1), noise(LANES, pieces), zeros((LANES, LENGTH)),
             block.copy(), block.copy()),
        ),
        loops._join: (LANES, (noise(LANES, 4), share(LANES, 4), zeros((LANES, 4)))),
        loops._latest_maximum: (
            LANES * 1,
            (noise(LANES, LENGTH), np.array([0, 1, 7, 40, 400]), 1, zeros((LANES, LENGTH), np.int64)),
        ),
        feedback._line: (
            LANES, (noise(LANES, LENGTH), delay, share(LANES), zeros(line.shape), zeros((LANES, LENGTH)))
        ),
        feedback._line_adjoint: (
            LANES,
            (noise(LANES, LENGTH), delay, share(LANES), line, zeros((LANES, reach + LENGTH + 1)),
             zeros((LANES, LENGTH))),
        ),
        feedback._allpasses: (
            LANES,
            (noise(LANES, LENGTH), share(LANES, LENGTH), share(LANES), zeros((LANES, LENGTH)),
             zeros((LANES, blocks, 7))),
        ),
        feedback._allpasses_adjoint: (
            LANES,
            (noise(LANES, LENGTH), noise(LANES, LENGTH), share(LANES, LENGTH), share(LANES),
             noise(LANES, blocks, 7), zeros((LANES, feedback.BLOCK, 6)), zeros((LANES, LENGTH)),
             zeros((LANES, LENGTH))),
        ),
        varispeed._read: (
            LANES * LENGTH,
            (noise(LANES, LENGTH), place, share(1, LENGTH), varispeed.WEIGHTS, zeros((LANES, LENGTH))),
        ),
        varispeed._read_adjoint: (
            LANES * LENGTH,
            (noise(LANES, LENGTH), noise(LANES, LENGTH), place, share(1, LENGTH), varispeed.WEIGHTS,
             earliest, zeros((LANES, LENGTH)), zeros((LANES, LENGTH))),
        ),
    }  # fmt: skip


def copied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in arguments)


def simulate() -> None:
    for body, (count, arguments) in cases().items():
        bare, simulated = copied(arguments), copied(arguments)
        for thread in range(count):
            body(thread, bare)
        on_cuda.kernel(body)[-(-count // BLOCK), BLOCK](count, simulated)
        changed = 0
        for before, one, other in zip(arguments, bare, simulated, strict=True):
            np.testing.assert_array_equal(one, other)
            changed += not np.array_equal(before, one)
        assert changed, f"{body.__name__} fills nothing"
        print(body.__name__)


def assemble(ptx: str, capability: tuple[int, int]) -> str:
    """Return what ptxas says about registers and spills, or nothing if it is older than numba's compiler."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        architecture = "sm_{}{}".format(*capability)
        target = source.with_suffix(".cubin")
        command = [str(PTXAS), "-v", f"-arch={architecture}", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unsupported .version" in done.stderr:
        return ""
    assert done.returncode == 0, done.stderr
    return done.stderr


def compile_all() -> None:
    # Without a GPU numba has nobody to ask which one it compiles the inner function for.
    dispatcher = importlib.import_module("numba.cuda.dispatcher")
    for body, (_, arguments) in cases().items():
        kinds = numba.types.Tuple([numba.typeof(a) for a in arguments])
        signature = numba.types.void(numba.types.int64, kinds)
        for capability in CAPABILITIES:
            device = SimpleNamespace(compute_capability=capability)
            dispatcher.get_current_device = lambda device=device: device
            # Made anew each time: the inner function is compiled once, for one kind of GPU.
            on_cuda.kernel.cache_clear()
            kernel = on_cuda.kernel(body)
            ptx = cuda.compile_ptx(kernel.py_func, signature, cc=capability)[0]
            assert ".entry" in ptx
            told = assemble(ptx, capability) if PTXAS else ""
            spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", told))
            assert spilled == 0, told
        registers = re.search(r"Used (\d+) registers", told)
        print(body.__name__, f"{registers[1]} registers" if registers else "no ptxas")


def main() -> None:
    warnings.simplefilter("ignore")
    if sys.argv[1] == "simulate":
        simulate()
        return
    try:
        compile_all()
    except Exception as error:
        # Every version of numba has a name of its own for a compiler that it does not find.
        missing = ("nvvm", "nvrtc", "libdevice", "nvidia dynamic lib", "failure finding")
        if not any(word in str(error).lower() for word in missing):
            raise
        print(f"no compiler: {error}"[:200])


if __name__ == "__main__":
    main()
