"""Sound files: every format in and out, what is kept, and what a file's samples become."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxstyle.audio import Audio, open_blocks, probe, read, resample, write
from fxstyle.errors import AudioError
from fxstyle.formats import BITS, CONTAINERS, TAGS, Source, container_for, default_subtype, sized
from fxstyle.writing import Writer, quantise

RATE = 44_100
TEXT = {name: f"{name} ä 日本" for name in TAGS}


def noise(channels: int = 2, frames: int = 5000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (channels, frames)).astype(np.float32)


def tone(channels: int = 2, frames: int = RATE, rate: int = RATE) -> np.ndarray:
    t = np.arange(frames) / rate
    swell = np.hanning(frames)
    return np.stack([0.5 * swell * np.sin(2 * np.pi * (440 + 110 * c) * t) for c in range(channels)]).astype(
        np.float32
    )


# --- the record


def test_audio_owns_a_read_only_copy() -> None:
    x = noise()
    audio = Audio(x, RATE)
    x[:] = 0.0
    assert np.abs(audio.samples).max() > 0.5
    assert (audio.channels, audio.frames, audio.duration_s) == (2, 5000, 5000 / RATE)
    with pytest.raises(ValueError, match="read-only"):
        audio.samples[0, 0] = 1.0


@pytest.mark.parametrize(
    ("samples", "rate", "text"),
    [
        (np.zeros(5, np.float32), RATE, r"shape \(channel, time\), got \(5,\)"),
        (np.zeros((1, 5), np.int16), RATE, "must be floats.*int16"),
        (np.zeros((2, 0), np.float32), RATE, "no sound"),
        (np.zeros((5000, 2), np.float32), RATE, "transpose"),
        (np.array([[0.0, 1.0, np.nan]]), RATE, r"sample 2 of channel 1 \(0.000 s\) is nan"),
        (np.array([[0.0, 1.0], [0.0, -np.inf]]), RATE, r"sample 1 of channel 2 .* is -inf"),
        (np.zeros((1, 5), np.float32), 0, "rate"),
        (np.zeros((1, 5), np.float32), 44.5, "rate"),
    ],
)
def test_audio_refuses(samples: np.ndarray, rate: int, text: str) -> None:
    with pytest.raises(AudioError, match=text):
        Audio(samples, rate)


def test_finite_samples_whose_sum_overflows_are_sound() -> None:
    assert Audio(np.full((1, 4), 3e38, np.float32), RATE).frames == 4


# --- integers


@pytest.mark.parametrize(
    ("name", "subtype"),
    [(c.name, s) for c in CONTAINERS.values() for s in c.subtypes if BITS.get(s, 32) <= 24],
)
def test_integers_survive_to_the_bit(tmp_path: Path, name: str, subtype: str) -> None:
    container, top = CONTAINERS[name], 2 ** (BITS[subtype] - 1)
    k = np.random.default_rng(0).integers(-top, top, (2, 4000))
    k[:, :3] = [-top, top - 1, 0]
    path = tmp_path / ("a" + container.suffixes[0])
    write(path, Audio((k / top).astype(np.float32), RATE), subtype=subtype)
    assert probe(path).subtype == subtype
    assert np.array_equal(np.rint(read(path).samples * top), k)


def test_float_and_32_bit_keep_float32(tmp_path: Path) -> None:
    x = noise()
    for suffix, subtype in ((".wav", "FLOAT"), (".wav", "DOUBLE"), (".aiff", "FLOAT"), (".wav", "PCM_32")):
        path = tmp_path / f"{subtype}{suffix}"
        write(path, Audio(x, RATE), subtype=subtype)
        # 32-bit integers have steps of 2^-31, finer than float32 here
        assert np.abs(read(path).samples - x).max() <= 2.0**-31


def test_quantiser_is_unbiased_and_its_noise_independent_of_the_level() -> None:
    # TPDF: the error's mean is 0 and its variance 1/4 step^2 at every level between two steps
    for fraction in (0.1, 0.25, 0.5, 0.9):
        x = np.full((1, 200_000), (100.0 + fraction) / 2**15)
        error = quantise(x, 16, np.random.PCG64(1)).T - x * 2**15
        # 5 standard errors of 200 000 draws
        assert abs(error.mean()) < 5 * 0.5 / np.sqrt(x.size)
        assert error.var() == pytest.approx(0.25, rel=0.02)


def test_undithered_quantiser_rounds() -> None:
    x = np.array([[0.3, -0.3, 0.7, 1.0 * 2**23, -(2.0**23)]]) / 2**23
    assert quantise(x, 24, None).T.tolist() == [[0, 0, 1, 2**23 - 1, -(2**23)]]


@pytest.mark.parametrize("block", [1, 7, 1000, 5000])
def test_dither_does_not_depend_on_blocks(tmp_path: Path, block: int) -> None:
    x = noise(frames=2000)
    whole = tmp_path / "whole.wav"
    write(whole, Audio(x, RATE), subtype="PCM_16")
    path = tmp_path / "blocks.wav"
    with Writer(path, RATE, 2, container=CONTAINERS["WAV"], subtype="PCM_16") as writer:
        for start in range(0, 2000, block):
            writer.write(x[:, start : start + block])
    assert path.read_bytes() == whole.read_bytes()


def test_silence_stays_silent_at_16_bits(tmp_path: Path) -> None:
    x = noise(frames=2000)
    x[:, 500:1000] = 0.0
    write(tmp_path / "a.wav", Audio(x, RATE), subtype="PCM_16")
    assert not read(tmp_path / "a.wav").samples[:, 500:1000].any()


# --- lossy


@pytest.mark.parametrize(("suffix", "rate"), [(".ogg", 44_100), (".opus", 48_000), (".mp3", 44_100)])
def test_lossy_formats_keep_length_place_and_sound(tmp_path: Path, suffix: str, rate: int) -> None:
    x = tone(rate=rate, frames=rate)
    path = tmp_path / f"a{suffix}"
    info = write(path, Audio(x, rate))
    y = read(path).samples
    assert (info.rate, info.channels, info.frames) == (rate, 2, rate)
    assert y.shape == x.shape
    # at the bit rates chosen the codecs' error on tones lies 30 dB or more below the sound
    assert np.sqrt(np.mean((y - x) ** 2)) < 0.03 * np.sqrt(np.mean(x**2))


# --- what is kept


@pytest.mark.parametrize("suffix", [".wav", ".rf64", ".flac", ".aiff", ".ogg", ".opus", ".mp3"])
def test_tags_survive_where_the_table_says_so(tmp_path: Path, suffix: str) -> None:
    container = container_for(Path(f"x{suffix}"))
    path = tmp_path / f"a{suffix}"
    write(path, Audio(tone(rate=48_000), 48_000, Source("x", "FLAC", "PCM_24", TEXT)))
    kept = {name: text for name, text in TEXT.items() if name not in container.lost_tags}
    found = dict(probe(path).tags)
    if container.name == "AIFF":
        # fields of AIFF's own, which libsndfile keeps to ASCII
        for name in ("copyright", "software"):
            assert found.pop(name).startswith(kept.pop(name).split()[0])
    assert found == kept
    # a second generation adds nothing, in particular not the library's mark
    again = tmp_path / f"b{suffix}"
    write(again, read(path))
    assert dict(probe(again).tags).items() >= found.items()


@pytest.mark.parametrize(
    ("container", "subtype", "expected"),
    [
        ("WAV", "PCM_16", "PCM_16"), ("WAV", "FLOAT", "FLOAT"), ("WAV", "VORBIS", "PCM_24"),
        ("WAV", "ULAW", "PCM_16"), ("WAV", "PCM_S8", "PCM_U8"), ("WAV", None, "PCM_24"),
        ("FLAC", "FLOAT", "PCM_24"), ("FLAC", "PCM_32", "PCM_24"), ("FLAC", "PCM_U8", "PCM_S8"),
        ("FLAC", "PCM_16", "PCM_16"), ("AIFF", "DOUBLE", "DOUBLE"), ("MP3", "PCM_24", "MPEG_LAYER_III"),
        ("OGG", "PCM_24", "VORBIS"), ("OPUS", "PCM_24", "OPUS"),
    ],
)  # fmt: skip
def test_depth_is_kept_or_the_nearest_taken(container: str, subtype: str | None, expected: str) -> None:
    source = None if subtype is None else Source("x", "X", subtype)
    assert default_subtype(CONTAINERS[container], source) == expected


@pytest.mark.parametrize("rate", [1000, 8000, 44_101, 96_000, 384_000])
@pytest.mark.parametrize("channels", [1, 3, 64])
def test_odd_rates_and_many_channels(tmp_path: Path, rate: int, channels: int) -> None:
    x = noise(channels, 300)
    info = write(tmp_path / "a.wav", Audio(x, rate), subtype="FLOAT")
    audio = read(tmp_path / "a.wav")
    assert (info.rate, info.channels, info.frames) == (rate, channels, 300)
    assert np.array_equal(audio.samples, x)


def test_one_sample(tmp_path: Path) -> None:
    for suffix in (".wav", ".flac", ".aiff"):
        write(tmp_path / f"a{suffix}", Audio(np.array([[0.5]]), RATE))
        assert read(tmp_path / f"a{suffix}").samples.tolist() == [[0.5]]


def test_wav_becomes_rf64_beyond_4_gib(tmp_path: Path) -> None:
    wav = CONTAINERS["WAV"]
    hour = 3600 * 192_000
    assert sized(wav, "PCM_24", 2, hour // 2).name == "WAV"
    assert sized(wav, "PCM_24", 2, 2 * hour).name == "RF64"
    with Writer(
        tmp_path / "a.wav", 192_000, 2, container=wav, subtype="PCM_24", frames=2 * hour
    ) as writer:  # a promise that is not kept does no harm
        writer.write(noise())
    assert probe(tmp_path / "a.wav").container == "RF64"
    assert read(tmp_path / "a.wav").frames == 5000


# --- reading


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg", ".mp3"])
@pytest.mark.parametrize("block", [1, 997, 4096, 100_000])
def test_blocks_join_to_the_whole(tmp_path: Path, suffix: str, block: int) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, Audio(tone(frames=3000 if block == 1 else RATE), RATE))
    with open_blocks(path, block) as reader:
        blocks = list(reader)
    assert all(b.shape[1] == block for b in blocks[:-1])
    assert np.array_equal(np.concatenate(blocks, axis=1), read(path).samples)
    assert reader.notes == []


def test_files_are_known_by_content_not_by_name(tmp_path: Path) -> None:
    for true, false in ((".mp3", ".wav"), (".wav", ".mp3"), (".flac", ".ogg")):
        write(tmp_path / f"a{true}", Audio(tone(), RATE))
        shutil.move(tmp_path / f"a{true}", tmp_path / f"b{false}")
        assert read(tmp_path / f"b{false}").frames == RATE


ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@ffmpeg
@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "ogg", "mp3"])
def test_files_sent_through_a_pipe_are_whole(tmp_path: Path, kind: str) -> None:
    # such files have no length in their header, or a wrong one
    x = tone()
    write(tmp_path / "a.wav", Audio(x, RATE), subtype="PCM_16")
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), "-f", kind, "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    path = tmp_path / f"piped.{kind}"
    path.write_bytes(data)
    audio = read(path)
    assert probe(path).notes == ()
    # MP3 without a length keeps the padding of its first and last packets
    assert 0 <= audio.frames - RATE <= (2304 if kind == "mp3" else 0)


@ffmpeg
@pytest.mark.parametrize("suffix", [".wav", ".rf64", ".flac", ".aiff", ".ogg", ".opus", ".mp3"])
def test_others_read_what_we_write(tmp_path: Path, suffix: str) -> None:
    x = tone(rate=48_000, frames=48_000)
    path = tmp_path / f"a{suffix}"
    write(path, Audio(x, 48_000, Source("x", "FLAC", "PCM_24", {"title": "Tïtle 日本"})))
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-"]
    data = subprocess.run(command, capture_output=True, check=True)
    assert data.stderr == b""
    y = np.frombuffer(data.stdout, np.float32).reshape(-1, 2).T[:, : x.shape[1]]
    assert np.sqrt(np.mean((y - x[:, : y.shape[1]]) ** 2)) < 0.03 * np.sqrt(np.mean(x**2))
    # ffprobe keeps an Ogg's tags with the stream, others' with the format
    found = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", str(path)],
        capture_output=True, check=True, encoding="utf-8",
    )  # fmt: skip
    assert "Tïtle 日本" in found.stdout


# --- rates


def test_resampled_sine_is_the_sine_at_the_other_rate() -> None:
    t = np.arange(RATE) / RATE
    y = resample(Audio(0.5 * np.sin(2 * np.pi * 1000 * t)[None], RATE), 48_000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    assert y.frames == 48_000
    # away from the ends, where the sine starts from nothing; float32 gives about -140 dB
    assert np.abs(y.samples[0, 500:-500] - expected[500:-500]).max() < 1e-6


@pytest.mark.parametrize("rate", [1000, 8000, 22_050, 44_101, 96_000, 384_000])
def test_resampling_keeps_the_length(rate: int) -> None:
    audio = Audio(noise(1, 12_345), RATE, Source("x", "WAV", "PCM_16"))
    y = resample(audio, rate)
    assert y.frames == round(12_345 * rate / RATE)
    assert (y.rate, y.source) == (rate, audio.source)


def test_same_rate_is_the_same_audio() -> None:
    audio = Audio(noise(), RATE)
    assert resample(audio, RATE) is audio


def test_the_table_of_formats_is_true_of_the_library() -> None:
    for container in CONTAINERS.values():
        for subtype in container.subtypes:
            assert soundfile.check_format(container.format, subtype)
