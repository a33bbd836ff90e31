"""Training of the proposer: its pairs, that it learns, that interrupted runs go on, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fxstyle import effects
from fxstyle.cli import DONE, FAILED, USAGE, main
from fxstyle.effects import DEFAULT_CHAIN
from fxstyle.embed.encoder import Sizes, to_bytes, untrained
from fxstyle.errors import SettingError
from fxstyle.fit import mixture
from fxstyle.fit.mixture import sampled
from fxstyle.fit.proposer import load
from fxstyle.performance import perform
from fxstyle.train import _proposer_prior as prior
from fxstyle.train import proposer as training
from fxstyle.train import proposer_pairs as pairing
from fxstyle.train.proposer import Logged, Options, nats, prepared, step_of, train_proposer
from fxstyle.train.proposer_pairs import Plan, file_of_pairs, load_pairs, names_of_knobs, settled

RATE = 44_100


def small() -> Options:
    """A run of two files; as long as they are small."""
    return Options(steps=6, batch=8, pairs=16, hidden=16, components=2, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("material")
    for song in range(2):
        soundfile.write(top / f"{song}.wav", perform(11.0, RATE, song=song, seed=song).T, RATE)
    return top


@pytest.fixture(scope="module")
def small_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    sizes = Sizes(width=16, blocks=2, joined=24, hidden=32, style=16, place=8)
    path.write_bytes(to_bytes(untrained(0, sizes).network, {}))
    return path


@pytest.fixture(scope="module", autouse=True)
def few_pairs_in_a_file() -> object:
    """Files of eight pairs: a run of a few seconds has several."""
    patch = pytest.MonkeyPatch()
    for module in (pairing, training):
        patch.setattr(module, "PAIRS_IN_A_FILE", 8)
    patch.setattr(pairing, "CONTENTS", 2)
    patch.setattr(pairing, "CHAINS", 4)
    yield patch
    patch.undo()


@pytest.fixture(scope="module")
def pairs(folder: Path, small_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made here, as other processes would not know of small files."""
    there = tmp_path_factory.mktemp("pairs")
    for number in range(5):
        pairing._make(Plan((folder,), 1, small_encoder), there, number)
    return there


class TestPrior:
    def test_all_effects_but_two_are_taught(self) -> None:
        assert set(effects.names()) - set(prior.taught()) == set(prior.LEFT_OUT)
        assert all(set(order.split(",")) == set(prior.taught()) for order in prior.ORDERS)
        assert set(DEFAULT_CHAIN.split(",")) <= set(prior.taught())

    @pytest.mark.parametrize("name", prior.taught())
    def test_positions_are_in_the_range_and_some_stay(self, name: str) -> None:
        generator = np.random.default_rng(0)
        drawn = np.stack([prior.drawn_position(name, generator) for _ in range(60)])
        assert drawn.min() >= 0.0
        assert drawn.max() <= 1.0
        home = prior.space_of(name).home
        stay = (drawn == home).mean(0)
        # of 60 draws, a share of .375 each is expected
        assert (stay > 0.05).all()
        assert (stay < 0.8).all()
        assert all((len(np.unique(drawn[:, i])) > 10) for i in range(drawn.shape[1]))

    def test_what_is_drawn_is_heard(self) -> None:
        x = perform(2.0, RATE, song=0, seed=0)
        for seed in range(6):
            made, y = prior.drawn_chain(x, np.random.default_rng(seed))
            slots = [prior.slot_of(d.name, d.u) for d in made]
            # one effect after the other rounds to float32 in between
            np.testing.assert_allclose(prior.through(slots, x), y, atol=1e-4 * float(np.abs(y).max()), rtol=0)
            for i, slot in enumerate(slots):
                before = prior.through(slots[:i], x)
                if slot.name != "gain":
                    assert prior.heard_db(prior.through([slot], before), before) >= prior.UNHEARD_DB

    def test_a_knob_of_a_band_that_does_nothing_is_not_known(self) -> None:
        x = perform(2.0, RATE, song=0, seed=0)
        space = prior.space_of("eq")
        u = space.unit({"eq.peak3_db": 12.0})
        known = dict(zip((k.param.name for k in space.knobs), prior._known("eq", u, x), strict=True))
        assert known["peak3_db"]
        assert known["peak3_hz"]
        assert not known["peak5_hz"]
        assert not known["peak5_q"]

    def test_a_mono_sound_gets_nothing_stereo(self) -> None:
        x = np.repeat(perform(2.0, RATE, song=0, seed=0)[:1], 2, axis=0)
        names = {d.name for s in range(24) for d in prior.drawn_chain(x, np.random.default_rng(s))[0]}
        assert "eq" in names
        assert "width" not in names

    @pytest.mark.parametrize(
        ("name", "knob"),
        [("reverb", "level_db"), ("delay", "level_db"), ("chorus", "mix"), ("tremolo", "depth")],
    )
    def test_out_of_the_way_is_where_nothing_is_heard(self, name: str, knob: str) -> None:
        found = prior.neutral_of(name)
        param = effects.get(name).param(knob)
        assert found == {knob: pytest.approx(param.low)}


