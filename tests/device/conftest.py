"""A device that is not there: tensors that say they lie elsewhere, and refuse to be mixed with the CPU's.

`Elsewhere` wraps a tensor and calls its device "meta", which torch allows without any hardware. Operations
run on what is wrapped; one that mixes it with an ordinary tensor, as no GPU could, fails; and numpy cannot be
had from it. So a form that runs on it runs on a GPU, as far as where its tensors lie is concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from fxstyle.device import lane_functions, on_cuda

PLACE = torch.device("meta")

_ATEN = torch.ops.aten
_AT_ONCE = {_ATEN._conj.default: _ATEN._conj_physical.default, _ATEN._neg_view.default: _ATEN.neg.default}


class Elsewhere(torch.Tensor):
    """A tensor that lies on PLACE; `inner` is what it holds."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=PLACE
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, dict(kwargs or {}))


class _Making(TorchDispatchMode):
    """Tensors that are made on PLACE, or brought there, become Elsewhere."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        involved = any(isinstance(leaf, Elsewhere) for leaf in tree_leaves((args, named)))
        if involved or named.get("device") == PLACE:
            return _run(func, args, named)
        return func(*args, **named)


def _bare(value: Any) -> Any:
    return value.inner if isinstance(value, Elsewhere) else value


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    wanted = kwargs.pop("device", None)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    strangers = [t for t in tensors if not isinstance(t, Elsewhere) and t.ndim > 0]
    moves = func is _ATEN._to_copy.default
    assert moves or not strangers, f"{func} mixes devices: {[tuple(t.shape) for t in strangers]}"
    # The bits of a lazy conjugate or minus would stay behind with the wrapped tensor.
    out = _AT_ONCE.get(func, func)(*tree_map(_bare, args), **tree_map(_bare, kwargs))
    if moves and wanted is not None and wanted.type == "cpu":
        return out
    return tree_map(lambda t: Elsewhere(t) if isinstance(t, torch.Tensor) else t, out)


def _lanes(body: Any, lanes: int, device: torch.device, arguments: Any) -> None:
    assert all(isinstance(v, Elsewhere) for v in arguments if isinstance(v, torch.Tensor))
    lane_functions.run(body, lanes, *map(_bare, arguments))


@pytest.fixture(
    params=["lanes", "no lanes", pytest.param("cuda", marks=pytest.mark.cuda)],
)
def send(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., torch.Tensor]]:
    """Return a function that sends a tensor elsewhere, where lane functions run, or not; or to the GPU.

    A tensor that asks for a gradient asks for it there.
    """
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU and a torch built for it")
        yield lambda x: x.detach().cuda().requires_grad_(x.requires_grad)
        return
    on_lanes = request.param == "lanes"
    monkeypatch.setattr(lane_functions, "usable", lambda device: device.type == "cpu" or on_lanes)
    monkeypatch.setattr(on_cuda, "run", _lanes)
    with _Making():
        yield lambda x: Elsewhere(x.detach().clone()).requires_grad_(x.requires_grad)
