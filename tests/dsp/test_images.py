"""Image sources against direct summation in the frequency domain, closed forms and pyroomacoustics."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fxstyle.dsp.images import axis_tables, image_count, image_sources
from fxstyle.dsp.nonuniform import band_responses
from fxstyle.octaves import BANDS

RATE = 48_000.0
SPEED = 343.0
SIZE, SOURCE, MICROPHONE = (6.3, 4.7, 2.9), (1.7, 3.1, 1.3), (4.4, 1.2, 1.6)
HEAD_S = 0.03
"""Silence before time 0, so that nothing that a low band rings beforehand is cut."""


def row(value):
    return torch.tensor(value, dtype=torch.float64)[None]


def betas(seed=0):
    return np.sqrt(1.0 - np.random.default_rng(seed).uniform(0.05, 0.5, (6, BANDS)))


def images(order, size=SIZE, source=SOURCE, microphone=MICROPHONE):
    """Yield displacement and hits of each wall for every image, by mirroring over and over."""
    for index in itertools.product(range(-order, order + 1), repeat=3):
        if sum(map(abs, index)) > order:
            continue
        place, hits = [], []
        for i, length, s, m in zip(index, size, source, microphone, strict=True):
            position, low, high = s, 0, 0
            # |i| reflections in turn, at the far wall first where i > 0
            for step in range(abs(i)):
                at_high = (step % 2 == 0) == (i > 0) if abs(i) % 2 else (step % 2 == 1) == (i > 0)
                position = 2.0 * length - position if at_high else -position
                low, high = low + (not at_high), high + at_high
            place.append(position - m)
            hits += [low, high]
        yield np.array(place), np.array(hits)


def oracle(hz, beta, air, order, direct=True, **room):
    """Return the spectrum by summing phases; air takes its part from -HEAD_S on."""
    spectrum = np.zeros(hz.size, complex)
    for place, hits in images(order, **room):
        if not direct and not hits.any():
            continue
        r = np.sqrt((place**2).sum())
        bands = (
            np.prod(beta ** hits[:, None], axis=0) * np.exp(-air * (r + SPEED * HEAD_S)) / (4.0 * np.pi * r)
        )
        spectrum += (band_responses(hz) @ bands) * np.exp(-2j * np.pi * hz * r / SPEED)
    return spectrum


def respond(order, beta, air=None, span=None, dtype=torch.float64, start_s=-HEAD_S, direct=True, speed=SPEED,
            size=SIZE, source=SOURCE, microphone=MICROPHONE, rate=RATE):  # fmt: skip
    tables = axis_tables(row(size), row(source), row(microphone), row(beta), order)
    air = np.zeros(BANDS) if air is None else air
    span = span or round((HEAD_S + 0.1 + (order + 1) * max(size) / SPEED) * rate)
    h = image_sources(*tables, row(air), row(speed), row(start_s), orders=[order], rate=rate, span=span,
                      dtype=dtype, direct=direct)  # fmt: skip
    return h[0].numpy().astype(np.float64)


def spectrum_of(h, hz, start_s=-HEAD_S, rate=RATE):
    return np.exp(-2j * np.pi * hz[:, None] * (np.arange(h.size) / rate + start_s)) @ h


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("direct", [True, False])
def test_the_spectrum_is_the_sum_of_all_images(dtype, direct):
    air = np.linspace(0.0, 0.01, BANDS)
    hz = np.linspace(0.0, 20_000.0, 301)
    h = respond(8, betas(), air, dtype=dtype, direct=direct)
    truth = oracle(hz, betas(), air, 8, direct)
    found = spectrum_of(h, hz)
    error = np.abs(found - truth).max() / np.abs(truth).max()
    assert 20.0 * np.log10(error) < -95.0


@pytest.mark.parametrize("order", [0, 1, 3, 10, 17])
def test_the_count_of_images(order):
    assert image_count(order) == sum(1 for _ in images(order))


@pytest.mark.parametrize("order", [3, 6])
def test_all_of_them_are_heard(order):
    """With rigid walls and no frequency every image adds 1/(4 pi r)."""
    truth = sum(1.0 / (4.0 * np.pi * np.sqrt((place**2).sum())) for place, _ in images(order))
    assert respond(order, np.ones((6, BANDS))).sum() == pytest.approx(truth, rel=1e-5)


def test_the_tables_are_what_mirroring_gives():
    beta = betas(3)
    x, gains = axis_tables(row(SIZE), row(SOURCE), row(MICROPHONE), row(beta), 5)
    for place, hits in images(5):
        near = [int((x[0, axis] - place[axis]).abs().argmin()) for axis in range(3)]
        for axis, at in enumerate(near):
            assert x[0, axis, at].item() == pytest.approx(place[axis], abs=1e-12)
            truth = beta[2 * axis] ** hits[2 * axis] * beta[2 * axis + 1] ** hits[2 * axis + 1]
            np.testing.assert_allclose(gains[0, axis, at].numpy(), truth, rtol=1e-12)


def test_first_reflections_arrive_when_they_must():
    for wall in range(6):
        beta = np.full((6, BANDS), 1e-6)
        beta[wall] = 0.9
        mirrored = np.array(SOURCE)
        axis = wall // 2
        mirrored[axis] = 2.0 * SIZE[axis] * (wall % 2) - mirrored[axis]
        r = np.sqrt(((mirrored - MICROPHONE) ** 2).sum())
        h = respond(1, beta, direct=False, start_s=0.0)
        assert np.abs(h).argmax() == pytest.approx(r / SPEED * RATE, abs=0.51)
        assert h.sum() == pytest.approx(0.9 / (4.0 * np.pi * r), rel=1e-4)


def test_walls_alike_in_all_bands_are_one_band():
    alike = np.repeat(betas()[:, 3:4], BANDS, axis=1)
    nearly = alike.copy()
    nearly[0, 0] += 1e-13
    np.testing.assert_allclose(respond(6, alike), respond(6, nearly), atol=1e-12)


def test_rows_have_orders_of_their_own():
    tables = axis_tables(row(SIZE), row(SOURCE), row(MICROPHONE), row(betas()), 6)
    both = [t.expand(2, *t.shape[1:]) for t in tables]
    given = [t.expand(2, *t.shape[1:]) for t in (row(np.zeros(BANDS)), row(SPEED), row(0.0))]
    h = image_sources(*both, *given, orders=[2, 6], rate=RATE, span=4000, dtype=torch.float64, direct=True)
    for found, order in zip(h, (2, 6), strict=True):
        alone = respond(order, betas(), span=4000, start_s=0.0)
        np.testing.assert_allclose(found.numpy(), alone, atol=1e-13)


@pytest.mark.parametrize("order", [3, 9])
def test_gradients_are_those_of_the_sum_of_phases(order):
    """Of a random functional of H at some frequencies, by torch through the oracle's own sum in float64."""
    rng = np.random.default_rng(5)
    hz = rng.uniform(300.0, 18_000.0, 40)
    weights = torch.from_numpy(rng.standard_normal((2, 40)))
    responses = torch.from_numpy(band_responses(hz))
    values = {
        "size": row(SIZE), "source": row(SOURCE), "microphone": row(MICROPHONE), "beta": row(betas()),
        "air": row(np.linspace(0.001, 0.01, BANDS)), "speed": row(SPEED), "start_s": row(-HEAD_S),
    }  # fmt: skip
    times = torch.arange(round((HEAD_S + 0.1 + (order + 1) * 6.3 / SPEED) * RATE)) / RATE
    phases = torch.exp(-2j * np.pi * torch.from_numpy(hz)[:, None] * times)

    def loss(spectrum):
        return (spectrum.real * weights[0] + spectrum.imag * weights[1]).sum()

    def ours(v):
        tables = axis_tables(v["size"], v["source"], v["microphone"], v["beta"], order)
        h = image_sources(*tables, v["air"], v["speed"], v["start_s"], orders=[order], rate=RATE,
                          span=times.numel(), dtype=torch.float64, direct=True)  # fmt: skip
        return loss(phases @ h[0].to(phases.dtype))

    def theirs(v):
        x, gains = axis_tables(v["size"], v["source"], v["microphone"], v["beta"], order)
        n = torch.arange(-order, order + 1)
        i, j, k = (t + order for t in torch.meshgrid(n, n, n, indexing="ij"))
        near = (i - order).abs() + (j - order).abs() + (k - order).abs() <= order
        i, j, k = i[near], j[near], k[near]
        r = (x[0, 0, i].square() + x[0, 1, j].square() + x[0, 2, k].square()).sqrt()
        t = r / v["speed"] - v["start_s"]
        a = gains[0, 0, i] * gains[0, 1, j] * gains[0, 2, k] / (4.0 * np.pi * r)[:, None]
        a = a * (-v["air"] * v["speed"] * t[:, None]).exp()
        turned = torch.exp(-2j * np.pi * torch.from_numpy(hz)[:, None] * t)
        return loss(((turned @ a.to(turned.dtype)) * responses).sum(dim=1))

    found = []
    for run in (ours, theirs):
        v = {name: value.clone().requires_grad_() for name, value in values.items()}
        run(v).backward()
        found.append({name: value.grad for name, value in v.items()})
    for name in values:
        # -98 dB of the kernel, in sums of parts that partly cancel
        error = (found[0][name] - found[1][name]).abs().max() / found[1][name].abs().max()
        assert error < 2e-4, name


