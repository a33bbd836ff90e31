"""What an unknown name is answered with: what was meant, if that can be told, and what there is."""

from __future__ import annotations

import importlib

import pytest

from fxstyle import effects
from fxstyle.chain import Chain
from fxstyle.errors import SettingError, remedy

KNOBS = ("threshold_db", "ratio", "attack_ms", "release_ms", "peak1_hz", "peak1_db", "peak2_hz", "peak2_db")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("treshold_db", "threshold_db"),
        ("threshold", "threshold_db"),
        ("Ratio", "ratio"),
        (" ratio ", "ratio"),
        ("attack", "attack_ms"),
        ("lease", "release_ms"),
        ("peak1", "peak1_hz or peak1_db"),
        ("attackms", "attack_ms"),
    ],
)
def test_a_near_name_is_suggested(wrong: str, meant: str) -> None:
    assert remedy(wrong, KNOBS, lead="it has", listed="a, b") == f"; did you mean {meant}? It has a, b"


@pytest.mark.parametrize("wrong", ["", "r", "magic", "peak", "_", "\x1b[2J", "x" * 1000])
def test_nothing_is_suggested_without_reason(wrong: str) -> None:
    assert remedy(wrong, KNOBS, lead="it has", listed="a, b") == "; it has a, b"
    assert remedy(wrong, (), lead="it has", listed="nothing") == "; it has nothing"


@pytest.mark.parametrize("name", effects.names())
def test_every_name_is_its_own_nearest_with_a_letter_gone(name: str) -> None:
    wrong = name[:1] + name[2:] if len(name) > 2 else name.upper()
    with pytest.raises(SettingError, match=f"did you mean ([a-z_]+ or )*{name}( or [a-z_]+)*\\?"):
        effects.get(wrong)


def test_sizes_are_those_that_the_effects_make() -> None:
    for name in effects.names():
        module = importlib.import_module(f"fxstyle.effects.{name}")
        assert hasattr(module, "make") == (name in effects.SIZES), f"mend SIZES for {name}"
    for name, most in effects.SIZES.items():
        assert effects.get(f"{name}{most}").name == f"{name}{most}"
        for wrong in (0, most + 1):
            with pytest.raises(SettingError, match=f"choose {name}1 to {name}{most}"):
                effects.get(f"{name}{wrong}")


def test_chains_and_effects_suggest_as_well() -> None:
    chain = Chain.parse("eq,eq,gain")
    with pytest.raises(
        SettingError, match=r"the chain has no 'gian'; did you mean gain\? It has eq, eq_2, gain"
    ):
        chain.slot("gian")
    with pytest.raises(SettingError, match=r"no setting 'gain'; did you mean gain_db\? It has gain_db"):
        chain.param("gain.gain")
    with pytest.raises(SettingError, match=r"no setting 'ammount'; did you mean amount\? It has gain_db"):
        chain.param("gain.ammount")
    with pytest.raises(SettingError, match=r"no effect is called 'eq_5'; did you mean eq5\?"):
        Chain.parse("eq_5,gain")
