"""There and back, and knobs that come from anywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fxstyle.device.host import anywhere, via_host

Send = Callable[[torch.Tensor], torch.Tensor]


def twice(x: torch.Tensor, rate: float, *, gain: torch.Tensor) -> torch.Tensor:
    """Work on the CPU, and nowhere else."""
    assert x.device.type == gain.device.type == "cpu"
    return x * gain[:, None, None] * rate


def test_via_host_comes_back_with_gradients(send: Send) -> None:
    x = send(torch.ones(2, 1, 3, dtype=torch.float64, requires_grad=True))
    gain = send(torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True))
    y = via_host(twice)(x, 10.0, gain=gain)
    assert y.device == x.device
    dx, dgain = torch.autograd.grad(y.sum(), [x, gain])
    assert dx.cpu()[:, 0, 0].tolist() == [20.0, 30.0]
    assert dgain.cpu().tolist() == [30.0, 30.0]


def test_knobs_are_brought_to_the_cpu_and_sound_is_not(send: Send) -> None:
    seen: dict[str, str] = {}

    @anywhere
    def forward(x: torch.Tensor, rate: float, *, near: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
        seen.update(x=x.device.type, near=near.device.type, far=far.device.type)
        return x * (near + far).to(x)[:, None, None]

    x = send(torch.ones(2, 1, 3, dtype=torch.float64))
    near = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    far = send(torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True))
    y = forward(x, 1.0, near=near, far=far)
    assert seen == {"x": x.device.type, "near": "cpu", "far": "cpu"}
    assert y.detach().cpu()[:, 0, 0].tolist() == [4.0, 6.0]
    one, other = torch.autograd.grad(y.sum(), [near, far])
    assert one.tolist() == other.cpu().tolist() == [3.0, 3.0]


def test_on_the_cpu_nothing_is_in_between() -> None:
    knob = torch.ones(1)

    @anywhere
    def forward(x: torch.Tensor, rate: float, *, knob: torch.Tensor) -> torch.Tensor:
        assert knob is knob_given
        return x

    knob_given = knob
    x = torch.ones(1, 1, 1)
    assert forward(x, 1.0, knob=knob) is x


def test_a_device_without_float64_goes_to_the_cpu_whole(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    x, gain = send(torch.ones(1, 1, 2)), send(torch.tensor([2.0]))
    monkeypatch.setattr("fxstyle.device.host._WITHOUT_DOUBLE", (x.device.type,))
    y = anywhere(twice)(x, 3.0, gain=gain)
    assert y.device == x.device
    assert y.cpu().tolist() == [[[6.0, 6.0]]]
