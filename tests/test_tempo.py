"""Note values against the arithmetic of a metronome."""

from fractions import Fraction

import pytest
import torch

from fxstyle import tempo


def _beats(word):
    """Quarters in a note, in whole numbers."""
    note = 4 * Fraction(word.rstrip(".t"))
    return (
        note * Fraction(3, 2) if word.endswith(".") else note * Fraction(2, 3) if word.endswith("t") else note
    )


def _tensors(*values):
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def test_the_words_are_those_of_a_sequencer():
    assert tempo.WORDS == (
        "off", "1/1", "1/2", "1/2.", "1/2t", "1/4", "1/4.", "1/4t", "1/8", "1/8.", "1/8t", "1/16", "1/16.",
        "1/16t", "1/32",
    )  # fmt: skip
    param = tempo.sync("what")
    assert param.choices[round(param.default)] == "off"


@pytest.mark.parametrize("word", tempo.WORDS[1:])
@pytest.mark.parametrize("bpm", [30, 97, 120, 300])
def test_time_and_rate_are_those_of_the_note(word, bpm):
    free, number, tempo_bpm = _tensors(7.0, tempo.WORDS.index(word), bpm)
    seconds = Fraction(60, bpm) * _beats(word)
    assert tempo.time_ms(free, number, tempo_bpm).item() == pytest.approx(float(1000 * seconds), rel=1e-15)
    assert tempo.rate_hz(free, number, tempo_bpm).item() == pytest.approx(float(1 / seconds), rel=1e-15)


def test_off_leaves_the_knob_alone():
    free, number, tempo_bpm = _tensors(7.0, 0, 120.0)
    assert tempo.time_ms(free, number, tempo_bpm).item() == 7.0
    assert tempo.rate_hz(free, number, tempo_bpm).item() == 7.0


@pytest.mark.parametrize("function", [tempo.time_ms, tempo.rate_hz])
def test_each_row_has_the_gradient_of_the_knob_that_counts(function):
    free = torch.tensor([7.0, 7.0], dtype=torch.float64, requires_grad=True)
    tempo_bpm = torch.tensor([90.0, 90.0], dtype=torch.float64, requires_grad=True)
    number = torch.tensor([0.0, tempo.WORDS.index("1/8.")], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f, t: function(f, number, t), (free, tempo_bpm))
    function(free, number, tempo_bpm).sum().backward()
    assert free.grad.tolist() == [1.0, 0.0]
    assert tempo_bpm.grad[0] == 0.0
    assert tempo_bpm.grad[1] != 0.0
