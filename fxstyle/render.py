"""A chain over a stream of any length, in blocks, in constant memory.

For a slot whose effect is late by l_i samples,

    y_i[n] = d_i[n - l_i] + a_i (f_i(x_i)[n] - d_i[n - l_i]),     y_i[n] = f_i(x_i)[n] for a_i = 1

with d_i = x_i, but for effects with a `dry` of their own,

so dry and wet stay aligned, the whole is late by the sum of the l_i, and `render` takes that many
samples off the front. A slot begins when what comes before it has caught up, so that every oscillator
starts with the recording, as in `forward`. A slot that is bypassed or has amount 0 is not run at all: the
identity to the bit.

Nothing is clipped silently. A file whose sample format ends at full scale is rendered once more, lower by
a constant gain, if its peak would exceed 0 dBFS (for MP3, Ogg and Opus -1 dBFS: decoded peaks exceed
encoded ones; the margin is that of AES TD1008 and EBU R 128). Float files are left as they are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fxstyle.audio import BLOCK, Info, Writer, container_for, default_subtype, open_blocks, probe
from fxstyle.chain import Chain, Slot
from fxstyle.effect import Samples
from fxstyle.errors import AudioError, SettingError
from fxstyle.formats import BITS, FLOATS, Container
from fxstyle.loudness import PeakMeter
from fxstyle.units import amplitude_to_db, db_to_amplitude

LONGEST_AUTO_TAIL_S = 60.0
"""Where `tail_s="auto"` ends: a delay that feeds back nearly all of itself would ring for ever."""

LOSSY_CEILING_DB = -1.0

_LOWERING_STEP_DB = 0.01
"""A lowered file is lowered by a multiple of this, so that the number reported is exact."""

_ROUNDING_DB = 1e-5
"""Room for the rounding of float32 when the level is lowered to the ceiling exactly."""

Tail = float | Literal["auto"]
Progress = Callable[[int, int], None]
"""Called with the frames done and the frames there are; the first may slightly exceed the second."""


class _Stage:
    """One running slot: the state of the effect and of its dry path, and the dry signal that has to wait.

    `early` samples come from the slots before it ahead of the recording's first: they are left out.
    """

    def __init__(self, slot: Slot, rate: int, channels: int, early: int) -> None:
        self._early = early
        self._slot, self._rate = slot, rate
        self.latency = slot.effect.latency(rate, slot.settings)
        self._state: Any = None
        self._dry_state: Any = None
        self._waiting: Samples | None = None
        self._mixes = slot.amount < 1.0
        self._channels = channels

    def process(self, x: Samples) -> Samples:
        if not self._early:
            return self._run(x)
        left_out = min(self._early, x.shape[1])
        self._early -= left_out
        nothing = np.zeros((self._channels, left_out), dtype=x.dtype)
        if left_out == x.shape[1]:
            return nothing
        return np.concatenate([nothing, self._run(x[:, left_out:])], axis=1)

    def _run(self, x: Samples) -> Samples:
        wet, self._state = self._slot.effect.render(x, self._rate, self._state, **self._slot.settings)
        if not self._mixes:
            return wet
        dry = self._late(self._dry(x))
        return dry + x.dtype.type(self._slot.amount) * (wet - dry)

    def _dry(self, x: Samples) -> Samples:
        dry = self._slot.effect.dry
        if dry is None:
            return x
        y, self._dry_state = dry.render(x, self._rate, self._dry_state, **self._slot.settings)
        return y

    def _late(self, x: Samples) -> Samples:
        if not self.latency:
            return x
        if self._waiting is None:
            self._waiting = np.zeros((self._channels, self.latency), dtype=x.dtype)
        joined = np.concatenate([self._waiting, x], axis=1)
        self._waiting = joined[:, x.shape[1] :].copy()
        return joined[:, : x.shape[1]]


class Renderer:
    """A chain with the state of every slot, fed block by block.

    Parameters
    ----------
    chain: what to run; its inactive slots are left out.
    rate: in Hz.
    channels: of every block.
    """

    def __init__(self, chain: Chain, rate: int, channels: int) -> None:
        self.channels = channels
        stages: list[_Stage] = []
        for slot in chain:
            if slot.active:
                stages.append(_Stage(slot, rate, channels, sum(stage.latency for stage in stages)))
        self._stages = tuple(stages)
        self._dtype: np.dtype[Any] = np.dtype(np.float32)

    @property
    def latency(self) -> int:
        """Samples by which the output is late."""
        return sum(stage.latency for stage in self._stages)

    def process(self, block: Samples) -> Samples:
        """Return the output for the next block (channel, time), of the same length; may be the same array.

        Raises AudioError if the block has other channels.
        """
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise AudioError(f"render: a block of shape {block.shape} is not ({self.channels}, time)")
        self._dtype = block.dtype
        if not block.shape[1]:
            return block
        for stage in self._stages:
            block = stage.process(block)
        return block

    def flush(self, frames: int) -> Samples:
        """Return what comes out while `frames` samples of silence go in: the late end and the tail."""
        blocks = [
            self.process(np.zeros((self.channels, min(BLOCK, frames - start)), dtype=self._dtype))
            for start in range(0, frames, BLOCK)
        ]
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((self.channels, 0), dtype=self._dtype)


def _whole_tail_s(chain: Chain) -> float:
    return sum(slot.effect.tail_s(slot.settings) for slot in chain if slot.active)


def _silently_less(chain: Chain, channels: int, tail_s: Tail) -> Iterator[str]:
    """Yield what the user asked for and does not get: the end of a long tail, stereo knobs on mono."""
    if tail_s == "auto" and (whole_s := _whole_tail_s(chain)) > LONGEST_AUTO_TAIL_S:
        yield (
            f"the tail was cut after {LONGEST_AUTO_TAIL_S:g} s; the effects would ring for {whole_s:.0f} s"
            " (give --tail in seconds for more)"
        )
    if channels != 1:
        return
    for slot in chain:
        knobs = [param for param in slot.effect.params if param.stereo and slot.active]
        turned = [param.name for param in knobs if slot.settings[param.name] != param.default]
        if turned:
            yield f"the input is mono, so these do nothing: {', '.join(f'{slot.name}.{n}' for n in turned)}"


def tail_frames(chain: Chain, rate: int, tail_s: Tail) -> int:
    """Return the length of the tail in samples; "auto" is the sum of the slots' tails, at most 60 s.

    Raises SettingError if it is neither "auto" nor a time from 0.
    """
    if tail_s == "auto":
        return math.ceil(min(_whole_tail_s(chain), LONGEST_AUTO_TAIL_S) * rate)
    if not isinstance(tail_s, (int, float)) or not math.isfinite(tail_s) or tail_s < 0.0:
        raise SettingError(f'tail = {tail_s!r} s must be "auto" or a number of seconds from 0')
    return round(tail_s * rate)


def stream(
    chain: Chain, blocks: Iterable[Samples], rate: int, channels: int, tail: int = 0
) -> Iterator[Samples]:
    """Yield the chain's output, aligned with its input and as long, plus `tail` samples."""
    renderer = Renderer(chain, rate, channels)
    late = renderer.latency
    for block in blocks:
        out = renderer.process(block)
        if late:
            skipped = min(late, out.shape[1])
            late -= skipped
            out = out[:, skipped:]
        if out.shape[1]:
            yield out
    # what is still late of the latency after a short input is silence before its first sample
    rest = renderer.latency + tail
    for start in range(0, rest, BLOCK):
        out = renderer.flush(min(BLOCK, rest - start))
        skipped = min(late, out.shape[1])
        late -= skipped
        if out.shape[1] > skipped:
            yield out[:, skipped:]


