"""Laws of the synthetic performances: tuned, in time, dry, full-range, dynamic, repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from fxstyle import instruments
from fxstyle.errors import SettingError
from fxstyle.performance import PEAK_DB, SONGS, perform, score

RATE = 44100
ALL_SONGS = range(len(SONGS))


def _peak_hz(x: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Frequency of the strongest partial in a band, refined by a parabola through the log spectrum."""
    n = 2**20
    spectrum = np.log(np.abs(np.fft.rfft(x * np.hanning(x.size), n)) + 1e-12)
    first, last = int(low_hz * n / RATE), int(high_hz * n / RATE)
    k = first + int(np.argmax(spectrum[first:last]))
    a, b, c = spectrum[k - 1 : k + 2]
    return float((k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / n)


def _note(voice: str, midi: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    match voice:
        case "string":
            return instruments.plucked_string(
                RATE, midi, 1.5, 0.8, rng, t60_s=3.0, damping=0.3, pick=0.17, tone_hz=900
            )
        case "piano":
            return instruments.electric_piano(RATE, midi, 1.5, 0.7)
        case _:
            return instruments.lead(RATE, midi, 1.5, 0.7, rng)


@pytest.mark.parametrize(
    ("voice", "midi"),
    [
        *[("string", midi) for midi in (28, 40, 64, 76)],
        *[("piano", midi) for midi in (41, 60, 72)],
        *[("lead", midi) for midi in (62, 83)],
    ],
)
def test_a_note_has_the_pitch_it_was_written_with(voice: str, midi: int) -> None:
    written_hz = instruments.pitch_hz(midi)
    heard_hz = _peak_hz(_note(voice, midi), written_hz / 1.06, written_hz * 1.06)
    cents = 1200.0 * np.log2(heard_hz / written_hz)
    # A trained ear notices 5 cents; the lead's vibrato (22 cents) smears its spectral line.
    assert abs(cents) < (12.0 if voice == "lead" else 2.0)


def test_a_string_decays_by_60_db_in_the_time_asked_for() -> None:
    x = instruments.plucked_string(
        RATE, 52, 2.0, 0.8, np.random.default_rng(0), t60_s=1.6, damping=0.2, pick=0.2, tone_hz=900
    )
    f0, t = instruments.pitch_hz(52), np.arange(x.size) / RATE
    window = int(0.1 * RATE)
    levels = []
    for start_s in (0.3, 1.1):
        i = int(start_s * RATE)
        line = (x * np.exp(-2j * np.pi * f0 * t))[i : i + window] * np.hanning(window)
        levels.append(20 * np.log10(np.abs(line.sum())))
    assert levels[1] - levels[0] == pytest.approx(-60.0 * 0.8 / 1.6, rel=0.03)


@pytest.mark.parametrize("song", ALL_SONGS)
def test_a_performance_is_full_range_dynamic_and_stereo(song: int) -> None:
    x = perform(12.0, RATE, song=song, seed=1)
    assert x.shape == (2, 12 * RATE)
    assert x.dtype == np.float32
    assert 20 * np.log10(np.abs(x).max()) == pytest.approx(PEAK_DB, abs=0.01)

    mid, side = x.astype(float).sum(0) / 2, (x[0].astype(float) - x[1]) / 2
    power, f = np.abs(np.fft.rfft(mid)) ** 2, np.fft.rfftfreq(mid.size, 1 / RATE)
    octaves = [10 * np.log10(power[(f >= a) & (f < 2 * a)].sum()) for a in 40.0 * 2.0 ** np.arange(9)]
    # Recordings fall by 3 to 6 dB an octave; nothing between 40 Hz and 20 kHz is missing.
    assert min(octaves) > max(octaves) - 30.0
    slope = np.polyfit(np.arange(9), octaves, 1)[0]
    assert -5.0 < slope < -0.5

    # Unmastered multitracks have a crest factor of 14 to 22 dB, mastered records 8 to 12.
    assert 13.0 < 20 * np.log10(np.abs(mid).max() / mid.std()) < 24.0
    levels = 20 * np.log10(mid[: mid.size // 2205 * 2205].reshape(-1, 2205).std(1) + 1e-9)
    assert np.percentile(levels, 95) - np.percentile(levels, 10) > 10.0

    assert -26.0 < 20 * np.log10(side.std() / mid.std()) < -6.0


@pytest.mark.parametrize("song", ALL_SONGS)
def test_onsets_lie_on_the_grid_of_the_tempo(song: int) -> None:
    """Of all tempi within 10 %, the onsets gather in phase best at the one that was written."""
    x = perform(24.0, RATE, song=song, seed=2).sum(0)
    hop = 256
    frames = np.lib.stride_tricks.sliding_window_view(x, 1024)[::hop] * np.hanning(1024)
    spectrum = np.log1p(100.0 * np.abs(np.fft.rfft(frames)))
    flux = np.maximum(np.diff(spectrum, axis=0), 0.0).sum(1)
    # A window, lest the loudest onsets of a short stretch leak into neighbouring tempi.
    flux = (flux - flux.mean()) * np.hanning(flux.size)
    t = np.arange(flux.size) * hop / RATE

    def strength(tempo: float) -> float:
        """Magnitude of the onset curve's component at an eighth note of `tempo`."""
        return float(np.abs(np.sum(flux * np.exp(-2j * np.pi * t * tempo / 30.0))))

    tempi = SONGS[song].tempo * np.arange(0.9, 1.1, 0.002)
    heard = tempi[int(np.argmax([strength(tempo) for tempo in tempi]))]
    # 24 s hold 50 to 100 eighths: the peak is 2 % wide, its place is good to a tenth of that.
    assert heard == pytest.approx(SONGS[song].tempo, rel=0.004)


@pytest.mark.parametrize("song", ALL_SONGS)
def test_players_stay_within_their_inaccuracy_and_key(song: int) -> None:
    piece, parts = SONGS[song], score(30.0, song=song, seed=5)
    for note in parts["lead"]:
        assert (note.midi - piece.key) % 12 in piece.scale
    step_s = 15.0 / piece.tempo
    kicks = [n.start_s for n in parts["drums"] if n.midi == 36 and round(n.start_s / step_s) % 2 == 0]
    off_s = [s - round(s / step_s) * step_s for s in kicks]
    assert len(off_s) > 8
    assert max(map(abs, off_s)) < 0.0101
    assert np.std(off_s) > 0.001


def test_the_same_seed_repeats_and_another_does_not() -> None:
    first = perform(3.0, RATE, song=0, seed=4)
    np.testing.assert_array_equal(first, perform(3.0, RATE, song=0, seed=4))
    for other in (perform(3.0, RATE, song=0, seed=5), perform(3.0, RATE, song=1, seed=4)):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.7


def test_the_notes_do_not_depend_on_the_rate_of_the_audio() -> None:
    low, high = perform(4.0, 22050, song=1), perform(4.0, 44100, song=1)
    assert high.shape[1] == 2 * low.shape[1]
    envelopes = [np.abs(x[0]).reshape(200, -1).max(1) for x in (low, high)]
    assert np.corrcoef(*envelopes)[0, 1] > 0.9


def test_a_performance_ends_in_decays() -> None:
    notes = score(12.0, song=3)
    assert max(n.start_s for part in notes.values() for n in part) < 11.0
    x = perform(12.0, RATE, song=3)
    level = [
        float(np.sqrt((x[:, a : a + RATE // 4] ** 2).mean())) for a in (RATE * 10, x.shape[1] - RATE // 4)
    ]
    assert level[1] < 0.1 * level[0]


def test_drums_are_dry() -> None:
    """No room: half a second after the stroke nothing is left of kick, snare, rim and closed hat."""
    rng = np.random.default_rng(0)
    for x in (
        instruments.kick(RATE, 1.0, rng),
        instruments.snare(RATE, 1.0, rng),
        instruments.rim(RATE, 1.0, rng),
        instruments.cymbal(RATE, 1.0, rng, t60_s=0.1),
    ):
        energy = np.cumsum(x[::-1] ** 2)[::-1]
        late = energy[RATE // 2] if x.size > RATE // 2 else 0.0
        assert late < 1e-5 * energy[0]


@pytest.mark.parametrize("song", [-1, len(SONGS)])
def test_an_unknown_song_is_refused(song: int) -> None:
    with pytest.raises(SettingError, match=rf"song = {song}: there are songs 0\.\.5"):
        perform(1.0, RATE, song=song)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_length_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(SettingError, match="positive, finite length"):
        perform(seconds, RATE, song=0)


def test_a_rate_too_low_is_refused() -> None:
    with pytest.raises(SettingError, match="rate = 4000 Hz"):
        perform(1.0, 4000, song=0)


@pytest.mark.parametrize("rate", [8000, 192000])
def test_unusual_rates_and_lengths_work(rate: int) -> None:
    x = perform(1.37, rate, song=5, seed=9)
    assert x.shape == (2, round(1.37 * rate))
    assert np.isfinite(x).all()
