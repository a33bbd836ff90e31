"""Width and balance in closed form, the widths of bands against scipy's filters, and ffmpeg's extrastereo."""

import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.effects.width import EFFECT


def _render(x, **settings):
    return EFFECT.render(x, 44100.0, None, **{**EFFECT.defaults(), **settings})[0]


@pytest.fixture
def stereo():
    return np.random.default_rng(0).standard_normal((2, 1000))


def test_defaults_are_the_identity(stereo):
    np.testing.assert_array_equal(_render(stereo), stereo)


@pytest.mark.parametrize("width", [0.0, 0.3, 1.0, 2.0])
def test_side_is_scaled_and_mid_is_kept(stereo, width):
    y = _render(stereo, width=width)
    np.testing.assert_allclose(y[0] + y[1], stereo[0] + stereo[1], atol=1e-14)
    np.testing.assert_allclose(y[0] - y[1], width * (stereo[0] - stereo[1]), atol=1e-14)


@pytest.mark.parametrize("balance_db", [-12.0, -1.0, 5.0, 12.0])
def test_balance_sets_the_ratio_and_keeps_the_power(balance_db):
    tone = np.sin(np.arange(1000) / 7.0)
    left, right = _render(np.stack([tone, tone]), balance_db=balance_db)
    ratio_db = 10 * np.log10((right**2).sum() / (left**2).sum())
    assert ratio_db == pytest.approx(balance_db, abs=1e-9)
    assert (left**2 + right**2).sum() == pytest.approx(2 * (tone**2).sum())


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_other_than_two_channels_pass_unchanged(channels):
    x = np.random.default_rng(1).standard_normal((channels, 50))
    y = _render(x, width=0.0, balance_db=12.0)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)
    batch = torch.from_numpy(x)[None]
    knobs = {k: torch.tensor([v]) for k, v in EFFECT.defaults().items()}
    z = EFFECT.forward(batch, 44100.0, **{**knobs, "width": torch.zeros(1), "low_width": torch.zeros(1)})
    assert torch.equal(z, batch)


LOW_HZ, HIGH_HZ = 120.0, 5000.0


def _band_filter(rate, low_width, high_width, low_hz, high_hz, frequencies_hz):
    """F of the module's docstring, from Linkwitz's filters: two first-order ones of scipy's in a row."""

    def twice(corner_hz, kind):
        b, a = scipy.signal.butter(1, corner_hz, kind, fs=rate)
        return scipy.signal.freqz(b, a, frequencies_hz, fs=rate)[1] ** 2

    high_pass, low_pass = twice(low_hz, "highpass"), twice(high_hz, "lowpass")
    return (low_width + (1 - low_width) * high_pass) * (high_width + (1 - high_width) * low_pass)


@pytest.mark.parametrize("rate", [22_050.0, 48_000.0, 192_000.0])
@pytest.mark.parametrize(
    ("low_width", "high_width", "low_hz", "high_hz"),
    [
        (0.0, 1.0, 120.0, 5000.0),
        (1.0, 0.0, 120.0, 5000.0),
        (2.0, 0.3, 600.0, 1000.0),
        (0.5, 2.0, 200.0, 9000.0),
    ],
)
def test_the_side_passes_the_filters_and_the_mid_none(rate, low_width, high_width, low_hz, high_hz):
    size = round(rate)
    impulse = np.zeros((2, size))
    impulse[0, 0] = 1.0
    bands = {"low_width": low_width, "high_width": high_width, "low_hz": low_hz, "high_hz": high_hz}
    left, right = EFFECT.render(impulse, rate, None, **{**EFFECT.defaults(), **bands, "width": 1.5})[0]
    # mono-compatible: to the bit but for the rounding of two sums
    np.testing.assert_allclose(left + right, impulse[0], atol=1e-15)
    response = np.fft.rfft(left - right)
    truth = 1.5 * _band_filter(rate, **bands, frequencies_hz=np.fft.rfftfreq(size, 1 / rate))
    np.testing.assert_allclose(response, truth, atol=1e-9)


def test_mono_bass_falls_by_12_db_per_octave_and_leaves_the_rest():
    f = np.array([15.0, 30.0, LOW_HZ, 1000.0, 10_000.0])
    level_db = 20 * np.log10(np.abs(_band_filter(192_000.0, 0.0, 1.0, LOW_HZ, HIGH_HZ, f)))
    n = np.arange(192_000)
    for tone_hz, truth_db in zip(f, level_db, strict=True):
        tone = np.sin(2 * np.pi * tone_hz * n / 192_000)
        y, _ = EFFECT.render(
            np.stack([tone, -tone]), 192_000.0, None, **{**EFFECT.defaults(), "low_width": 0.0}
        )
        side = y[0, 96_000:] - y[1, 96_000:]
        assert 10 * np.log10(np.mean(side**2) / 2) == pytest.approx(truth_db, abs=0.01)
    assert level_db[1] - level_db[0] == pytest.approx(12.0, abs=0.5)
    assert level_db[2] == pytest.approx(-6.02, abs=0.01)
    assert np.abs(level_db[3:]).max() < 0.15