def test_gradients_agree_with_differences():
    rng = np.random.default_rng(6)
    beta = row(rng.uniform(0.3, 0.9, (6, BANDS)))
    given = [
        row(SIZE),
        row(SOURCE),
        row(MICROPHONE),
        beta,
        row(rng.uniform(0.0, 0.05, BANDS)),
        row(SPEED),
        row(0.001),
    ]

    def run(size, source, microphone, beta, *others):
        tables = axis_tables(size, source, microphone, beta, 2)
        return image_sources(
            *tables, *others, orders=[2], rate=8000.0, span=400, dtype=torch.float64, direct=False
        )

    # positions move phases by 150 rad/m: steps of 1e-6 m leave 1e-8 of curvature
    given = [value.requires_grad_() for value in given]
    assert torch.autograd.gradcheck(run, given, eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=True)


def test_pyroomacoustics_hears_the_same():
    pra = pytest.importorskip("pyroomacoustics")
    absorption = (0.1, 0.3, 0.2, 0.15, 0.4, 0.25)
    walls = ("west", "east", "south", "north", "floor", "ceiling")
    pra.constants.set("rir_hpf_enable", False)
    speed, length = pra.constants.get("c"), pra.constants.get("frac_delay_length")
    room = pra.ShoeBox(
        SIZE, fs=int(RATE), max_order=10, air_absorption=False,
        materials={wall: pra.Material(share) for wall, share in zip(walls, absorption, strict=True)},
    )  # fmt: skip
    room.add_source(SOURCE)
    room.add_microphone(MICROPHONE)
    room.compute_rir()
    theirs = 1.0 * room.rir[0][0][length // 2 :]
    beta = np.repeat(np.sqrt(1.0 - np.array(absorption))[:, None], BANDS, axis=1)
    ours = respond(10, beta, start_s=0.0, speed=speed, span=theirs.size)
    hz = np.linspace(100.0, 16_000.0, 400)
    a, b = (spectrum_of(h, hz, 0.0) for h in (ours, theirs))
    scale = float(np.vdot(b, a).real / np.vdot(b, b).real)
    # its windowed sinc of 81 taps is right to -71 dB, and its taps stand on a table of fractions
    assert np.abs(a - scale * b).max() / np.abs(a).max() < 2e-3
    # its amplitudes are 1/r
    assert scale == pytest.approx(1.0 / (4.0 * np.pi), rel=1e-3) or scale == pytest.approx(1.0, rel=1e-3)
