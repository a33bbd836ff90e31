"""The transform for convolutions against the DFT's definition and against scipy's."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.fft

from fxstyle.dsp import fft

SIZES = (256, 512, 768, 1024, 1536, 2048, 3072, 16384, 49152)


def transformed(z, dtype=np.float64):
    re, im = z.real.astype(dtype), z.imag.astype(dtype)
    fft.transform(re, im, fft.tables(z.size, np.dtype(dtype)))
    return re + 1j * im


def noise(size):
    rng = np.random.default_rng(size)
    return rng.standard_normal(size) + 1j * rng.standard_normal(size)


def digest(size):
    return hashlib.sha256(transformed(noise(size), np.float32).tobytes()).hexdigest()


@pytest.mark.parametrize("size", [256, 512, 768])
def test_each_wave_has_its_own_place(size):
    """The matrix is that of the DFT, but for the order of its rows: each wave ends in one place."""
    n = np.arange(size)
    spectra = np.array([transformed(np.exp(2j * np.pi * (k * n % size) / size)) for k in range(size)]) / size
    places = np.abs(spectra).argmax(axis=1)
    assert sorted(places) == list(range(size))
    np.testing.assert_allclose(spectra, np.eye(size)[places], atol=1e-13)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 2e-15), (np.float32, 5e-7)])
def test_values_are_those_of_scipy_in_another_order(size, dtype, error):
    z = noise(size)
    here, truth = transformed(z, dtype), scipy.fft.fft(z)
    np.testing.assert_allclose(
        np.sort(np.abs(here)), np.sort(np.abs(truth)), atol=error * np.abs(truth).max()
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 4e-15), (np.float32, 3e-6)])
def test_the_way_back(size, dtype, error):
    z, table = noise(size), fft.tables(size, np.dtype(dtype))
    re, im = z.real.astype(dtype), z.imag.astype(dtype)
    fft.transform(re, im, table)
    fft.transform_back(re, im, table)
    np.testing.assert_allclose((re + 1j * im) / size, z, atol=error)


@pytest.mark.parametrize("size", [256, 768])
@pytest.mark.parametrize("filled", [1, 100, 256, 400, 512])
def test_products_are_convolutions_whose_end_comes_back_negated(size, filled):
    rng = np.random.default_rng(filled)
    u, v = rng.standard_normal(filled), rng.standard_normal(2 * size)
    table, spectra = fft.tables(size, np.dtype(np.float64)), []
    for x in (u, v):
        re, im = np.empty(size), np.empty(size)
        fft.enter(x[:size], x[size:], table, re, im)
        fft.transform(re, im, table)
        spectra.append(re + 1j * im)
    product = spectra[0] * spectra[1] / size
    re, im = product.real.copy(), product.imag.copy()
    fft.transform_back(re, im, table)
    out = np.empty(2 * size)
    fft.leave(re, im, table, out[:size], out[size:])
    whole = np.convolve(u, v)
    truth = whole[: 2 * size].copy()
    truth[: filled - 1] -= whole[2 * size :]
    np.testing.assert_allclose(out, truth, atol=1e-11)


def test_the_least_size_that_fits_has_a_table():
    for count in (1, 512, 513, 700, 1024, 1025, 1537, 30_000, 98_304, 98_305, 100_000):
        size = fft.fitting(count)
        fft.tables(size, np.dtype(np.float32))
        assert 2 * size >= count
        # between 2^k and 3 2^(k-1) never more than half too much, from where there are such sizes
        assert size == fft.SMALLEST or 2 * size < 2 * count
        assert count < 2 * 768 or 2 * size < 1.5 * count


@pytest.mark.parametrize("size", [0, 128, 255, 257, 384, 1280])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=rf"^{size} is not 2\^k or 3 2\^k, of at least 256$"):
        fft.tables(size, np.dtype(np.float32))


def test_a_plain_processor_gives_the_same_bits(tmp_path):
    """Of whatever registers the compiler makes use: every operation is rounded on its own."""
    code = "from tests.dsp.test_fft import digest\nprint(digest(1536))\n"
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env={**os.environ, **plain},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == digest(1536)
