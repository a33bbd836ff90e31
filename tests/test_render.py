"""Rendering: blocks, latency, amount, tails and files."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fxstyle import effects
from fxstyle.audio import Audio, Source, probe, read, write
from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect, Samples
from fxstyle.errors import AudioError, SettingError
from fxstyle.loudness import measure_loudness
from fxstyle.render import Renderer, render, render_file, tail_frames

RATE = 44_100
LATE = 37


def _late_forward(x: torch.Tensor, rate: float) -> torch.Tensor:
    return -x


def _late_render(x: Samples, rate: float, state: Any) -> tuple[Samples, Any]:
    joined = np.concatenate([np.zeros((len(x), LATE), x.dtype) if state is None else state, -x], axis=1)
    return joined[:, : x.shape[1]], joined[:, x.shape[1] :]


INVERTER = Effect(
    name="inverter",
    summary="turns the sound upside down, 37 samples late",
    params=(),
    forward=_late_forward,
    render=_late_render,
    latency=lambda rate, settings: LATE,
    tail_s=lambda settings: 0.01,
)


def busy_chain() -> Chain:
    """Every effect there is, each doing something audible and partly mixed."""
    slots = []
    for i, effect in enumerate(effects.all_effects()):
        u = {
            p.name: torch.tensor(0.5 * p.to_unit(p.default) + 0.2, dtype=torch.float64) for p in effect.params
        }
        values = {p.name: float(p.from_unit(u[p.name])) for p in effect.params}
        settings = {p.name: round(values[p.name]) if p.choices else values[p.name] for p in effect.params}
        slots.append(Slot(effect, settings, amount=0.3 + 0.7 * (i % 2)))
    return Chain((*slots, Slot(INVERTER, amount=0.25)))


def noise(channels: int = 2, frames: int = 12_000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((channels, frames)) * np.exp(-np.arange(frames) / (frames / 4))
    return (0.2 * x).astype(np.float32)


@pytest.mark.parametrize("block", [1, 17, 441, 4096, 10_000])
def test_any_block_size_gives_the_same_bits(block: int) -> None:
    x = noise(frames=12_000 if block > 1 else 300)
    chain = busy_chain()
    assert np.array_equal(render(chain, x, RATE, 0.05, block), render(chain, x, RATE, 0.05, x.shape[1]))


def test_random_blocks_give_the_same_bits() -> None:
    x = noise()
    chain = busy_chain()
    rng = np.random.default_rng(1)
    whole = Renderer(chain, RATE, 2).process(x)
    renderer, start, parts = Renderer(chain, RATE, 2), 0, []
    while start < x.shape[1]:
        size = int(rng.integers(0, 2000))
        parts.append(renderer.process(x[:, start : start + size]))
        start += size
    assert np.array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_render_is_forward(channels: int) -> None:
    x = noise(channels)
    chain = busy_chain()
    y = render(chain, x, RATE)
    with torch.no_grad():
        # `render` hears the tails beyond the end, where filters look ahead: `forward` is given them too.
        padded = torch.nn.functional.pad(torch.from_numpy(x), (0, 2000))
        expected = chain.forward(padded[None], RATE)[0].numpy()[:, : x.shape[1]]
    # the stated tolerances of all effects, their errors in phase, and the gain of what follows
    limit = sum(10.0 ** (slot.effect.tolerance_db / 20.0) for slot in chain)
    gain = max(1.0, float(np.abs(expected).max() / np.abs(x).max()))
    assert np.abs(y - expected).max() <= limit * gain


@pytest.mark.parametrize("amount", [1.0, 0.25])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("frames", [1, 20, 4000])
def test_latency_is_taken_off(amount: float, count: int, frames: int) -> None:
    x = np.zeros((1, frames), np.float32)
    place = frames // 2
    x[0, place] = 1.0
    chain = Chain((Slot(INVERTER, amount=amount),) * count)
    y = render(chain, x, RATE, block=64)
    expected = np.zeros_like(x)
    expected[0, place] = (1.0 - 2.0 * amount) ** count
    assert np.array_equal(y, expected)
    assert Renderer(chain, RATE, 1).latency == count * LATE


def test_every_effect_keeps_the_impulse_in_its_place() -> None:
    x = np.zeros((2, 8192), np.float32)
    x[:, 4000] = 0.5
    for effect in effects.all_effects():
        y = render(Chain((Slot(effect, amount=0.5),)), x, RATE)
        # half of the output is the dry impulse, or what its dry path makes of it, here without latency;
        # nothing precedes it but a linear-phase filter's ringing
        dry = x if effect.dry is None else effect.dry.render(x, RATE, None, **effect.defaults())[0]
        assert int(np.abs(y[0]).argmax()) == int(np.abs(dry[0]).argmax()), effect.name


def test_inactive_slots_are_the_identity_to_the_bit() -> None:
    x = noise()
    busy = busy_chain()
    silent = busy.scaled(0.0)
    bypassed = Chain(tuple(replace(slot, bypass=True) for slot in busy))
    for chain in (silent, bypassed, Chain()):
        assert np.array_equal(render(chain, x, RATE), x)
        assert Renderer(chain, RATE, 2).latency == 0


def test_input_is_not_changed_and_may_be_read_only() -> None:
    x = noise()
    before = x.copy()
    x.flags.writeable = False
    render(busy_chain(), x, RATE, 0.1, 1000)
    assert np.array_equal(x, before)


def test_flush_goes_on_where_process_ended() -> None:
    x = noise()
    chain = busy_chain()
    renderer = Renderer(chain, RATE, 2)
    joined = np.concatenate([renderer.process(x), renderer.flush(5000)], axis=1)
    padded = Renderer(chain, RATE, 2).process(np.pad(x, ((0, 0), (0, 5000))))
    assert np.array_equal(joined, padded)
    assert renderer.flush(0).shape == (2, 0)


def test_tail() -> None:
    x = noise()
    chain = Chain((Slot(INVERTER), Slot(INVERTER, amount=0.5), Slot(INVERTER, bypass=True)))
    assert tail_frames(chain, 1000, "auto") == 20
    assert render(chain, x, RATE, 0.5).shape == (2, 12_000 + 22_050)
    for bad in ("long", -1.0, float("nan")):
        with pytest.raises(SettingError, match="tail"):
            render(chain, x, RATE, bad)  # type: ignore[arg-type]  # what a user may type


def test_an_endless_tail_ends() -> None:
    chain = Chain((Slot(replace(INVERTER, tail_s=lambda settings: float("inf"))),))
    assert tail_frames(chain, 1000, "auto") == 60_000


@pytest.mark.parametrize("shape", [(5,), (0, 5), (2, 0), (1, 2, 3)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="shape"):
        render(Chain(), np.zeros(shape), RATE)
    with pytest.raises(AudioError, match="shape"):
        Renderer(Chain(), RATE, 2).process(np.zeros((3, 5)))


# --- files


def gain_chain(gain_db: float) -> Chain:
    return Chain((Slot(effects.get("gain"), {"gain_db": gain_db}),))


def test_file_is_the_array(tmp_path: Path) -> None:
    x, chain = noise(frames=150_000), busy_chain()
    write(tmp_path / "a.wav", Audio(x, RATE), subtype="FLOAT")
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))

    report = render_file(chain, tmp_path / "a.wav", tmp_path / "b.wav", tail_s=0.3, progress=progress)
    expected = render(chain, x, RATE, 0.3)
    assert np.array_equal(read(tmp_path / "b.wav").samples, expected)
    assert (report.frames, report.rate, report.channels) == (expected.shape[1], RATE, 2)
    assert (report.lowered_db, report.output.subtype) == (0.0, "FLOAT")
    measured = measure_loudness(Audio(expected, RATE))
    assert (report.peak_db, report.true_peak_dbtp) == (measured.peak_db, measured.true_peak_dbtp)
    assert calls[-1] == (expected.shape[1], expected.shape[1])
    assert calls == sorted(calls)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_rate_depth_tags_and_length_are_kept(tmp_path: Path, subtype: str) -> None:
    source = Source("x", "WAV", subtype, {"title": "Take 3", "artist": "Björk"})
    for suffix in (".wav", ".flac", ".aiff"):
        write(tmp_path / f"a{suffix}", Audio(noise(), 32_000, source))
        report = render_file(gain_chain(-3.0), tmp_path / f"a{suffix}", tmp_path / f"b{suffix}")
        info = report.output
        assert (info.rate, info.subtype, info.frames, dict(info.tags)) == (
            32_000,
            subtype,
            12_000,
            dict(source.tags),
        )
        assert report.notes == ()


def test_no_effect_keeps_a_16_bit_file_to_the_bit(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", Audio(noise(), RATE), subtype="PCM_16")
    render_file(gain_chain(3.0).scaled(0.0), tmp_path / "a.wav", tmp_path / "b.wav")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_same_job_gives_the_same_file(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "a.wav", Audio(noise(), RATE), subtype="PCM_16")
    for name in ("b", "c"):
        render_file(busy_chain(), tmp_path / "a.wav", tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"b{suffix}").read_bytes() == (tmp_path / f"c{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("suffix", "subtype", "ceiling_db"),
    [
        (".wav", "PCM_16", 0.0),
        (".flac", "PCM_24", 0.0),
        (".wav", "PCM_32", 0.0),
        (".mp3", None, -1.0),
        (".ogg", None, -1.0),
    ],
)
@pytest.mark.parametrize("gain_db", [3.3, 20.0, 40.0])
def test_nothing_clips_silently(
    tmp_path: Path, suffix: str, subtype: str | None, ceiling_db: float, gain_db: float
) -> None:
    x = noise(frames=80_000)
    x[1, -1] = -0.99
    write(tmp_path / "a.wav", Audio(x, RATE), subtype="PCM_24")
    report = render_file(gain_chain(gain_db), tmp_path / "a.wav", tmp_path / f"b{suffix}", subtype=subtype)
    peak_db = 20 * np.log10(0.99) + gain_db
    assert report.lowered_db == pytest.approx(peak_db - ceiling_db, abs=0.0101)
    assert ceiling_db - 0.0101 <= report.peak_db <= ceiling_db
    assert any(f"lowered by {report.lowered_db:.2f} dB" in note for note in report.notes)
    y = read(tmp_path / f"b{suffix}").samples
    expected = render(gain_chain(gain_db - report.lowered_db), read(tmp_path / "a.wav").samples, RATE)
    if ceiling_db == 0.0:
        # one step of 16 bits and its dither
        assert np.abs(y - expected).max() <= 2.1 / 2**15
    else:
        assert np.corrcoef(y.ravel(), expected.ravel())[0, 1] > 0.9


def test_float_files_keep_what_exceeds_full_scale_and_say_so(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", Audio(noise(), RATE), subtype="FLOAT")
    report = render_file(gain_chain(30.0), tmp_path / "a.wav", tmp_path / "b.wav")
    assert report.lowered_db == 0.0
    assert report.peak_db > 10.0
    assert ["float samples keep that" in note for note in report.notes] == [True]


def test_losses_are_said(tmp_path: Path) -> None:
    source = Source("x", "WAV", "FLOAT", {"title": "T", "album": "A"})
    write(tmp_path / "a.wav", Audio(noise(), RATE, source))
    assert render_file(Chain(), tmp_path / "a.wav", tmp_path / "a.flac").notes == (
        "FLOAT samples became PCM_24",
    )
    report = render_file(Chain(), tmp_path / "a.wav", tmp_path / "a.aiff")
    assert report.notes == ("AIFF cannot carry the fields album",)


def test_output_may_replace_its_input(tmp_path: Path) -> None:
    x = noise()
    write(tmp_path / "a.wav", Audio(x, RATE), subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a.wav exists; .*--force"):
        render_file(gain_chain(-6.0), tmp_path / "a.wav", tmp_path / "a.wav")
    render_file(gain_chain(-6.0), tmp_path / "a.wav", tmp_path / "a.wav", force=True)
    assert np.array_equal(read(tmp_path / "a.wav").samples, render(gain_chain(-6.0), x, RATE))
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_a_chain_that_overflows_is_an_error(tmp_path: Path) -> None:
    def explode(x: Samples, rate: float, state: None) -> tuple[Samples, None]:
        return np.where(np.arange(x.shape[1]) == 5, np.nan, x).astype(x.dtype), None

    write(tmp_path / "a.wav", Audio(noise(), RATE))
    chain = Chain((Slot(replace(INVERTER, render=explode, latency=lambda rate, settings: 0)),))
    with pytest.raises(AudioError, match=r"not a number after 0\.00 s"):
        render_file(chain, tmp_path / "a.wav", tmp_path / "b.wav")
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


PEAK = """
import sys
from fxstyle.chain import Chain
from fxstyle.render import render_file
from fxstyle.effects import get
chain = Chain.parse("gain")
render_file(chain.with_settings({"gain.gain_db": -1.0}), sys.argv[1], sys.argv[2])
# Not getrusage: a child's ru_maxrss begins at its parent's.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks_kib = []
    for seconds in (5, 120):
        path = tmp_path / f"{seconds}.wav"
        write(path, Audio(np.tile(noise(frames=RATE), seconds), RATE), subtype="PCM_16")
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / f"out{seconds}.wav")]
        peaks_kib.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
        assert probe(tmp_path / f"out{seconds}.wav").frames == seconds * RATE
    # 115 s more of stereo float32 would be 40 MB if it were held anywhere
    assert peaks_kib[1] - peaks_kib[0] < 8_000
