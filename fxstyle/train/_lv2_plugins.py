"""The LV2 plugins that training uses: of Calf, mda, x42, Steve Harris (swh), Guitarix and LSP.

Knobs have the names and units of the plugins' controls; the ranges are chosen by hand, wide but musical.
Left out is what failed on real recordings under FFmpeg 5.1 with the packages of Debian 12: unstable
(swh valve, chebstortion, shaper; gx_echo_stereo), silent (swh decimator, smoothDecimate), deaf to its knobs
(swh gate, Calf ReverseDelay, gx_jcm800pre), 34 dB too loud (swh svf), refused (swh mbeq), or in need of a
host that runs work aside or gives options (gx_cabinet, gx_amp, zam, dragonfly).
"""

from __future__ import annotations

from typing import NamedTuple

_HOMES = {
    "calf": "http://calf.sourceforge.net/plugins/",
    "mda": "http://drobilla.net/plugins/mda/",
    "x42": "http://gareus.org/oss/lv2/",
    "swh": "http://plugin.org.uk/swh-plugins/",
    "guitarix": "http://guitarix.sourceforge.net/plugins/",
    "lsp": "http://lsp-plug.in/plugins/lv2/",
}
"""Where the plugins' URIs begin."""


class Plugin(NamedTuple):
    """A plugin: family, maker, end of its URI, knobs, other controls that are set, channels in and out."""

    family: str
    maker: str
    tail: str
    knobs: str
    fixed: str = ""
    takes: int = 2
    gives: int = 2

    @property
    def uri(self) -> str:
        return _HOMES[self.maker] + self.tail

    @property
    def name(self) -> str:
        return f"{self.maker}.{self.tail.partition('#')[0].strip('_')}"


_EQ = (
    Plugin("eq", "calf", "Equalizer5Band",
           "ls_level 0.2 5 log, p1_level 0.2 5 log, p2_level 0.2 5 log, p3_level 0.2 5 log, "
           "hs_level 0.2 5 log",
           "ls_active=1 p1_active=1 p2_active=1 p3_active=1 hs_active=1"),
    Plugin("eq", "calf", "Filter", "freq 300 6000 log, res 0.71 4 log, mode 0 5 steps"),
    Plugin("eq", "calf", "Emphasis", "type 0 8 steps, mode 0 1 steps"),
    Plugin("eq", "x42", "fil4#stereo",
           "LSgain -12 12, gain1 -12 12, freq2 100 1000 log, gain2 -12 12, freq3 800 6000 log, gain3 -12 12,"
           "HSgain -12 12"),
    Plugin("eq", "swh", "dj_eq", "lo -30 6, mid -30 6, hi -30 6"),
    Plugin("eq", "guitarix", "gx_graphiceq_#_graphiceq_",
           "G2 -15 12, G4 -15 12, G6 -15 12, G8 -15 12, G10 -15 12", takes=1, gives=1),
    Plugin("eq", "guitarix", "gxtilttone#tilttone", "body 0 1, tone 0 1, drive 0 1", takes=1, gives=1),
    Plugin("eq", "lsp", "graph_equalizer_x16_stereo",
           "g_2 0.2 4 log, g_4 0.2 4 log, g_7 0.2 4 log, g_9 0.2 4 log, g_11 0.2 4 log, g_13 0.2 4 log"),
    Plugin("eq", "mda", "Loudness", "loudness 0.1 1, link 0 1"),
)  # fmt: skip

