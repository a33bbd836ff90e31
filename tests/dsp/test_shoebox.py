"""Rooms as a plain function: arrivals, levels, decays, what cannot be; and ISO 9613-1's table for the air."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.dsp.air import absorption_db_per_m, speed_of_sound
from fxstyle.dsp.shoebox import shoebox
from fxstyle.errors import SettingError
from fxstyle.octaves import CENTRES_HZ

RATE = 48_000.0
SIZE, SOURCE, MICROPHONES = (6.3, 4.7, 2.9), (1.45, 2.87, 1.19), ((4.1, 1.3, 2.1), (3.2, 3.9, 0.7))


def row(value):
    return torch.tensor(value, dtype=torch.float64)[None]


def respond(absorption=0.2, rate=RATE, **changed):
    given = {
        "size": row(SIZE), "source": row(SOURCE), "microphones": row(MICROPHONES),
        "absorption": torch.full((1, 6, 8), absorption, dtype=torch.float64), "scatter": row(0.0),
        "mixing_s": row(0.06), "order": 14, "temperature_c": row(20.0), "humidity_percent": row(50.0),
    }  # fmt: skip
    return shoebox(rate, **{**given, **changed})


def test_the_direct_sound_arrives_in_time_and_at_its_level():
    speed = 331.3 * math.sqrt(1.0 + 20.0 / 273.15)
    for channel, place in zip(respond()[0].numpy(), MICROPHONES, strict=True):
        r = math.dist(SOURCE, place)
        first = channel[: round(r / speed * RATE) + 20]
        assert np.abs(first).argmax() == pytest.approx(r / speed * RATE, abs=0.51)
        # below the first reflection the sum over the sinc is its gain
        assert first.sum() == pytest.approx(1.0 / (4.0 * math.pi * r), rel=0.1)


@pytest.mark.parametrize("absorption", [0.1, 0.3])
def test_it_decays_as_the_directions_say_without_a_step_at_the_crossing(absorption):
    h = respond(absorption)[0].numpy()
    sos = scipy.signal.butter(4, (300.0, 6000.0), "bandpass", fs=RATE, output="sos")
    power = scipy.signal.sosfilt(sos, h, axis=1) ** 2
    window = round(0.02 * RATE)
    late = power[:, : power.shape[1] // window * window].reshape(2, -1, window).sum(axis=2).mean(axis=0)
    level = 10.0 * np.log10(late)
    # from the images (30 ms) across the crossing (60 to 80 ms) into the noise: fading by steps alike
    steps = np.diff(level[2:12])
    assert np.abs(steps - np.median(steps)).max() < 2.5


def test_more_images_say_what_the_noise_said():
    """Energy from 60 to 110 ms: by images up to 17 reflections, or by noise from 40 ms on."""
    begin, end = round(0.06 * RATE), round(0.11 * RATE)
    found = []
    for mixing_s in (0.03, 0.12):
        h = respond(0.15, order=17, mixing_s=row(mixing_s), size=row((9.1, 7.3, 5.7)))[0].numpy()
        found.append(10.0 * np.log10((h[:, begin:end] ** 2).sum()))
    assert found[0] == pytest.approx(found[1], abs=1.5)


def test_microphones_at_one_place_hear_the_same():
    h = respond(microphones=row((MICROPHONES[0], MICROPHONES[0])))[0]
    torch.testing.assert_close(h[0], h[1], rtol=0.0, atol=1e-14)


def test_an_anechoic_room_has_only_its_direct_sound():
    h = respond(1.0)[0].numpy()
    peak = np.abs(h).max(axis=1)
    for channel, top in zip(h, peak, strict=True):
        at = int(np.abs(channel).argmax())
        rest = np.delete(channel, np.arange(max(at - 60, 0), at + 60))
        assert np.abs(rest).max() < 1e-3 * top


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": row((0.0, 4.7, 2.9))}, r"length_m\[0\] = 0 m is outside 0.1..200 m"),
        ({"size": row((6.3, float("nan"), 2.9))}, r"width_m\[0\] = nan m is outside"),
        ({"absorption": 1.2}, r"absorption\[0, 0, 0\] = 1.2 is outside 0..1"),
        ({"absorption": -0.1}, "absorption.* = -0.1 is outside 0..1"),
        ({"source": row((1.0, 2.0, 3.0))}, "source z = 3 m is not inside .* from 0 to 2.9 m"),
        ({"microphones": row(((1.0, 2.0, 1.0), (6.4, 2.0, 1.0)))}, "microphones x = 6.4 m is not inside"),
        ({"order": 18}, "order = 18 is outside 3..17"),
        ({"scatter": row(2.0)}, r"scatter\[0\] = 2 is outside 0..1"),
        ({"mixing_s": row(0.5)}, r"mixing_s\[0\] = 0.5 is outside 0.03..0.12"),
        ({"humidity_percent": row(0.0)}, r"humidity_percent\[0\] = 0 is outside 1..100"),
    ],
)  # fmt: skip
def test_rooms_that_cannot_be(changed, message):
    with pytest.raises(SettingError, match=message):
        respond(**changed)


@pytest.mark.parametrize(
    ("celsius", "percent", "db_per_km"),
    [
        (10.0, 70.0, (0.1, 0.4, 1.0, 1.9, 3.7, 9.7, 32.8, 117.0)),
        (20.0, 70.0, (0.1, 0.3, 1.1, 2.8, 5.0, 9.0, 22.9, 76.6)),
        (30.0, 70.0, (0.1, 0.3, 1.0, 3.1, 7.4, 12.7, 23.1, 59.3)),
        (15.0, 20.0, (0.3, 0.6, 1.2, 2.7, 8.2, 28.2, 88.8, 202.0)),
        (15.0, 50.0, (0.1, 0.5, 1.2, 2.2, 4.2, 10.8, 36.2, 129.0)),
        (15.0, 80.0, (0.1, 0.3, 1.1, 2.4, 4.1, 8.3, 23.7, 82.8)),
    ],
)
def test_air_takes_what_the_standard_s_table_says(celsius, percent, db_per_km):
    """ISO 9613-2:1996, table 2, made from ISO 9613-1 at the exact mid-frequencies 1000 * 10^(3 n/10)."""
    hz = torch.tensor([1000.0 * 10.0 ** (0.3 * n) for n in range(-4, 4)], dtype=torch.float64)
    found = absorption_db_per_m(hz, row(celsius), row(percent))[0].numpy() * 1000.0
    # the table has three digits at most, and one place
    np.testing.assert_allclose(found, db_per_km, rtol=0.01, atol=0.051)


def test_the_speed_of_sound():
    assert speed_of_sound(row(20.0)).item() == pytest.approx(343.2, abs=0.1)
    assert len(CENTRES_HZ) == 8