class TestPairs:
    def test_a_chain_becomes_a_row_and_says_what_is_known(self) -> None:
        knobs = names_of_knobs()
        u = np.array([0.25, 0.75])
        chain = [
            prior.Drawn("width", u, (True, False)),
            prior.Drawn("gain", np.array([0.5]), (True,)),
        ]
        row, place = settled(chain)
        assert dict(zip(knobs, place.tolist(), strict=True)) == {
            **dict.fromkeys(knobs, 0),
            "width": 1,
            "gain": 2,
        }
        assert sorted(row[~np.isnan(row)].tolist()) == [0.25, 0.5]

    def test_a_file_repeats_and_others_are_others(self, folder: Path, small_encoder: Path) -> None:
        ear = training.load(small_encoder)
        plan = Plan((folder,), 3, small_encoder)
        one, again, other = (file_of_pairs(plan, n, ear)[0] for n in (0, 0, 1))
        for a, b in zip(one, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(one.reference, other.reference)

    def test_pairs_come_back_from_disk(self, pairs: Path) -> None:
        found, sizes = load_pairs(pairs, 5)
        assert found.input.shape == found.reference.shape == (40, sum(sizes.values()))
        assert np.isfinite(found.input).all()
        assert np.isfinite(found.reference).all()
        # knobs are known only of effects that are there
        knobs = names_of_knobs()
        owner = np.repeat(np.arange(len(knobs)), [len(own) for own in knobs.values()])
        assert not (~np.isnan(found.u) & (found.place[:, owner] == 0)).any()
        assert (~np.isnan(found.u)).any()
        # chains of one content have one input
        assert (found.input[0] == found.input[3]).all()
        assert not (found.input[0] == found.input[4]).all()


def test_it_learns_pairs_by_heart(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some thirty pairs it finds the effects again, and sets them nearly as they were."""
    knobs = names_of_knobs()
    network, taught, _ = prepared(pairs, replace(small(), pairs=40, hidden=96, components=4), knobs)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, mixture.Weighed):
            module.share.zero_()
    monkeypatch.setattr(training, "rate_at", lambda *_: 3e-3)
    options = replace(small(), batch=32)
    optimiser = torch.optim.AdamW(network.parameters())
    first = nats(network, taught)
    for step in range(250):
        step_of(network, optimiser, taught, options, step)
    assert nats(network, taught) < 0.5 * first
    network.eval()
    errors, right = [], []
    everything = np.ones(len(knobs), dtype=bool)
    for i in range(len(taught)):
        place, u = taught.place[i].numpy(), taught.u[i].numpy()
        drawn = sampled(network, taught.heard[i : i + 1], everything, 16, 0, 0.3)
        right.append(((drawn.place > 0) == (place > 0)).all(1).mean())
        known = ~np.isnan(u)
        errors.append(np.abs(drawn.u - u)[:, known].ravel())
    assert np.mean(right) > 0.8
    # a knob guessed anywhere is .33 of its range off on average, one at its default about .15
    assert np.median(np.concatenate(errors)) < 0.05


def test_what_is_there_is_not_made_again(pairs: Path, folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "00000.npz"
    there.write_bytes((pairs / there.name).read_bytes())
    before = there.stat().st_mtime_ns
    with pairing.making(Plan((folder,), 1), tmp_path, 1, 1) as numbers:
        assert list(numbers) == [0]
    assert there.stat().st_mtime_ns == before


class TestRun:
    def begin(
        self, run: Path, pairs: Path, folder: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Begin a run that finds pairs of its own already there, and is interrupted before it trains."""

        def there(_: Plan, into: Path, count: int, __: int) -> AbstractContextManager[Iterator[int]]:
            into.mkdir(exist_ok=True)
            for number in range(count):
                name = f"{number:05d}.npz"
                (into / name).write_bytes((pairs / name).read_bytes())
            return nullcontext(iter(range(count)))

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(training, "making", there)
        with monkeypatch.context() as patch:
            patch.setattr(training, "prepared", stop)
            with pytest.raises(KeyboardInterrupt):
                train_proposer([folder], run, small(), encoder=encoder)

    def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
        self,
        folder: Path,
        pairs: Path,
        small_encoder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        whole, run = tmp_path / "whole", tmp_path / "run"
        for one in (whole, run):
            self.begin(one, pairs, folder, small_encoder, monkeypatch)
        monkeypatch.setattr(training, "neutral_of", lambda _: {})
        result = train_proposer([folder], whole, small(), encoder=small_encoder)
        monkeypatch.setattr(training, "LOGGED", 2)
        monkeypatch.setattr(training, "SAVED", 2)

        def stop(line: Logged) -> None:
            if line.step == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_proposer([folder], run, small(), encoder=small_encoder, tell=stop)
        assert not (run / "proposer.safetensors").exists()
        again = train_proposer([folder], run, small(), encoder=small_encoder)
        assert again.read_bytes() == result.read_bytes()
        found = load(result, training.load(small_encoder))
        assert found.network.layout.components == 2
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        assert lines[-1]["step"] == 6
        assert np.isfinite(lines[-1]["held_out"])
        with pytest.raises(SettingError, match="another seed"):
            train_proposer([folder], run, replace(small(), seed=2), encoder=small_encoder)
        with pytest.raises(SettingError, match="another encoder"):
            train_proposer([folder], run, small())

    @pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"pairs": 3}, {"components": 0}])
    def test_impossible_runs_are_refused(self, wrong: dict[str, int]) -> None:
        with pytest.raises(SettingError, match=f"--{next(iter(wrong))}"):
            replace(small(), **wrong)