_DYNAMICS = (
    Plugin("dynamics", "calf", "Compressor",
           "threshold 0.01 0.15 log, ratio 2 20 log, attack 0.5 100 log, release 20 800 log, knee 1 8, "
           "makeup 1 4"),
    Plugin("dynamics", "calf", "MultibandCompressor",
           "threshold0 0.01 0.2 log, threshold1 0.01 0.2 log, threshold2 0.01 0.2 log, ratio1 2 20 log,"
           "makeup0 1 3, makeup1 1 3, makeup2 1 3, makeup3 1 4",
           "bypass0=0 bypass1=0 bypass2=0 bypass3=0 ratio0=5 ratio2=5 ratio3=4 threshold3=0.05"),
    Plugin("dynamics", "calf", "Limiter", "limit 0.0625 0.5 log, release 5 500 log, level_in 1 4 log",
           "auto_level=0"),
    Plugin("dynamics", "calf", "Gate",
           "threshold 0.1 0.5 log, ratio 2 15 log, attack 1 60 log, release 20 500 log, range 0.003 0.3 log"),
    Plugin("dynamics", "calf", "TransientDesigner",
           "attack_boost -1 1, release_boost -1 1, attack_time 5 100 log, release_time 50 1000 log"),
    Plugin("dynamics", "mda", "Dynamics",
           "thresh 0.2 0.7, ratio 0.3 0.9, output 0 0.4, attack 0 0.5, release 0.2 0.8"),
    Plugin("dynamics", "mda", "Limiter", "thresh 0.1 0.6, output 0.5 0.8, release 0.1 0.9, attack 0 0.6"),
    Plugin("dynamics", "mda", "MultiBand",
           "l_comp 0.2 0.9, m_comp 0 0.9, h_comp 0.2 0.9, l_out 0.35 0.65, h_out 0.35 0.65"),
    Plugin("dynamics", "mda", "Transient", "attack 0 1, release 0 1, att_hold 0.1 0.7, rel_hold 0.1 0.7"),
    Plugin("dynamics", "x42", "darc#stereo",
           "threshold -45 -15, Ratio 0.1 1, attack 0.001 0.08 log, release 0.03 1 log, inputgain 0 12"),
    Plugin("dynamics", "x42", "dpl#stereo", "gain 6 24, threshold -10 -1, release 0.002 0.8 log"),
    Plugin("dynamics", "swh", "sc4",
           "threshold -30 -10, ratio 2 20 log, attack 1.5 100 log, release 10 800 log, makeup_gain 0 12"),
    Plugin("dynamics", "swh", "dysonCompress", "peak_limit -20 0, release_time 0.02 0.8 log, crate 0.1 1",
           takes=1, gives=1),
    Plugin("dynamics", "swh", "transient", "attack -1 1, sustain -1 1", takes=1, gives=1),
    Plugin("dynamics", "guitarix", "gx_compressor#_compressor",
           "THRESHOLD -50 -20, RATIO 2 20 log, KNEE 0 15, ATTACK 0.001 0.1 log, RELEASE 0.03 1 log",
           takes=1, gives=1),
    Plugin("dynamics", "lsp", "compressor_stereo",
           "al 0.01 0.15 log, cr 2 20 log, at 1 100 log, rt 20 800 log, mk 1 4 log"),
    Plugin("dynamics", "lsp", "gate_stereo", "gt 0.03 0.3 log, at 1 60 log, rt 20 500 log, gr 0.003 0.3 log"),
    Plugin("dynamics", "lsp", "limiter_stereo", "g_in 1.5 6 log, th 0.06 0.5 log, lk 1 20 log, rt 1 20 log"),
)  # fmt: skip