def _cut(samples: Samples, block: int) -> Iterator[Samples]:
    for start in range(0, samples.shape[1], block):
        yield samples[:, start : start + block]


def render(chain: Chain, samples: Samples, rate: int, tail_s: Tail = 0.0, block: int = BLOCK) -> Samples:
    """Return the chain's output for samples (channel, time), aligned and as long, plus the tail.

    The input is not changed, and the block size changes nothing but the speed.
    Raises AudioError if `samples` is not of that shape, SettingError for a bad tail.
    """
    if samples.ndim != 2 or not samples.size:
        raise AudioError(f"render: samples must have the shape (channel, time), got {samples.shape}")
    tail = tail_frames(chain, rate, tail_s)
    out = np.empty((samples.shape[0], samples.shape[1] + tail), dtype=samples.dtype)
    filled = 0
    for part in stream(chain, _cut(samples, block), rate, samples.shape[0], tail):
        out[:, filled : filled + part.shape[1]] = part
        filled += part.shape[1]
    return out


@dataclass(frozen=True)
class RenderReport:
    """What became of a file.

    Attributes
    ----------
    output: what was written.
    frames, rate, channels: of the output.
    peak_db, true_peak_dbtp: of the output as rendered, after any lowering.
    lowered_db: by how much the level was lowered to stay below full scale; 0 if not.
    seconds: that the work took.
    notes: what the user should know, in plain words.
    """

    output: Info
    frames: int
    rate: int
    channels: int
    peak_db: float
    true_peak_dbtp: float
    lowered_db: float
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """One file to be rendered, once or twice."""

    chain: Chain
    found: Info
    path: Path
    container: Container
    subtype: str
    tail: int
    force: bool
    progress: Progress | None

    def run(self, lowered_db: float, ceiling: float) -> _Run:
        """Render to the output, or, from the first sample beyond `ceiling` on, only measure."""
        found = self.found
        peaks = PeakMeter(found.rate, found.channels)
        total, done, fits = found.frames + self.tail, 0, True
        with (
            open_blocks(found.path) as reader,
            Writer(
                self.path, found.rate, found.channels, container=self.container, subtype=self.subtype,
                tags=found.tags, frames=total, force=self.force,
            ) as writer,
        ):  # fmt: skip
            for part in stream(self.chain, reader, found.rate, found.channels, self.tail):
                if not np.isfinite(part).all():
                    raise AudioError(
                        f"{found.path}: the chain's output is not a number after {done / found.rate:.2f} s;"
                        " its settings are too extreme for this sound"
                    )
                out = part * part.dtype.type(db_to_amplitude(-lowered_db)) if lowered_db else part
                peaks.update(out)
                if fits and peaks.peak > ceiling:
                    fits = False
                    writer.discard()
                if fits:
                    writer.write(out)
                done += out.shape[1]
                if self.progress is not None:
                    self.progress(done, total)
        return _Run(peaks, done, fits, (*reader.notes, *self._losses(writer)))

    def _losses(self, writer: Writer) -> Iterator[str]:
        if writer.lost_tags:
            yield f"{self.container.name} cannot carry the fields {', '.join(writer.lost_tags)}"
        depth = BITS.get(self.subtype, 0)
        if (self.found.subtype in FLOATS and depth) or BITS.get(self.found.subtype, 0) > depth > 0:
            yield f"{self.found.subtype} samples became {self.subtype}"


