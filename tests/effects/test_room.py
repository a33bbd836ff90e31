"""Room: the direct sound is the input, reflections come as they must, walls make the decay."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch

from fxstyle.dsp.shoebox import WALLS, shoebox
from fxstyle.effects.room import CLEARANCE, EFFECT, response
from fxstyle.octaves import BAND_NAMES, CENTRES_HZ

RATE = 48_000.0
SPEED = 331.3 * math.sqrt(1.0 + 20.0 / 273.15)


def knobs(**changed):
    settings = {**EFFECT.defaults(), **changed}
    return {name: torch.tensor([float(value)], dtype=torch.float64) for name, value in settings.items()}


def walls(value, but=()):
    """Return all absorptions alike, but for the walls of `but`."""
    return {f"absorption_{w}_{b}": 0.95 if w in but else value for w in WALLS for b in BAND_NAMES}


def ir(channels=1, rate=RATE, **changed):
    return response(rate, channels, torch.float64, torch.device("cpu"), None, **knobs(**changed))[0].numpy()


def order(number):
    return EFFECT.param("order").check(str(number))


def t30_s(h, centre_hz, rate=RATE):
    """Measure T30 in an octave (ISO 3382: line from -5 to -35 dB of the Schroeder integral)."""
    edges = [centre_hz / 2**0.5, min(centre_hz * 2**0.5, 0.49 * rate)]
    sos = scipy.signal.butter(4, edges, "bandpass", fs=rate, output="sos")
    energy = np.cumsum(scipy.signal.sosfilt(sos, h[::-1]) ** 2)[::-1]
    level_db = 10 * np.log10(np.maximum(energy / energy[0], 1e-12))
    span = np.flatnonzero((level_db <= -5) & (level_db >= -35))
    return -60 / np.polyfit(span / rate, level_db[span], 1)[0]


def places(settings, spacing=0.0):
    size = np.array([settings[name] for name in ("length_m", "width_m", "height_m")])
    source, microphone = (size * [settings[f"{what}_{axis}"] for axis in "xyz"] for what in ("source", "mic"))
    return size, source, microphone + np.array([spacing, 0.0, 0.0])


def test_the_input_itself_stays_as_it_is():
    x = np.zeros((1, 1, 4000))
    x[..., 0] = 1.0
    y = EFFECT.forward(torch.from_numpy(x), RATE, **knobs()).numpy()
    # from its second sample on what is heard is the room's; nothing comes before the first reflection
    assert y[0, 0, 0] == pytest.approx(1.0, abs=2e-3)
    assert np.abs(y[0, 0, 1:20]).max() < 5e-3


@pytest.mark.parametrize(("axis", "wall"), [(2, "floor"), (2, "ceiling"), (1, "front"), (0, "left")])
def test_a_wall_s_reflection_comes_late_and_soft_as_its_image_is_far(axis, wall):
    settings = EFFECT.defaults() | walls(0.95) | {f"absorption_{wall}_{band}": 0.01 for band in BAND_NAMES}
    size, source, microphone = places(settings)
    mirrored = source.copy()
    mirrored[axis] = 2.0 * size[axis] * (wall == "ceiling") - source[axis]
    direct, reflected = (np.linalg.norm(place - microphone) for place in (source, mirrored))
    # less the same room with this wall dead as the others are: this one image is left, and fainter ones
    h = (ir(**settings) - ir(**(EFFECT.defaults() | walls(0.95))))[0]
    peak = int(np.abs(h).argmax())
    assert peak == pytest.approx((reflected - direct) / SPEED * RATE, abs=0.6)
    near = h[peak - 8 : peak + 9].sum()
    # the high-pass begins to fall at once: what it leaves of an impulse after 8 samples
    click = scipy.signal.sosfilt(
        scipy.signal.butter(2, 40.0, "highpass", fs=RATE, output="sos"), np.eye(1, 9)[0]
    )
    truth = (math.sqrt(0.99) - math.sqrt(0.05)) * direct / reflected * click.sum()
    # what is cut from a band-limited impulse 8 samples before and after, and images of two dead walls
    assert near == pytest.approx(truth, rel=0.04)


def test_level_db_is_that_of_all_that_is_added():
    np.testing.assert_allclose(ir(level_db=-12.0), ir() * 10.0 ** (-12.0 / 20.0), atol=1e-14)


@pytest.mark.parametrize("absorption", [0.1, 0.3])
def test_each_octave_decays_by_what_its_walls_take(absorption):
    """Against Eyring, with diffusing walls; air's part is below 2 % here, and noise scatters by 8 %."""
    h = ir(2, **walls(absorption), scatter=1.0, mixing_ms=30.0)
    size, *_ = places(EFFECT.defaults())
    area = 2.0 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    eyring_s = 24.0 * math.log(10.0) * size.prod() / (-SPEED * area * math.log(1.0 - absorption))
    for hz in CENTRES_HZ[2:6]:
        found_s = np.mean([t30_s(channel, hz) for channel in h])
        assert found_s == pytest.approx(eyring_s, rel=0.12), hz


def test_the_tail_ends_when_the_sound_has():
    settings = EFFECT.defaults() | walls(0.2)
    h = ir(**settings)[0]
    end = round(EFFECT.tail_s(settings) * RATE)
    window = round(0.02 * RATE)
    first, last = (10.0 * np.log10(np.mean(h[a : a + window] ** 2)) for a in (round(0.02 * RATE), end))
    # 60 dB from emission on, less what had faded after 20 ms
    assert -66.0 < last - first < -50.0


