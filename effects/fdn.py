"""Feedback delay network: sixteen echoes that feed each other until they are a room.

    y_c = x_c + h_c * x_c                                  the input and the room (*: convolution)
    s_k = c_k^T D (I - U D)^-1 b                           sixteen delay lines, all into all, heard in ways k
    D_i = exp(-size tau_i (s + a(f) + j p(f)))             delay, and loss with its least phase
    h_0 = s_0,   h_c = cos(phi) s_0 + sin(phi) s_c         phi = width pi/2
    then h_c passes E(f), is delayed by predelay_ms, and scaled so that its energy is that of level and tone

    U      Hadamard's matrix: every line feeds all of them equally loudly, and nothing gets lost
    tau_i  prime numbers of samples at 48 kHz, evenly spread from 12 to 55 ms; `size` makes them longer
    a(f)   ln(1000)/T(f) per second, T the decay by 60 dB: t60_63_s at 62.5 Hz .. t60_16k_s at 16 kHz, in
           between on a smooth curve (time and frequency logarithmic), constant beyond
    b, c   signs, of which those of different channels are orthogonal
    L(f)   level_db + a smooth curve through tone_63_db .. tone_16k_db: energy of the room over that of the
           dry sound, at each frequency, whatever the decay: longer is not louder
    E(f)   10^(L/20) sqrt((1 - q)/q), of least phase: 16 q/(1 - q) is what the lines make of the energy of
           noise, where q, the mean of exp(-2 a size tau_i), is left of what has passed a line once

`size` is that of the room: echoes come closer or further apart, the decay stays. Channels have rooms of
their own and do not mix: mono stays mono, and from the fifth channel on the rooms repeat. Unlike `reverb` it
begins with single echoes and gets denser, as a room does. It has nothing above .46 of the rate.

After J.-M. Jot, A. Chaigne, "Digital delay networks for designing artificial reverberators", AES 90, 1991;
on matrices: S. J. Schlecht, E. A. P. Habets, "On lossless feedback delay networks", IEEE Trans. Signal
Process. 65(6), 2017. The response is sampled in frequency, outside of the unit circle, so delays are real
numbers and every knob has a smooth gradient (fxstyle/dsp/network.py, attenuation.py). What is trained is what
is rendered, by convolution.

Measured (Schroeder, -5 .. -35 dB) in thirds of an octave around the centres, over four channels and seven
sizes, decays are within 3.3 % of T_b where neighbours are alike, and 5 % where they jump by a factor of 2.5.
In a single response of a second few modes beat: 13 to 19 % in the octave of 63 Hz, 3.5 % from 500 Hz on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from fxstyle.dsp import attenuation
from fxstyle.dsp.attenuation import BAND_NAMES
from fxstyle.dsp.network import DELAYS_S, OUTPUTS, network
from fxstyle.effect import Decays
from fxstyle.param import Param
from fxstyle.reverberation import reverberation, within
from fxstyle.units import db_to_amplitude

END_DB = 80.0
"""Decay after which a response is cut: 20 dB past the 60 that make a tail."""

_NEPERS_PER_DB = math.log(10.0) / 20.0

_T60_SPREAD = 0.13
"""A factor of 1.8: most rooms and plates decay in 0.3 to 3 s."""

_T60_S = (1.3, 1.3, 1.2, 1.1, 1.0, 0.9, 0.75, 0.6, 0.45)
"""Defaults: a mid-sized hall, whose air takes away the highs."""

_WHERE = tuple(f"at {name.replace('k', ' k') if 'k' in name else name + ' '}Hz" for name in BAND_NAMES)

PARAMS = (
    *(
        Param(f"t60_{name}_s", "s", 0.08, 10.0, t60, "log", f"decay by 60 dB {where}", _T60_SPREAD)
        for name, t60, where in zip(BAND_NAMES, _T60_S, _WHERE, strict=True)
    ),
    Param("level_db", "dB", -60.0, 12.0, -14.0, spread=0.12, help="the room over the dry sound; up: wetter"),
    *(
        # Left alone by a fit that is not asked: it would make an equaliser of the room.
        Param(f"tone_{name}_db", "dB", -18.0, 18.0, 0.0, help=f"more of the room {where}", fitted=False)
        for name, where in zip(BAND_NAMES, _WHERE, strict=True)
    ),
    Param("size", "", 0.5, 2.0, 1.0, "log", "length of the echoes' ways; up: larger, sparser", spread=0.15),
    Param("predelay_ms", "ms", 0.0, 200.0, 10.0, help="time until it sets in", spread=0.1),
    Param("width", "", 0.0, 1.0, default=1.0, help="0: the same room in all channels, 1: all around"),
)
_T60 = tuple(f"t60_{name}_s" for name in BAND_NAMES)
_TONE = tuple(f"tone_{name}_db" for name in BAND_NAMES)


def _one(on: attenuation.Grid, outputs: int, knobs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the response (output, time) to one row's knobs (), in float64."""
    size = knobs["size"]
    loss = attenuation.loss(on, torch.stack([knobs[name] for name in _T60]))
    tone = on.curve(_NEPERS_PER_DB * torch.stack([knobs[name] for name in _TONE]))
    left = torch.stack([(-2.0 * delay * size * loss).exp() for delay in DELAYS_S]).mean(dim=0)
    colour = tone + 0.5 * (torch.log1p(-left) - left.log())
    lost, coloured = on.minimum_phase(torch.stack((loss, colour))).unbind()
    late = (coloured - (knobs["predelay_ms"] / 1000.0) * on.s).exp()
    made = on.signal(network((size * (on.s + lost))[None], outputs)[0] * late)
    angle = knobs["width"] * (math.pi / 2.0)
    mixed = torch.cat((made[:1], angle.cos() * made[:1] + angle.sin() * made[1:]))
    wanted = on.power((2.0 * tone).exp()).sqrt() * db_to_amplitude(knobs["level_db"])
    return mixed * (wanted / mixed.square().sum(dim=-1, keepdim=True).sqrt())