class TestCommand:
    @pytest.mark.slow
    def test_it_trains_and_says_how_well(
        self, folder: Path, small_encoder: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        """Pairs are made here, as other processes would not know of small files."""

        def here(plan: Plan, into: Path, count: int, _: int) -> AbstractContextManager[Iterator[int]]:
            into.mkdir(exist_ok=True)
            return nullcontext(pairing._make(plan, into, number) for number in range(count))

        monkeypatch.setattr(training, "making", here)
        words = ["train", "proposer", str(folder), "--run", str(tmp_path / "r"), "--encoder"]
        sizes = ["--steps", "2", "--batch", "4", "--pairs", "16", "--hidden", "16", "--json"]
        assert main([*words, str(small_encoder), *sizes]) == DONE
        said = json.loads(capsys.readouterr().out)
        assert Path(said["weights"]).is_file()
        assert np.isfinite(said["held_out"])

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["none", "--run", "r"], FAILED, "is no folder"),
            ([".", "--run", "r", "--steps", "0"], USAGE, "--steps 0"),
            ([".", "--run", "r", "--pairs", "7"], USAGE, "--pairs 7"),
            ([".", "--run", "r", "--seed", "-1"], USAGE, "--seed -1"),
            ([".", "--run", "r", "--workers", "0"], USAGE, "--workers 0"),
            ([".", "--run", "r", "--encoder", "none.safetensors"], FAILED, "no such weights file"),
        ],
    )
    def test_mistakes_are_named_before_anything_is_made(
        self, words: list[str], code: int, message: str, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        assert main(["train", "proposer", *words]) == code
        assert message in capsys.readouterr().err
        assert not (tmp_path / "r").exists()
