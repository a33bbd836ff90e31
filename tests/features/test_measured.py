"""The measured embedding: laws of its distance, and of the covariance that scales it."""

import numpy as np
import pytest
import torch

from fxstyle.embed.measured import (
    GROUP_WEIGHTS,
    PRIOR_PAIRS,
    RESTLESS,
    Measured,
    content_covariances,
    content_noise,
    crop_variances,
    shrunken_covariance,
)
from fxstyle.features.descriptors import describe

RATE = 44100


def _noise(seed: int, rows: int = 1, channels: int = 2) -> torch.Tensor:
    return 0.1 * torch.randn(rows, channels, 2 * RATE, generator=torch.Generator().manual_seed(seed))


def test_distance_to_itself_is_nothing() -> None:
    embedding = Measured()
    vectors = embedding.embed(_noise(0), RATE)
    terms = embedding.distance(vectors, vectors)
    assert set(terms) == set(GROUP_WEIGHTS)
    assert all(float(term) == 0.0 for term in terms.values())


def test_treatment_is_farther_than_other_noise() -> None:
    embedding = Measured()
    target = embedding.embed(_noise(0), RATE)

    def terms(x: torch.Tensor) -> dict[str, float]:
        return {name: float(t) for name, t in embedding.distance(embedding.embed(x, RATE), target).items()}

    other = terms(_noise(1))
    assert terms(2.0 * _noise(1))["tone"] > 10.0 * other["tone"]
    assert terms(0.2 * torch.tanh(10.0 * _noise(1)))["crest"] > 10.0 * other["crest"]
    narrow = _noise(1)
    narrow = narrow.mean(1, keepdim=True) + 0.3 * (narrow - narrow.mean(1, keepdim=True))
    assert terms(narrow)["width"] > 10.0 * other["width"]


def test_a_batch_is_its_rows() -> None:
    embedding = Measured()
    x = _noise(0, rows=3)
    target = embedding.embed(_noise(9), RATE)
    together = embedding.distance(embedding.embed(x, RATE), target)
    for row in range(3):
        alone = embedding.distance(embedding.embed(x[row : row + 1], RATE), target)
        for name, term in alone.items():
            assert float(together[name][row]) == pytest.approx(float(term[0]), rel=1e-3, abs=1e-5), name


def test_masked_bands_do_not_count() -> None:
    x, target_audio = _noise(0), _noise(0)
    spectrum = torch.fft.rfft(target_audio)
    f = torch.fft.rfftfreq(2 * RATE, 1 / RATE)
    spectrum[..., f > 4000] *= 0.01
    target_audio = torch.fft.irfft(spectrum, 2 * RATE)
    centres = 1000.0 * 2.0 ** (np.arange(-15, 13) / 3)
    # The transition reaches one third octave to either side.
    low = Measured(tone_mask=tuple(bool(c < 2500.0) for c in centres))
    whole = Measured()
    with_mask = low.distance(low.embed(x, RATE), low.embed(target_audio, RATE))["tone"]
    without = whole.distance(whole.embed(x, RATE), whole.embed(target_audio, RATE))["tone"]
    assert float(with_mask) < 1e-3 * float(without)


def test_skipped_groups_are_absent() -> None:
    vectors = Measured(skip=frozenset({"width", "balance"})).embed(_noise(0), RATE)
    assert not {"width", "balance"} & set(vectors)


def test_steady_recordings_have_little_noise_and_restless_ones_much() -> None:
    steady = torch.cat([_noise(seed) for seed in range(6)])
    restless = steady * torch.tensor([1.0, 0.05, 0.4, 0.01, 2.0, 0.1])[:, None, None]
    calm, wild = content_noise([steady], RATE), content_noise([restless], RATE)
    assert set(calm) == set(GROUP_WEIGHTS) == set(crop_variances())
    # Six crops of white noise differ by next to nothing: what is left is the prior's share.
    assert calm["tone"] == pytest.approx(PRIOR_PAIRS / (PRIOR_PAIRS + 5.0), rel=0.1)
    assert wild["tone"] > 5.0 * calm["tone"]
    assert max(wild.values()) <= RESTLESS


def test_a_single_crop_says_nothing_about_noise() -> None:
    assert content_noise([_noise(0)], RATE) == dict.fromkeys(GROUP_WEIGHTS, 1.0)


def test_noise_divides_the_squares_of_small_differences() -> None:
    x, y = Measured().embed(_noise(0), RATE), Measured().embed(1.02 * _noise(0), RATE)
    once = Measured().distance(x, y)["tone"]
    noisy = Measured(noise={"tone": 4.0}).distance(x, y)["tone"]
    assert float(noisy) == pytest.approx(float(once) / 4.0, rel=0.05)


def test_shipped_covariances_fit_the_descriptors() -> None:
    groups = describe(_noise(0), RATE)
    covariances = content_covariances()
    assert set(covariances) == set(groups) == set(GROUP_WEIGHTS)
    for name, matrix in covariances.items():
        assert matrix.shape == (groups[name].shape[1],) * 2, name
        assert np.allclose(matrix, matrix.T)
        assert np.linalg.eigvalsh(matrix).min() > 0.0, name


def test_shrinkage_recovers_a_known_covariance_and_stays_definite() -> None:
    generator = np.random.default_rng(0)
    truth = np.array([[4.0, 1.2, 0.0], [1.2, 1.0, 0.0], [0.0, 0.0, 0.25]])
    many = generator.multivariate_normal(np.zeros(3), truth, 20_000)
    # 20,000 draws: a standard error of 1 % of each variance.
    assert np.allclose(shrunken_covariance(many), truth, atol=0.15)
    few = generator.standard_normal((5, 40))
    assert np.linalg.eigvalsh(shrunken_covariance(few)).min() > 0.0
    assert np.linalg.matrix_rank(np.cov(few, rowvar=False)) < 40


def test_everything_stays_on_its_device() -> None:
    """On the device without storage: shapes come out, and most meetings with a CPU tensor raise."""
    embedding = Measured()
    x = _noise(0, rows=4).to("meta")
    vectors = embedding.embed(x, RATE, crops=2)
    terms = embedding.distance(vectors, vectors)
    assert {term.device.type for term in terms.values()} == {"meta"}
    assert {tuple(term.shape) for term in terms.values()} == {(2,)}