@pytest.mark.parametrize("a", [0.2, 0.5, 2.0])
def test_how_far_the_bands_bend_is_what_the_docstring_says(a):
    beyond_db = {0.2: -3.0, 0.5: -1.0, 2.0: 0.6}[a]
    f = np.geomspace(10, 5000, 5000)
    response = np.abs(_band_filter(192_000.0, a, 1.0, LOW_HZ, HIGH_HZ, f))
    worst = response.max() if a > 1.0 else response.min()
    assert 20 * np.log10(worst / a) == pytest.approx(beyond_db, abs=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bands_at_one_change_no_bit_wherever_their_corners_are(stereo, dtype):
    x = stereo.astype(dtype)
    settings = {"width": 1.4, "balance_db": 2.0}
    y = _render(x, **settings)
    np.testing.assert_array_equal(_render(x, **settings, low_hz=600.0, high_hz=1000.0), y)
    knobs = {k: torch.tensor([v]) for k, v in {**EFFECT.defaults(), **settings}.items()}
    batch = torch.from_numpy(x)[None]
    plain, elsewhere = (
        EFFECT.forward(batch, 44100.0, **{**knobs, "low_hz": torch.tensor([hz])}) for hz in (120.0, 31.0)
    )
    assert torch.equal(plain, elsewhere)


def test_gradients_of_the_bands_also_where_they_are_one():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 60, dtype=torch.float64, generator=generator, requires_grad=True)
    rows = {
        "width": [1.3, 0.0, 2.0],
        "balance_db": [0.0, 3.0, -12.0],
        "low_width": [1.0, 0.0, 2.0],
        "low_hz": [120.0, 600.0, 30.0],
        "high_width": [1.0, 2.0, 0.0],
        "high_hz": [3000.0, 1000.0, 3900.0],
    }
    knobs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in rows.values()]

    def run(x, *values):
        return EFFECT.forward(x, 8000.0, **dict(zip(rows, values, strict=True)))

    assert torch.autograd.gradcheck(run, (x, *knobs))


@pytest.mark.parametrize(
    "changed", [{"low_width": 0.0, "low_hz": 50.0}, {"high_width": 2.0, "high_hz": 1000.0}]
)
def test_tail_is_over_when_it_says_so(changed):
    tail_s = EFFECT.tail_s({**EFFECT.defaults(), **changed})
    rate, corner_hz = 48_000.0, next(v for k, v in changed.items() if k.endswith("hz"))
    n = np.arange(round(0.5 * rate))
    tone = np.sin(2 * np.pi * corner_hz * n / rate)
    tone[n.size // 2 :] = 0.0
    y, _ = EFFECT.render(np.stack([tone, -tone]), rate, None, **{**EFFECT.defaults(), **changed})
    after = np.abs(y[0, n.size // 2 :])
    end = round(tail_s * rate)
    assert after[end:].max() < 1e-3 < after[: round(0.6 * end)].max()
    assert EFFECT.tail_s(EFFECT.defaults()) == 0.0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("width", [0.0, 0.5, 1.7])
def test_ffmpeg_has_the_same_law(width):
    x = (0.1 * np.random.default_rng(0).standard_normal((2, 10_000))).astype(np.float32)
    command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", "44100", "-ac", "2", "-i", "-"]
    command += ["-af", f"extrastereo=m={width}:c=0", "-f", "f32le", "-"]
    run = subprocess.run(command, input=x.T.tobytes(), capture_output=True, check=True)
    truth = np.frombuffer(run.stdout, "<f4").reshape(-1, 2).T
    assert np.mean((_render(x, width=width) - truth) ** 2) < 1e-14 * np.mean(truth**2)  # float32


def _measured(side_db):
    return SimpleNamespace(mid_db=np.full(5, -20.0), side_db=np.full(5, side_db))


@pytest.mark.parametrize(
    ("source_db", "reference_db", "width"),
    [
        (-30.0, -36.0, 10 ** (-6 / 20)),
        (-30.0, -27.0, 10 ** (3 / 20)),
        (-30.0, -10.0, 2.0),
        (-120.0, -30.0, 1.0),
    ],
)
def test_start_matches_the_ratio_of_side_to_mid(source_db, reference_db, width):
    guess = EFFECT.start(_measured(source_db), _measured(reference_db))
    assert guess["width"] == pytest.approx(width)