def response(
    rate: float,
    channels: int,
    dtype: torch.dtype,
    device: torch.device,
    frames: int | None,
    /,
    **knobs: torch.Tensor,
) -> torch.Tensor:
    """Return the wet impulse responses (batch, min(channels, 4), time), of knobs (batch,), differentiably.

    Each row is computed at the length that its own decay takes, so that rows do not depend on each other.
    """
    made = []
    for values in zip(*(value.double().unbind() for value in knobs.values()), strict=True):
        row = dict(zip(knobs, values, strict=True))
        end_s = _tail_s({name: float(value.detach()) for name, value in row.items()}, END_DB)
        on = attenuation.grid(rate, attenuation.fitting(end_s * rate))
        made.append(_one(on, min(channels, OUTPUTS), row).to(device, dtype))
    longest = max(one.shape[1] for one in made)
    return torch.stack([torch.nn.functional.pad(one, (0, longest - one.shape[1])) for one in made])


def _tail_s(settings: Mapping[str, float], decay_db: float = 60.0) -> float:
    longest = max(settings[name] for name in _T60) * decay_db / 60.0
    return longest + settings["size"] * max(DELAYS_S) + settings["predelay_ms"] / 1000.0


def of_decays(t60_s: Decays, level_db: Decays) -> dict[str, float]:
    """Return the settings for decays and levels per octave; 16 kHz goes with 8 kHz."""
    level = float(np.mean(level_db))
    wanted = {"level_db": level, "predelay_ms": 0.0}
    wanted |= dict(zip(_T60, [*t60_s.tolist(), float(t60_s[-1])], strict=True))
    wanted |= dict(zip(_TONE, [*(level_db - level).tolist(), float(level_db[-1] - level)], strict=True))
    return within(PARAMS, wanted)


EFFECT = reverberation(
    "fdn",
    "Feedback delay network: a room of echoes with nine decays and tones",
    PARAMS,
    response,
    tail_s=_tail_s,
    # Two FFT convolutions of different sizes in float32, as in `reverb`.
    tolerance_db=-100.0,
    of_decays=of_decays,
    smooth=(_T60,),
)