_DISTORTION = (
    Plugin("saturation", "calf", "Saturator",
           "drive 1 10 log, blend -10 10, lp_post_freq 2500 20000 log, hp_pre_freq 10 300 log, "
           "level_in 1 8 log",
           "pre=1 post=1"),
    Plugin("saturation", "calf", "Exciter", "amount 1 10 log, drive 2 10, blend -10 10, freq 2000 6000 log"),
    Plugin("saturation", "calf", "BassEnhancer", "amount 0.5 6 log, drive 2 10, blend -10 10, "
           "freq 60 250 log"),
    Plugin("saturation", "mda", "Overdrive", "drive 0.2 1, muffle 0 0.9"),
    Plugin("saturation", "mda", "Bandisto",
           "l_dist 0.1 0.9, m_dist 0.1 0.9, h_dist 0.1 0.9, l_m 0.2 0.6, m_h 0.3 0.8, mode 0 1 steps"),
    Plugin("saturation", "swh", "foldover", "drive_p 0.1 1, push 0 1", takes=1, gives=1),
    Plugin("saturation", "swh", "foverdrive", "drive 1.3 3", takes=1, gives=1),
    Plugin("saturation", "swh", "sinusWavewrapper", "wrap 1 9", takes=1, gives=1),
    Plugin("saturation", "swh", "crossoverDist", "amp 0.01 0.1, smooth 0 1", takes=1, gives=1),
    Plugin("saturation", "guitarix", "gxts9#ts9sim", "fslider0_ -12 0, fslider1_ 200 900 log, "
           "fslider2_ 0.2 1",
           takes=1, gives=1),
    Plugin("saturation", "guitarix", "gx_bmp_#_bmp_", "SUSTAIN 0.1 1, TONE 0.1 0.9", "VOLUME=0.6",
           takes=1, gives=1),
    Plugin("saturation", "guitarix", "gx_fuzzface_#_fuzzface_", "FUZZ 0.1 1, LEVEL 0.3 0.8",
           takes=1, gives=1),
    Plugin("saturation", "guitarix", "gx_bossds1_#_bossds1_", "DRIVE 0.1 1, TONE 0 1", takes=1, gives=1),
    Plugin("saturation", "guitarix", "gx_mxrdist_#_mxrdist_", "DRIVE 0.1 1, VOLUME 0.3 0.8",
           takes=1, gives=1),
    Plugin("saturation", "guitarix", "gx_scream_#_scream_", "SCREAM 0.1 1", takes=1, gives=1),
    Plugin("saturation", "guitarix", "gx_mbdistortion_#_mbdistortion_",
           "DRIVE1 0 0.8, DRIVE2 0.1 0.9, DRIVE3 0.2 1, DRIVE4 0.1 0.9, DRIVE5 0 0.8", "GAIN=-10",
           takes=1, gives=1),
    Plugin("crush", "calf", "Crusher",
           "bits 2 8 log, samples 1 30 log, mode 0 1 steps, morph 0 0.6, anti_aliasing 0 1"),
    Plugin("crush", "mda", "Degrade", "quant 0.3 0.9, rate 0.1 0.9, post_filt 0.3 1, non_lin 0.2 0.9"),
    Plugin("tape", "calf", "TapeSimulator", "lowpass 2500 15000 log, mechanical 0 1, speed 0 1 steps, "
           "level_in 1 8 log",
           "noise=0"),
    Plugin("tape", "guitarix", "gxtape_st#tape",
           "drive 0.1 1, wowdepth 0.001 0.03, wowfreq 0.4 4, flutdepth 0 0.03, flutfreq 6 50", "hiss=0"),
    Plugin("tape", "swh", "vynil", "year 1900 1980, warp 0 0.8, rpm 33 78", "click=0 wear=0"),
    Plugin("speaker", "mda", "Combo", "model 0.1 1, drive 0.3 1, bias 0 1, hpf_freq 0 0.6"),
    Plugin("speaker", "guitarix", "gx_redeye#chump", "Gain 0.2 1, Tone 0 1, Feedback 0 1", takes=1, gives=1),
)  # fmt: skip