@dataclass(frozen=True)
class _Run:
    peaks: PeakMeter
    frames: int
    fits: bool
    notes: tuple[str, ...]


def render_file(
    chain: Chain,
    input_path: str | Path,
    output_path: str | Path,
    *,
    tail_s: Tail = 0.0,
    force: bool = False,
    subtype: str | None = None,
    progress: Progress | None = None,
) -> RenderReport:
    """Render a file through a chain in constant memory; the output appears whole or not at all.

    Rate, channels, depth and tags of the input are kept where the output's container carries them.

    Parameters
    ----------
    tail_s: seconds to go on after the input's end, or "auto" until the effects have decayed.
    force: replace an existing output (which may be the input).
    subtype: sample format of the output, for example "PCM_24"; by default the input's.
    progress: called after every block; starts again if the file has to be rendered twice.

    Raises
    ------
    AudioError: the input cannot be read or the output not written. SettingError: a bad tail.
    """
    began = time.perf_counter()
    found, path = probe(input_path), Path(output_path)
    container = container_for(path)
    kind = subtype or default_subtype(container, found.source())
    job = _Job(chain, found, path, container, kind, tail_frames(chain, found.rate, tail_s), force, progress)
    ceiling_db = math.inf if kind in FLOATS else LOSSY_CEILING_DB if container.lossy else 0.0
    run = job.run(0.0, db_to_amplitude(ceiling_db))
    lowered_db = 0.0
    comment: tuple[str, ...] = ()
    peak_db = amplitude_to_db(run.peaks.peak)
    if not run.fits:
        steps = math.ceil((peak_db - ceiling_db + _ROUNDING_DB) / _LOWERING_STEP_DB)
        lowered_db = round(steps * _LOWERING_STEP_DB, 2)
        run = job.run(lowered_db, math.inf)
        comment = (
            f"the output would have peaked at {peak_db:+.2f} dBFS; its level was lowered by"
            f" {lowered_db:.2f} dB so that it does not clip",
        )
    elif peak_db > 0.0:
        comment = (
            f"the output peaks at {peak_db:+.2f} dBFS; its float samples keep that, but it will clip"
            " where it is played or converted without being lowered",
        )
    return RenderReport(
        output=probe(path),
        frames=run.frames,
        rate=found.rate,
        channels=found.channels,
        peak_db=amplitude_to_db(run.peaks.peak),
        true_peak_dbtp=amplitude_to_db(run.peaks.true_peak),
        lowered_db=lowered_db,
        seconds=time.perf_counter() - began,
        notes=(*run.notes, *_silently_less(chain, found.channels, tail_s), *comment),
    )