def test_channels_have_microphones_of_their_own_and_mono_stands_between_them():
    settings = EFFECT.defaults() | {"mic_spacing_m": 1.0}
    size, *_ = places(settings)
    apart = ir(2, **settings)
    for channel, at in zip(apart, (-0.5, 0.5), strict=True):
        _, _, microphone = places(settings, at)
        alone = ir(1, **(settings | {"mic_x": microphone[0] / size[0]}))[0]
        early = round(0.06 * RATE)
        np.testing.assert_allclose(channel[:early], alone[:early], atol=1e-9)
    together = ir(2, mic_spacing_m=0.0)
    np.testing.assert_array_equal(together[0], together[1])
    np.testing.assert_allclose(ir(1), together[:1], atol=1e-12)


def test_microphones_stop_before_the_walls():
    settings = EFFECT.defaults() | {"length_m": 1.5, "mic_x": 0.98, "mic_spacing_m": 2.0}
    right = ir(2, **settings)[1]
    there = ir(1, **(settings | {"mic_x": 1.0 - CLEARANCE, "mic_spacing_m": 0.0}))[0]
    # up to where images of that order run out in so small a room, and each has a noise of its own
    early = round(0.03 * RATE)
    np.testing.assert_allclose(right[:early], there[:early], atol=1e-9)


@pytest.mark.parametrize("spacing_m", [0.05, 2.0])
def test_the_tails_of_two_microphones_are_as_alike_as_in_a_diffuse_field(spacing_m):
    h = ir(2, mic_spacing_m=spacing_m, **walls(0.1))[:, round(0.15 * RATE) :]
    for hz in (250.0, 1000.0, 4000.0):
        sos = scipy.signal.butter(4, (hz / 2**0.5, hz * 2**0.5), "bandpass", fs=RATE, output="sos")
        a, b = scipy.signal.sosfilt(sos, h, axis=1)
        found = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
        k = 2.0 * math.pi * hz / SPEED
        # .22 by the formula, some by what an octave's width and the noise's chance do
        assert found == pytest.approx(math.sin(k * spacing_m) / (k * spacing_m), abs=0.3)


def test_it_is_the_shoebox_s_response_from_the_direct_sound_on():
    settings = EFFECT.defaults() | {"order": order(10)}
    size, source, microphone = places(settings)
    absorption = np.array([[settings[f"absorption_{w}_{b}"] for b in BAND_NAMES] for w in WALLS])
    row = lambda value: torch.tensor(np.asarray(value), dtype=torch.float64)[None]  # noqa: E731
    whole = shoebox(
        RATE, row(size), row(source), row([microphone]), row(absorption), scatter=row(settings["scatter"]),
        mixing_s=row(settings["mixing_ms"] / 1000.0), order=10,
        temperature_c=row(20.0), humidity_percent=row(50.0),
    )[0, 0].numpy()  # fmt: skip
    hz = np.linspace(200.0, 18_000.0, 200)
    direct = np.linalg.norm(source - microphone)
    # over the images alone: noise begins at a whole sample there
    early = round(0.055 * RATE)
    first = round(direct / SPEED * RATE)
    ours = ir(1, **settings)[0, :early]
    theirs = whole[: first + early]
    a = 1.0 + np.exp(-2j * np.pi * hz[:, None] / RATE * np.arange(early)) @ ours
    b = np.exp(-2j * np.pi * hz[:, None] * (np.arange(theirs.size) / RATE - direct / SPEED)) @ theirs
    # what is cut at the end of the window rings at about -40 dB; air over the direct path is not in `ours`
    assert np.abs(a - 4.0 * math.pi * direct * b).max() < 0.05 * np.abs(a).max()


def test_orders_count_from_three_to_seventeen():
    words = EFFECT.param("order").choices
    assert words == tuple(str(n) for n in range(3, 18))
    few, many = (ir(order=order(n)) for n in (3, 17))
    assert not np.allclose(few, many)


def test_rows_have_rooms_of_their_own():
    x = torch.randn(2, 2, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    small, large = knobs(length_m=2.0, order=order(5)), knobs(length_m=20.0, order=order(15))
    together = EFFECT.forward(x, RATE, **{name: torch.cat([small[name], large[name]]) for name in small})
    for r, given in enumerate((small, large)):
        alone = EFFECT.forward(x[r : r + 1], RATE, **given)
        torch.testing.assert_close(together[r : r + 1], alone, rtol=0, atol=1e-12)


def test_new_settings_in_a_stream_take_over_with_the_next_group():
    rate, settings = 8000.0, EFFECT.defaults()
    louder = {**settings, "level_db": settings["level_db"] + 12.0}
    latency = EFFECT.latency(rate, settings)
    x = np.random.default_rng(0).standard_normal((2, 4 * latency))
    _, state = EFFECT.render(x[:, : 2 * latency], rate, None, **settings)
    y, _ = EFFECT.render(x[:, 2 * latency :], rate, state, **louder)
    old, new = (EFFECT.render(x, rate, None, **s)[0][:, 2 * latency :] for s in (settings, louder))
    np.testing.assert_array_equal(y[:, :latency], old[:, :latency])
    np.testing.assert_allclose(y[:, latency:], new[:, latency:], atol=1e-12)