_SPACE = (
    Plugin("modulation", "calf", "Flanger",
           "min_delay 0.1 8 log, mod_depth 0.3 8 log, mod_rate 0.1 4 log, feedback -0.85 0.85, amount 0.4 1"),
    Plugin("modulation", "calf", "Phaser",
           "base_freq 200 4000 log, mod_depth 500 7000, mod_rate 0.1 4 log, feedback -0.8 0.8, "
           "stages 2 12 steps",
           "amount=1"),
    Plugin("modulation", "calf", "MultiChorus",
           "min_delay 1 10 log, mod_depth 1 10 log, mod_rate 0.1 4 log, voices 1 8 steps, amount 0.4 1.5"),
    Plugin("modulation", "calf", "Pulsator",
           "mode 0 4 steps, amount 0.4 1, hz 0.5 10 log, offset_r 0 0.6, pulsewidth 1 4 steps", "timing=2"),
    Plugin("modulation", "calf", "RingModulator", "mod_freq 10 2000 log, mod_amount 0.3 1, "
           "mod_mode 0 4 steps"),
    Plugin("modulation", "calf", "RotarySpeaker",
           "vib_speed 0 4 steps, mod_depth 0.2 1, am_depth 0.1 0.9, mic_distance 0.2 0.9, reflection 0 0.8"),
    Plugin("modulation", "mda", "Leslie",
           "mode 0 1, lo_throb 0.2 0.9, hi_throb 0.2 0.9, hi_depth 0.2 0.9, hi_width 0.2 1, speed 0.3 0.8"),
    Plugin("modulation", "mda", "Detune", "detune 0.1 0.6, mix 0.4 1"),
    Plugin("modulation", "mda", "RingMod", "freq 0.01 0.3, fine 0 1, feedback 0 0.7"),
    Plugin("modulation", "mda", "ThruZero",
           "rate 0.2 0.8, depth 0.2 0.8, mix 0.3 0.7, feedback 0.1 0.9, depth_mod 0.3 1"),
    Plugin("modulation", "mda", "RezFilter",
           "freq 0.1 0.7, res 0.3 0.9, env_vcf 0.5 1, lfo_vcf 0.3 0.9, lfo_rate 0.2 0.7"),
    Plugin("modulation", "mda", "RoundPan", "auto 0.55 1, pan 0.2 0.8"),
    Plugin("modulation", "swh", "lfoPhaser", "lfo_rate 1 40 log, lfo_depth 0.1 1, fb -0.8 0.8, "
           "spread 0.2 1.8",
           takes=1, gives=1),
    Plugin("modulation", "swh", "autoPhaser",
           "attack_p 0.01 0.6, decay_p 0.01 0.6, depth_p 0.1 1, fb -0.8 0.8, spread 0.2 1.8",
           takes=1, gives=1),
    Plugin("modulation", "swh", "multivoiceChorus",
           "voices 2 8 steps, delay_base 10 40, voice_spread 0.2 2, detune 0.5 4, attendb -12 0",
           takes=1, gives=1),
    Plugin("modulation", "swh", "flanger", "delay_base 0.3 15 log, detune 0.5 8, law_freq 0.2 5 log, "
           "feedback -0.8 0.8",
           takes=1, gives=1),
    Plugin("modulation", "guitarix", "gx_chorus_stereo#_chorus_stereo",
           "delay 0.005 0.05 log, depth 0.005 0.1 log, freq 0.2 5 log, level 0.4 1"),
    Plugin("modulation", "guitarix", "gx_phaser#_phaser", "speed 0.2 5 log, dry_wet 40 100, level -6 6",
           takes=1, gives=1),
    Plugin("modulation", "guitarix", "gx_tremolo#_tremolo", "freq 1 14 log, depth 0.3 1, dry_wet 50 100",
           takes=1, gives=1),
    Plugin("modulation", "guitarix", "gxtubevibrato#tubevibrato", "speed 1 10 log, depth 0.2 1, drive 0.1 1",
           takes=1, gives=1),
    Plugin("delay", "calf", "VintageDelay",
           "ms 60 500 log, time_l 1 4 steps, time_r 1 6 steps, feedback 0.1 0.8, amount 0.3 1, "
           "medium 0 2 steps",
           "timing=1 subdiv=4 mix_mode=1"),
    Plugin("delay", "mda", "Delay", "l_delay 0.1 0.9, r_delay 0.1 0.9, feedback 0.2 0.85, fb_tone 0.1 0.9, "
           "fx_mix 0.2 0.6"),
    Plugin("delay", "mda", "DubDelay",
           "delay 0.1 0.9, feedback 0.5 0.85, fb_tone 0.1 0.9, lfo_depth 0 0.6, fx_mix 0.2 0.6"),
    Plugin("delay", "swh", "fadDelay", "delay 0.1 0.8 log, fb_db -20 -2", takes=1, gives=1),
    Plugin("delay", "swh", "tapeDelay", "speed 0.5 3 log, t1d 0.1 1 log, t2d 0.15 2 log, t2a_db -12 0",
           "da_db=0 t1a_db=-4", takes=1, gives=1),
    Plugin("delay", "swh", "lcrDelay",
           "ldel 60 600 log, cdel 100 800 log, rdel 80 700 log, feedback -70 70, wet 0.2 0.7, high_d 0 90"),
    Plugin("delay", "guitarix", "gx_digital_delay_st_#_digital_delay_st_",
           "BPM 60 300 log, FEEDBACK 5 80, LEVEL 20 70, HOWPASS 1500 12000 log, MODE 0 3 steps"),
    Plugin("delay", "guitarix", "gx_duck_delay_st_#_duck_delay_st_",
           "TIME 60 700 log, FEEDBACK 0.1 0.8, COLORATION -1 1, EFFECT -6 4, PINGPONG 0 1", "AMOUNT=0.5"),
    Plugin("reverb", "calf", "Reverb",
           "decay_time 0.4 8 log, hf_damp 2000 15000 log, room_size 0 5 steps, amount 0.15 1, predelay 0 120,"
           "treble_cut 2000 15000 log"),
    Plugin("reverb", "mda", "Ambience", "size 0.1 1, hf_damp 0 0.9, mix 0.2 0.9"),
    Plugin("reverb", "swh", "plate", "time 0.5 8 log, damping 0 0.9, wet 0.1 0.7", takes=1),
    Plugin("reverb", "swh", "gverb",
           "roomsize 10 200 log, revtime 0.5 10 log, damping 0 0.9, earlylevel -25 -5, taillevel -25 -8",
           "drylevel=-3", takes=1),
    Plugin("reverb", "guitarix", "gx_reverb_stereo#_reverb_stereo",
           "roomsize 0.2 0.95, damp 0 0.9, dry_wet 20 80"),
    Plugin("reverb", "guitarix", "gx_zita_rev1_stereo#_zita_rev1_stereo",
           "LOW_RT60 1 8 log, MID_RT60 1 8 log, HF_DAMPING 1500 15000 log, IN_DELAY 20 100, "
           "DRY_WET_MIX -0.7 0.7"),
    Plugin("reverb", "guitarix", "gx_room_simulator_#_room_simulator_",
           "PREDELAYMS 1 120, RT 0.1 0.9, ROOMSIZE 0.2 3, DRYWET 0.2 0.8", takes=1, gives=1),
    Plugin("width", "calf", "HaasEnhancer", "s_delay1 0.3 10 log, s_delay2 0.3 10 log, s_gain 0.4 2 log"),
    Plugin("width", "calf", "StereoTools", "slev 0.1 4 log, stereo_base -0.6 0.8, delay -12 12, "
           "stereo_phase 0 90"),
    Plugin("width", "calf", "MultiSpread",
           "filters 1 12 steps, amount0 0.1 4 log, amount1 0.1 4 log, amount2 0.1 4 log, amount3 0.1 4 log, "
           "intensity 0.3 1"),
    Plugin("width", "mda", "Stereo", "width 0.55 1, delay 0.1 0.9, mod 0 0.8"),
    Plugin("width", "mda", "Image", "s_width 0.5 1, s_pan 0.3 0.7, m_level 0.5 0.8"),
    Plugin("width", "swh", "matrixSpatialiser", "width -300 400"),
)  # fmt: skip

PLUGINS = (*_EQ, *_DYNAMICS, *_DISTORTION, *_SPACE)
"""All plugins; training takes those that are installed."""
