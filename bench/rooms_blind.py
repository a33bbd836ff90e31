"""How well fxstyle/rooms/blind.py hears rooms of which it has no dry recording.

    nice python bench/rooms_blind.py [--learned-rooms] [--stft]

Reference: A through a measured response; input: B, dry and other. Truth: ISO 3382 T20 and C50 of the
response, in the octaves 125 Hz .. 4 kHz where T20 can be trusted. The rooms, plates, voices and instruments
judged on are those of the test split; --learned-rooms adds the rooms that blind.json was learned on, with
voices it was not learned on. --stft adds a multi-resolution STFT loss with 60 Adam steps (minutes).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import scipy.signal
import torch
from rooms_blind_set import Room, Sound, in_room, load, pieces, rooms, speaker
from rooms_row import Row

from fxstyle.dsp.convolve import convolve
from fxstyle.dsp.decays import decays
from fxstyle.dsp.lagrange import lagrange_taps
from fxstyle.dsp.noise import noise_bands
from fxstyle.rooms import blind
from fxstyle.rooms.simulate import T60_RANGE_S, grid, simulate
from fxstyle.rooms.slopes import WORK_RATE, common_floor, describe, octave_levels
from fxstyle.units import NEPERS_OF_60_DB

Floats = npt.NDArray[np.float64]
SECONDS = 5.0
JUDGED = slice(1, 7)
MIDDLE = slice(3, 6)
NEIGHBOURS = 8
STFT_STEPS, STFT_RATE = 60, 0.1
EQ_DB = 12.0

T60_TARGET, MIDDLE_TARGET, C50_TARGET_DB = 0.16, 0.15, 1.6
ACROSS_TARGET, ACROSS_C50_TARGET_DB = 0.25, 3.0

NEW_VOICES = (("male", "female"), ("female", "male"))
KNOWN_INPUTS = (("male", "kathleen"), ("female", "kerstin"))
ACROSS = (
    ("male", "drums"), ("drums", "male"), ("female", "strum"), ("strum", "female"),
    ("drums", "strum"), ("lead", "male"), ("male", "lead"), ("piano", "female"),
)  # fmt: skip
"""Played in the reference, and in the input. Learning knew kathleen and kerstin, but no other of these."""

Method = Callable[[Sound, Sound], tuple[Floats, Floats]]


@cache
def content(name: str, seconds: float) -> Sound:
    """Return a dry recording of the test split, or a voice of the train split."""
    phrases = {"drums": "drumkit_rock_sonicpi", "strum": "egtr_di_strum_shiny", "lead": "egtr_di_lead_emily",
               "piano": "piano_pop_splendid"}  # fmt: skip
    if name in phrases:
        whole = load(f"oneshots_loops/phrases/{phrases[name]}.flac")
    else:
        whole = speaker({"male": "sms_speech-male", "female": "sms_speech-female"}.get(name, name))
    return next(pieces("", name, whole, seconds, 1)).sound


@dataclass(frozen=True)
class Case:
    """A reference in a room, and a dry input."""

    reference: Sound
    dry: Sound
    room: Room


def cases(
    pairs: Iterable[tuple[str, str]],
    places: Iterable[Room],
    *,
    seconds: float = SECONDS,
    snr_db: float | None = None,
    equalised: bool = False,
) -> Iterator[Case]:
    """Yield all pairs in all rooms."""
    for i, place in enumerate(places):
        for k, (a, b) in enumerate(pairs):
            rng = np.random.default_rng([i, k])
            wet = in_room(content(a, seconds), place.response, snr_db=snr_db, rng=rng)
            yield Case(_equalised(wet, rng) if equalised else wet, content(b, SECONDS), place)


def _equalised(x: Sound, rng: np.random.Generator) -> Sound:
    """Return x with a random gain of at most EQ_DB either way in each octave, linear phase."""
    hz = np.concatenate([[0.0], 62.5 * 2.0 ** np.arange(8), [WORK_RATE / 2.0]])
    gain = 10.0 ** (rng.uniform(-EQ_DB, EQ_DB, hz.size) / 20.0)
    y = scipy.signal.fftconvolve(x, scipy.signal.firwin2(1025, hz, gain, fs=WORK_RATE), "same")
    return np.asarray(y, np.float32)


@dataclass(frozen=True)
class Score:
    """Median errors of T60 as shares, mean error of C50 in dB, and how many octaves that is."""

    t60: float
    middle: float
    c50_db: float
    count: int

    def __str__(self) -> str:
        return f"T60 {100 * self.t60:.0f} %, 500-2k {100 * self.middle:.0f} %, C50 {self.c50_db:.1f} dB"


def score(method: Method, some: Iterable[Case]) -> Score:
    """Return how far a method is off."""
    wrong, middle, clarity = [], [], []
    for case in some:
        t60_s, c50_db = method(case.reference, case.dry)
        error = np.abs(t60_s / case.room.t60_s - 1.0)
        wrong.append(error[JUDGED])
        middle.append(error[MIDDLE])
        clarity.append(np.abs(c50_db - case.room.c50_db)[JUDGED])
    flat = [np.concatenate(errors) for errors in (wrong, middle, clarity)]
    count = int(np.isfinite(flat[0]).sum())
    return Score(
        float(np.nanmedian(flat[0])), float(np.nanmedian(flat[1])), float(np.nanmean(flat[2])), count
    )


def ours(reference: Sound, dry: Sound) -> tuple[Floats, Floats]:
    """The estimate."""
    found = blind.estimate(reference[None], WORK_RATE, dry[None])
    return found.t60_s, found.c50_db


def without_dry(reference: Sound, dry: Sound) -> tuple[Floats, Floats]:
    """The estimate from the reference alone."""
    found = blind.estimate(reference[None], WORK_RATE)
    return found.t60_s, found.c50_db


def prior_mean(reference: Sound, dry: Sound) -> tuple[Floats, Floats]:
    """The rooms of the train split on average, whatever is heard."""
    known = rooms("train")
    t60_s = np.exp(np.nanmean(np.log([r.t60_s for r in known]), axis=0))
    return t60_s, np.nanmean([r.c50_db for r in known], axis=0)


def neighbours(reference: Sound, dry: Sound) -> tuple[Floats, Floats]:
    """Octave by octave the nearest simulations, all features alike; nearer ones count for more."""
    t60_s, level_db = grid(384)
    material = torch.from_numpy(np.resize(dry, reference.size))
    levels = octave_levels(torch.from_numpy(reference))
    floor = common_floor(levels, octave_levels(material))
    log_t = t60_s.log()[:, None].expand(-1, level_db.numel()).flatten()
    c50_db = blind.c50_of(t60_s[:, None], level_db).clamp(*blind.C50_RANGE_DB).flatten()
    found = []
    for b, simulated in enumerate(simulate(material, t60_s, level_db)):
        features = describe(simulated, floor[b]).flatten(0, 1)
        apart = (features - describe(levels[b], floor[b])) / features.std(dim=0).clamp_min(0.05)
        near = apart.abs().mean(dim=1).topk(NEIGHBOURS, largest=False)
        share = (-(near.values - near.values[0]) / near.values.std()).softmax(dim=0).double()
        found.append(((share @ log_t[near.indices]).exp(), share @ c50_db[near.indices]))
    t, c = (torch.stack(values).numpy() for values in zip(*found, strict=True))
    return t, c


def stft(reference: Sound, dry: Sound) -> tuple[Floats, Floats]:
    """Adam on T60 and level of each octave under auraloss' multi-resolution STFT loss, nothing aligned."""
    import auraloss

    loss = auraloss.freq.MultiResolutionSTFTLoss()
    x, y = (torch.from_numpy(s / np.sqrt(np.square(s).mean()))[None, None] for s in (dry, reference))
    log_t = torch.full((1, 8), math.log(0.8), dtype=torch.float64, requires_grad=True)
    level = torch.zeros((1, 8), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam(
        [{"params": [log_t], "lr": STFT_RATE}, {"params": [level], "lr": 10 * STFT_RATE}]
    )
    count = x.shape[-1]
    noise, taps = noise_bands(WORK_RATE, 1, count), lagrange_taps(torch.zeros(1, dtype=torch.float64))
    for _ in range(STFT_STEPS):
        optimiser.zero_grad()
        decay = NEPERS_OF_60_DB / (log_t.exp() * WORK_RATE)
        gain = 10.0 ** (level / 20.0) * (-torch.expm1(-2.0 * decay)).sqrt()
        h = decays(gain, decay, taps, noise, np.zeros(1, np.int64), np.full(1, count), torch.float32)
        made = x + convolve(x, h)
        loss(made / made.square().mean().sqrt(), y).backward()
        optimiser.step()
    t60_s = log_t.detach().exp().clamp(*T60_RANGE_S)[0]
    c50_db = blind.c50_of(t60_s, level.detach()[0]).clamp(*blind.C50_RANGE_DB)
    return t60_s.numpy(), c50_db.numpy()


def _split() -> tuple[list[Room], list[Room]]:
    """Return rooms and plates of the test split."""
    found = rooms("test")
    return [r for r in found if not r.name.startswith("plate")], [
        r for r in found if r.name.startswith("plate")
    ]


def like_rows() -> Iterator[Row]:
    """Speech to speech, and the same cases by other methods."""
    real, plates = _split()
    target = f"<= {100 * T60_TARGET:.0f} %, {100 * MIDDLE_TARGET:.0f} %, {C50_TARGET_DB:.1f} dB"
    for name, pairs, places in (
        ("rooms and plates", (*NEW_VOICES, *KNOWN_INPUTS), real + plates),
        ("rooms", (*NEW_VOICES, *KNOWN_INPUTS), real),
        ("plates", (*NEW_VOICES, *KNOWN_INPUTS), plates),
        ("rooms and plates, new input voices", NEW_VOICES, real + plates),
        ("rooms and plates, input voices known from learning", KNOWN_INPUTS, real + plates),
    ):
        s = score(ours, cases(pairs, places))
        met = s.t60 <= T60_TARGET and s.middle <= MIDDLE_TARGET and s.c50_db <= C50_TARGET_DB
        yield Row(f"blind, speech to speech, 5 s, {name} ({s.count} octaves)", str(s), target, met)
    for name, method in (("mean of the train rooms", prior_mean), ("nearest neighbours only", neighbours)):
        s = score(method, cases((*NEW_VOICES, *KNOWN_INPUTS), real + plates))
        yield Row(f"  rooms and plates, {name}", str(s), "worse", None)


def across_rows() -> Iterator[Row]:
    """Speech to instruments and back, and no input at all."""
    places = [*_split()[0], *_split()[1]]
    target = f"<= {100 * ACROSS_TARGET:.0f} %, -, {ACROSS_C50_TARGET_DB:.1f} dB"
    s = score(ours, cases(ACROSS, places))
    met = s.t60 <= ACROSS_TARGET and s.c50_db <= ACROSS_C50_TARGET_DB
    yield Row(f"blind, across classes, 5 s ({s.count} octaves)", str(s), target, met)
    for a, b in ACROSS:
        yield Row(f"  {a} in the room, {b} as input", str(score(ours, cases([(a, b)], places))), "", None)
    for a in ("male", "female", "drums", "strum"):
        s = score(without_dry, cases([(a, a)], places))
        yield Row(f"blind, {a} in the room, no dry input", str(s), "", None)


def degraded_rows() -> Iterator[Row]:
    """Noise, shorter references, an equaliser."""
    places, pairs = [*_split()[0], *_split()[1]], NEW_VOICES
    for snr_db in (30.0, 20.0, 10.0):
        s = score(ours, cases(pairs, places, snr_db=snr_db))
        yield Row(f"blind, speech to speech, SNR {snr_db:.0f} dB", str(s), "", None)
    for seconds in (8.0, 5.0, 3.0, 1.5):
        s = score(ours, cases(pairs, places, seconds=seconds))
        yield Row(f"blind, speech to speech, {seconds:g} s", str(s), "", None)
    s = score(ours, cases(pairs, places, equalised=True))
    yield Row(f"blind, speech to speech, +-{EQ_DB:.0f} dB of EQ on the reference", str(s), "", None)


def honesty_rows() -> Iterator[Row]:
    """Whether dry recordings are seen to be dry, rooms not, and whether confidence is what it says."""
    places = [*_split()[0], *_split()[1]]
    names = ("male", "female", "drums", "strum", "lead", "piano")
    dry = [
        blind.estimate(content(a, SECONDS)[None], WORK_RATE, content(b, SECONDS)[None])
        for a in names for b in names if a != b
    ]  # fmt: skip
    right = sum(e.dry for e in dry)
    yield Row("blind, dry recordings called dry", f"{right} of {len(dry)}", f"{len(dry)}", right == len(dry))
    missed, confidence, near = 0, [], []
    count, began = 0, time.perf_counter()
    for case in cases((*NEW_VOICES, *ACROSS[:4]), places):
        e = blind.estimate(case.reference[None], WORK_RATE, case.dry[None])
        count += 1
        missed += e.dry
        known = np.isfinite(case.room.t60_s)
        known[[0, 1, 7]] = False
        confidence.append(e.confidence)
        near += [np.abs(np.log(e.t60_s / case.room.t60_s))[known] < blind.NEAR]
    seconds = (time.perf_counter() - began) / count
    yield Row("blind, rooms called dry", f"{missed} of {count}", "0", missed == 0)
    sure, hits = np.array(confidence), np.array([n.mean() for n in near])
    half = np.median(sure)
    yield Row(
        "blind, confidence against the share of octaves right to a quarter",
        f"{sure[sure > half].mean():.2f}: {hits[sure > half].mean():.2f};"
        f" {sure[sure <= half].mean():.2f}: {hits[sure <= half].mean():.2f}",
        "alike", None,
    )  # fmt: skip
    yield Row("blind, time for a reference of 5 s", f"{seconds:.1f} s", "3 to 6 s", seconds <= 6.0)


def rows() -> Iterator[Row]:
    """Yield the whole table but the slow extras."""
    yield from like_rows()
    yield from across_rows()
    yield from degraded_rows()
    yield from honesty_rows()


def main() -> None:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--learned-rooms", action="store_true")
    parser.add_argument("--stft", action="store_true")
    options = parser.parse_args()

    def show(row: Row) -> None:
        print(
            f"{row.what:82s} {row.measured:44s} {row.target:44s} {'' if row.met is None else row.met}",
            flush=True,
        )

    for row in rows():
        show(row)
    if options.learned_rooms:
        show(
            Row(
                "learned rooms, speech to speech",
                str(score(ours, cases(NEW_VOICES, rooms("train")))),
                "",
                None,
            )
        )
    if options.stft:
        places = [*_split()[0], *_split()[1]]
        for name, method in (("multi-resolution STFT, 60 Adam steps", stft), ("ours", ours)):
            s = score(method, cases(NEW_VOICES[:1], places))
            show(Row(f"male to female, {name}", str(s), "", None))


if __name__ == "__main__":
    main()
