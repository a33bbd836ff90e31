"""The objective of a fit, wherever the crops lie: the same loss and the same gradient as on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fxstyle.chain import Chain
from fxstyle.embed.measured import Measured
from fxstyle.fit.crops import Crops
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import Aim, Objective
from fxstyle.fit.space import Space
from fxstyle.performance import perform

RATE = 44100
PREROLL = 4410
CHAIN = "eq,compressor,saturation,delay,reverb,width,gain"


@pytest.fixture(scope="module")
def crops() -> Crops:
    x = perform(1.1, RATE, song=0, seed=1).astype(np.float32)
    return Crops(torch.from_numpy(x)[None], PREROLL)


def test_is_the_same_elsewhere(crops: Crops, send: Callable[..., torch.Tensor]) -> None:
    space = Space(Chain.parse(CHAIN), Locks())
    other = perform(1.1, RATE, song=0, seed=2).astype(np.float32)
    aim = Aim.at(Measured(), Crops(torch.from_numpy(other)[None], PREROLL), RATE)
    u = torch.from_numpy(np.random.default_rng(0).uniform(0.2, 0.8, (2, space.size))).requires_grad_()

    def of(where: Crops) -> tuple[torch.Tensor, torch.Tensor]:
        loss, terms = Objective(space, where, (aim,), RATE)(u)
        assert loss.device == u.device
        assert all(term.device == u.device for term in terms.values())
        return loss, torch.autograd.grad(loss.sum(), u)[0]

    here, slope = of(crops)
    there, other_slope = of(Crops(send(crops.audio), PREROLL))
    assert torch.allclose(here, there, rtol=1e-3)
    assert float((slope - other_slope).norm()) < 2e-2 * float(slope.norm())
