"""Where a fit runs: on the CPU, or on a GPU.

Crops, embeddings and gradients lie there; positions, and all that is decided, stay on the CPU. Plugins of
other makers run on the CPU, and CLAP is kept there.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from fxstyle.errors import SettingError

DeviceName = Literal["auto", "cpu", "cuda"]
DEVICES = get_args(DeviceName)
CPU = torch.device("cpu")


def place_of(device: str, only_cpu: str | None = None) -> torch.device:
    """Return where to run; "auto" is a GPU where there is one.

    only_cpu: what there is that runs nowhere but on the CPU, in words.
    Raises SettingError for an unknown name, and for "cuda" where that cannot be had.
    """
    if device not in DEVICES:
        raise SettingError(f"device {device!r} is unknown; choose {', '.join(DEVICES)}")
    there = torch.cuda.is_available()
    if device == "cuda" and only_cpu is not None:
        raise SettingError(f"device=cuda: {only_cpu} runs on the CPU only; choose cpu or auto")
    if device == "cuda" and not there:
        raise SettingError(
            "device=cuda: this torch finds no GPU; install a build of torch for CUDA and the extra"
            " fxstyle[cuda], or choose cpu or auto"
        )
    return torch.device("cuda") if there and only_cpu is None and device != "cpu" else CPU
