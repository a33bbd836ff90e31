"""Runs of training: what is learnt, that interrupted runs go on as if they had not been, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fxstyle.cli import DONE, FAILED, USAGE, main
from fxstyle.embed.encoder import Sizes, load
from fxstyle.embed.frontend import BANDS, SCALE_DB
from fxstyle.errors import SettingError
from fxstyle.performance import perform
from fxstyle.train import run as runs
from fxstyle.train.encoder import TINT_DB, Trainee, accuracy, batch_of, losses, rate_at
from fxstyle.train.episodes import ROWS, Plan, episode
from fxstyle.train.run import Logged, Options, there_by, train_encoder

SMALL = Sizes(width=16, blocks=2, joined=24, hidden=32, style=16, place=8)
OPTIONS = Options(
    steps=6,
    batch=2,
    episodes=6,
    held_out=2,
    seed=1,
    sizes=SMALL,
    programs=("fxstyle.eq", "fxstyle.saturation"),
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("material")
    for song in range(2):
        soundfile.write(top / f"{song}.wav", perform(8.0, 44_100, song=song, seed=song).T, 44_100)
    return top


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train_encoder([folder], run, OPTIONS)
    return run


def test_a_run_leaves_weights_that_load(whole: Path) -> None:
    ear = load(whole / "encoder.safetensors")
    assert ear.network.sizes == SMALL
    assert "fxstyle.eq.peak" in ear.about["units"]
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == OPTIONS.steps
    assert 0.0 <= lines[-1]["told"] <= 1.0
    assert all(np.isfinite(v) for v in lines[-1]["terms"].values())


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LOGGED", 2)
    monkeypatch.setattr(runs, "SAVED", 2)

    def stop(line: Logged) -> None:
        if line.step == 4:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_encoder([folder], run, OPTIONS, tell=stop)
    assert not (run / "encoder.safetensors").exists()
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 4
    train_encoder([folder], run, OPTIONS)
    one, two = ((r / "encoder.safetensors").read_bytes() for r in (whole, run))
    assert one == two


def test_another_run_is_not_mixed_in(folder: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="another seed"):
        train_encoder([folder], whole, replace(OPTIONS, seed=2))
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(SettingError, match="holds other things"):
        train_encoder([folder], tmp_path, OPTIONS)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"episodes": 3}])
def test_impossible_runs_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingError, match=f"--{next(iter(wrong))}"):
        replace(OPTIONS, **wrong)


def test_episodes_are_asked_for_as_the_run_goes() -> None:
    options = Options(steps=100, batch=4, episodes=200)
    wanted = [there_by(step, options) for step in range(100)]
    assert wanted == sorted(wanted)
    assert wanted[0] == options.held_out + 4 * options.batch
    assert wanted[70] == wanted[-1] == 200


def test_the_rate_rises_and_falls_to_next_to_nothing() -> None:
    rates = [rate_at(step, 1000) for step in range(1000)]
    assert int(np.argmax(rates)) in (99, 100)
    assert rates[-1] < 0.02 * max(rates)


def test_losses_know_the_truth(folder: Path) -> None:
    """Learning a few episodes by heart brings every term down, and tells all their styles apart."""
    episodes = [episode(Plan((folder,), 0, ("fxstyle.eq", "fxstyle.saturation")), n) for n in range(2)]
    units = episodes[0].present.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trainee = Trainee(Sizes(width=32, blocks=2, joined=48, hidden=64, style=32, place=16), units)
    optimiser = torch.optim.AdamW(trainee.parameters(), lr=3e-3)
    batch = batch_of(episodes, CPU, None)
    first = {name: float(term.detach()) for name, term in losses(trainee, batch).items()}
    for _ in range(60):
        terms = losses(trainee, batch)
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    last = {name: float(term.detach()) for name, term in losses(trainee, batch).items()}
    assert all(last[name] < 0.7 * first[name] for name in first), (first, last)
    assert accuracy(trainee, batch) > 3.0 / ROWS


def test_a_recording_is_given_another_tone_in_all_its_rows(folder: Path) -> None:
    episodes = [episode(Plan((folder,), 0, ("fxstyle.eq",)), n) for n in range(2)]
    plain = batch_of(episodes, CPU, None).heard
    tinted = batch_of(episodes, CPU, np.random.default_rng(4)).heard
    # the mean level of each band in the texture says by how much it was moved
    moved = (tinted.texture - plain.texture).reshape(4, ROWS, -1)
    assert not moved[..., BANDS:].any()
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), atol=1e-3, rtol=0.0)
    curves = moved[:, 0, :BANDS] * SCALE_DB
    assert 0.5 * TINT_DB < float(curves.std()) < 2.0 * TINT_DB
    # each recording has its own, and none jumps from band to band
    apart = (curves[:, None] - curves[None]).abs().amax(dim=2)
    assert apart[~torch.eye(4, dtype=torch.bool)].min() > 0.3 * TINT_DB
    assert curves.diff(dim=1).abs().max() < TINT_DB


class TestCommand:
    def test_it_trains_and_says_how_well(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["--steps", "2", "--batch", "1", "--episodes", "17", "--width", "16", "--json"]
        words = [
            "train",
            "encoder",
            str(folder),
            "--run",
            str(tmp_path / "r"),
            "--programs",
            "fxstyle.eq.peak",
        ]
        assert main([*words, *arguments]) == DONE
        said = json.loads(capsys.readouterr().out)
        assert Path(said["weights"]).is_file()
        assert 0.0 <= said["told"] <= 1.0

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["none", "--run", "r"], FAILED, "is no folder"),
            ([".", "--run", "r", "--steps", "0"], USAGE, "--steps 0"),
            ([".", "--run", "r", "--programs", "nobody"], USAGE, "--programs nobody"),
            ([".", "--run", "r", "--device", "abacus"], USAGE, "--device abacus"),
            ([".", "--run", "r", "--seed", "-1"], USAGE, "--seed -1"),
            ([".", "--run", "r", "--workers", "0"], USAGE, "--workers 0"),
            ([".", "--run", "r", "--width", "0"], USAGE, "--width 0"),
        ],
    )
    def test_mistakes_are_named_before_anything_is_made(
        self, words: list[str], code: int, message: str, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        assert main(["train", "encoder", *words]) == code
        assert message in capsys.readouterr().err
        assert not (tmp_path / "r").exists()
