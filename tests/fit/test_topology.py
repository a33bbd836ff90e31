"""The chain that is left to the program: what is heard is taken, what the user speaks of as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.effects import DEFAULT_CHAIN, names
from fxstyle.embed import encoder
from fxstyle.errors import AudioError
from fxstyle.fit.match import match
from fxstyle.fit.topology import ALWAYS, ORDER, Network, Topology, chain_text, load, shipped, to_bytes
from fxstyle.performance import perform
from fxstyle.render import render

RATE = 44100
TREATED = {
    "reverb": {"reverb.mix": 0.5},
    "bitcrush": {"bitcrush.bits": 4.0},
    "phaser": {"phaser.mix": 0.5, "phaser.feedback": 0.6},
}


@pytest.fixture(scope="module")
def dry() -> Audio:
    return Audio(perform(10.0, RATE, song=0, seed=1), RATE)


@pytest.fixture(scope="module")
def other() -> Audio:
    return Audio(perform(10.0, RATE, song=0, seed=2), RATE)


def test_the_order_names_effects_and_ends_with_the_level() -> None:
    assert set(ORDER) <= set(names())
    assert ORDER[-1] == "gain"
    there = [name for name in ORDER if name in DEFAULT_CHAIN.split(",")]
    assert ",".join(there) == DEFAULT_CHAIN


def test_the_shipped_weights_are_of_the_shipped_encoder() -> None:
    """Else every match would quietly do without (AudioError)."""
    found = shipped()
    assert set(found.thresholds) <= set(ORDER) - set(ALWAYS)
    assert all(0.0 < threshold < 1.0 for threshold in found.thresholds.values())


@pytest.mark.parametrize("effect", list(TREATED))
def test_what_was_done_to_the_reference_is_likelier_than_where_it_was_not(
    effect: str, dry: Audio, other: Audio
) -> None:
    chain = Chain.parse(effect).with_settings(
        {a: v for a, v in TREATED[effect].items() if a.partition(".")[2] in _knobs(effect)}
    )
    wet = other.with_samples(render(chain, other.samples, RATE))
    without, there = (shipped().probabilities(dry, r)[effect] for r in (other, wet))
    assert there > without


def _knobs(effect: str) -> set[str]:
    return {param.name for param in Chain.parse(effect).slots[0].effect.params}


@pytest.mark.parametrize(
    ("heard", "also", "text"),
    [
        ((), (), "eq,gain"),
        (("reverb", "compressor"), (), "eq,compressor,reverb,gain"),
        (("compressor",), ("fdn",), "eq,compressor,fdn,gain"),
        (DEFAULT_CHAIN.split(","), (), DEFAULT_CHAIN),
    ],
)
def test_the_chain_is_in_the_order_of_a_mixing_channel(
    heard: tuple[str, ...], also: tuple[str, ...], text: str
) -> None:
    assert chain_text(heard, also) == text


@pytest.fixture(scope="module")
def reference(other: Audio) -> Audio:
    return other.with_samples(other.samples * np.float32(0.25))


class TestOfAMatch:
    """What `match` makes of it."""

    def test_a_draft_does_not_listen(self, dry: Audio, reference: Audio) -> None:
        assert match(dry, reference, quality="draft").heard is None

    def test_only_what_was_heard_is_fitted_and_what_is_locked(self, dry: Audio, reference: Audio) -> None:
        found = match(dry, reference, lock=["delay.level_db<=-20"])
        assert found.heard == shipped().heard(dry, reference)
        fitted = {slot.name for slot in found.chain} | set(found.pruned)
        assert fitted == {*ALWAYS, *found.heard, "delay"}
        assert found.verdict.accepted
        said = match(dry, reference, chain="auto", lock=["delay.level_db<=-20"])
        assert said.chain.settings() == found.chain.settings()

    def test_a_chain_that_is_named_is_kept(self, dry: Audio, reference: Audio) -> None:
        found = match(dry, reference, chain="gain", quality="draft")
        assert found.heard is None
        assert [slot.name for slot in found.chain] == ["gain"]

    def test_another_passage_of_the_same_is_left_alone(self, dry: Audio, other: Audio) -> None:
        """With every effect at hand, something always comes a little nearer: that is not enough."""
        found = match(dry, other)
        assert found.verdict.before - found.verdict.after >= 0.25 or not found.verdict.accepted


class TestFiles:
    """Weights from a file are believed no more than they prove."""

    @staticmethod
    def _written(path: Path, **changed: float) -> Path:
        network = Network({"level": 2}, ("reverb", "delay"), 4)
        for name, value in changed.items():
            torch.nn.init.constant_(dict(network.named_parameters())[name.replace("__", ".")], value)
        path.write_bytes(to_bytes(network, encoder.load(), {"reverb": 0.5}))
        return path

    def test_come_back_as_they_were(self, tmp_path: Path) -> None:
        found = load(self._written(tmp_path / "w.safetensors"), encoder.load())
        assert isinstance(found, Topology)
        assert dict(found.thresholds) == {"reverb": 0.5}

    def test_other_files_are_named(self, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        with pytest.raises(AudioError, match="no such weights file"):
            load(path, encoder.load())
        path.write_bytes(b"\x00" * 100)
        with pytest.raises(AudioError, match="no weights file of a topology"):
            load(path, encoder.load())
        self._written(path, layers__1__bias=float("nan"))
        with pytest.raises(AudioError, match="not finite"):
            load(path, encoder.load())

    def test_sizes_are_not_believed(self) -> None:
        with pytest.raises(ValueError, match="hidden is 100000"):
            Network({"level": 2}, ("reverb",), 100_000)
