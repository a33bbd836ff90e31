"""What kernels would not notice is refused before they run: they read their arrays without looking."""

import numpy as np
import pytest
import torch

from fxstyle import effects

RATE = 44100


def knobs(name: str, rows: int) -> dict[str, torch.Tensor]:
    return {
        knob: torch.full((rows,), value, dtype=torch.float64)
        for knob, value in effects.get(name).defaults().items()
    }


@pytest.mark.parametrize("name", effects.names())
@pytest.mark.parametrize(("rows", "given"), [(1, 4), (4, 1)])
def test_every_row_has_settings_of_its_own(name: str, rows: int, given: int) -> None:
    first = effects.get(name).params[0].name
    shapes = rf"^{name}.{first} has the shape \({given},\), but the sound has {rows} rows"
    with pytest.raises(ValueError, match=shapes):
        effects.get(name).forward(torch.zeros(rows, 1, 100), RATE, **knobs(name, given))


@pytest.mark.parametrize("name", effects.names())
@pytest.mark.parametrize(
    "x", [torch.zeros(2, 100), torch.zeros(1, 1, 2, 100), torch.zeros(2, 1, 100, dtype=torch.float16),
          torch.zeros(2, 1, 100, dtype=torch.int64)], ids=["flat", "deep", "half", "whole"],
)  # fmt: skip
def test_a_batch_of_sound_has_its_shape_and_type(name: str, x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: the sound must be \(batch, channel, time\) in float32"):
        effects.get(name).forward(x, RATE, **knobs(name, x.shape[0]))


@pytest.mark.parametrize("name", effects.names())
def test_a_stream_keeps_its_channels_and_its_type(name: str) -> None:
    effect = effects.get(name)
    for begun, then, said in (
        (np.zeros((1, 300), np.float32), np.zeros((3, 300), np.float32), "1 channels .* this block has 3"),
        (np.zeros((3, 300), np.float32), np.zeros((1, 300), np.float32), "3 channels .* this block has 1"),
        (np.zeros((2, 300), np.float32), np.zeros((2, 300)), "in float32, .* in float64"),
    ):
        _, state = effect.render(begun, RATE, None, **effect.defaults())
        with pytest.raises(ValueError, match=rf"^{name}: the stream began with .*{said}"):
            effect.render(then, RATE, state, **effect.defaults())


@pytest.mark.parametrize("name", effects.names())
@pytest.mark.parametrize(
    "x", [np.zeros(100, np.float32), np.zeros((1, 100), np.int16)], ids=["flat", "whole"]
)
def test_a_block_has_its_shape_and_type(name: str, x: np.ndarray) -> None:
    with pytest.raises(
        ValueError, match=rf"^{name}: a block must be \(channel, time\) in float32 or float64"
    ):
        effects.get(name).render(x, RATE, None, **effects.get(name).defaults())
