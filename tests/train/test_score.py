"""The relative score: what it is made of, that its calibration finds what is there, and its command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fxstyle.cli import main
from fxstyle.embed.encoder import Sizes, to_bytes, untrained
from fxstyle.embed.measured import Measured
from fxstyle.embed.score import TERMS, Score, calibration_of, load_score
from fxstyle.errors import AudioError, SettingError
from fxstyle.performance import perform
from fxstyle.train.episodes import Plan
from fxstyle.train.score import calibrate, item, train_score

RATE = 44_100
SMALL = Sizes(width=16, blocks=2, joined=24, hidden=32, style=16, place=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("material")
    for song in range(2):
        soundfile.write(top / f"{song}.wav", perform(8.0, RATE, song=song, seed=song).T, RATE)
    return top


def test_terms_add_up_to_the_estimate() -> None:
    score = load_score()
    x = torch.from_numpy(np.stack([perform(3.0, RATE, song=s, seed=s) for s in (0, 1, 2)]))
    vectors = score.embed(x, RATE)
    target = {name: v[:1] for name, v in vectors.items()}
    terms = score.distance(vectors, target)
    assert set(terms) <= set(TERMS)
    total = torch.stack(list(terms.values())).sum(dim=0) + score.calibration.base
    torch.testing.assert_close(score.estimate(vectors, target), total)
    # itself is the nearest; float32 leaves some of the cosine
    assert float(total[0]) == pytest.approx(score.calibration.base, abs=1e-3)
    assert float(total[1:].min()) > float(total[0])


def test_the_weights_of_a_known_sum_are_found() -> None:
    generator = np.random.default_rng(0)
    phi = generator.random((400, 4))
    true = np.array([0.5, 0.0, 2.0, 0.1])
    base, w = calibrate(phi, 0.3 + phi @ true)
    assert base == pytest.approx(0.3, abs=1e-9)
    np.testing.assert_allclose(w, true, atol=1e-9)
    # a term that misleads is left out rather than turned round
    _, w = calibrate(phi, 1.0 - phi[:, 0])
    assert w[0] == 0.0


def test_the_truth_of_an_item_is_nought_for_the_very_style(folder: Path) -> None:
    plan = Plan((folder,), 0, ("fxstyle.eq", "fxstyle.saturation"))
    phi, truth = item(plan, 0, untrained(0, SMALL), Measured())
    again = item(plan, 0, untrained(0, SMALL), Measured())
    np.testing.assert_array_equal(phi, again[0])
    np.testing.assert_array_equal(truth, again[1])
    assert phi.shape == (*truth.shape, len(TERMS))
    assert np.isfinite(phi).all()
    assert (truth.min(axis=1) < 1e-6).all()
    assert (np.sort(truth, axis=1)[:, -1] > 0.1).all()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "no calibration"),
        ("[1]", "no calibration"),
        ('{"base": 0, "weights": {"loudest": 1}, "encoder": "x", "about": {}}', "knows no 'loudest'"),
        ('{"base": 0, "weights": {"style": -1}, "encoder": "x", "about": {}}', "negative"),
        ('{"base": NaN, "weights": {"style": 1}, "encoder": "x", "about": {}}', "no number"),
        ('{"base": 0, "weights": {"style": "much"}, "encoder": "x", "about": {}}', "no calibration"),
    ],
)
def test_what_is_no_calibration_is_refused(text: str, match: str) -> None:
    with pytest.raises(AudioError, match=match):
        calibration_of(text, "c.json")


def test_the_command_calibrates(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fxstyle.train.score.PROGRAMS", ("fxstyle.eq", "fxstyle.gain"))
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(to_bytes(untrained(0, SMALL).network, {}))
    words = ["train", "score", str(folder), "--items", "10", "--weights", str(weights), "--json"]
    made = tmp_path / "s.json"
    assert main([*words, "-o", str(made)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rank"] > 0.3, "even a random ear hears an equaliser"
    assert set(told["rank_of_terms"]) == set(TERMS)
    score = load_score(made, untrained(0, SMALL))
    assert isinstance(score, Score)
    assert sum(score.calibration.weights.values()) > 0.0
    assert main([*words, "-o", str(made)]) != 0, "nothing is overwritten unasked"
    with pytest.raises(SettingError, match="too few"):
        train_score([folder], tmp_path / "t.json", count=3)
