"""The proposer: that its distribution is one, that its settings are valid, and what it refuses."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from fxstyle import effects
from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.effects import DEFAULT_CHAIN
from fxstyle.embed.encoder import Ear, Sizes, untrained
from fxstyle.errors import AudioError, SettingError
from fxstyle.fit._hearing import fingerprint, listened
from fxstyle.fit.locks import Locks
from fxstyle.fit.mixture import Knobs, Layout, Network, likeliest, log_knob, log_order, sampled
from fxstyle.fit.proposer import Proposer, homes, load, most_likely, propose, starts, to_bytes
from fxstyle.fit.space import Space
from fxstyle.loudness import measure_loudness
from fxstyle.performance import perform
from fxstyle.render import render

RATE = 44_100
NAMES = ("eq", "compressor", "width", "gain")
KNOBS = {name: tuple(p.name for p in effects.get(name).params if p.fitted) for name in NAMES}
NEUTRAL = {"eq": {}, "compressor": {"threshold_db": 0.0}, "width": {}, "gain": {}}
SMALL = Sizes(width=16, blocks=2, joined=24, hidden=32, style=16, place=8)


def ear_of(seed: int) -> Ear:
    return untrained(seed, SMALL)


def network_of(groups: dict[str, int], seed: int = 0) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(Layout(KNOBS, groups, hidden=24, components=3))
        # untrained, the parts hardly differ: the laws are to be seen on parts that do
        for parameter in network.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    network.home.copy_(homes(KNOBS))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pair() -> tuple[Audio, Audio]:
    a, b = (perform(3.0, RATE, song=0, seed=seed) for seed in (0, 1))
    return Audio(a, RATE), Audio(0.5 * np.tanh(4.0 * b).astype(np.float32), RATE)


@pytest.fixture(scope="module")
def proposer(pair: tuple[Audio, Audio]) -> Proposer:
    ear = ear_of(0)
    groups = {name: group.shape[0] for name, group in listened(pair[0], "input", ear).items()}
    return Proposer(network_of(groups), ear, NEUTRAL, {})


@pytest.fixture(scope="module")
def weights(proposer: Proposer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "proposer.safetensors"
    path.write_bytes(to_bytes(proposer.network, proposer.ear, NEUTRAL, {"trained": "never"}))
    return path


def heard_by(network: Network, seed: int = 0) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 2 * network.layout.heard)))
    return x.float()


class TestDistribution:
    network = network_of({"measured": 6})
    everything = np.ones(len(NAMES), dtype=bool)

    def test_each_knob_is_at_home_or_somewhere(self) -> None:
        """The chance of home and the density's integral make one, wherever the logistic is."""
        middle = torch.tensor([-3.0, -0.2, 0.0, 0.4, 1.0, 2.5], dtype=torch.float64)
        scale = torch.tensor([0.008, 0.05, 0.2, 1.5], dtype=torch.float64)
        middle, scale = (t.flatten()[None, None] for t in torch.meshgrid(middle, scale, indexing="ij"))
        knobs = Knobs(torch.full_like(middle, 0.3), middle, scale)
        # a grid that leaves out home, fine against the narrowest scale
        u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
        elsewhere = torch.tensor(2.0, dtype=torch.float64)
        density = torch.stack(
            [log_knob(Knobs(*(t[..., i : i + 1] for t in knobs)), u[None, None, :], elsewhere)[0, 0]
             for i in range(middle.shape[2])]
        ).exp()  # fmt: skip
        stays = log_knob(knobs, elsewhere.expand(middle.shape), elsewhere).exp()[0, 0]
        # midpoint rule; a logistic of .008 whose middle lies 3 outside falls off within 1e-2 of the edge
        torch.testing.assert_close(density.mean(dim=1) + stays, torch.ones_like(stays), rtol=1e-4, atol=0.0)

    def test_orders_make_one(self) -> None:
        scores = torch.tensor([[[0.3, -1.0, 2.0, 0.7]]], dtype=torch.float64)
        places = [(*p, 0) for p in itertools.permutations((1, 2, 3))]
        found = log_order(scores.expand(len(places), -1, -1), torch.tensor(places)).exp()
        assert float(found.sum()) == pytest.approx(1.0, rel=1e-12)
        # after Plackett and Luce: the first of all three, then of the two left
        e = scores[0, 0].exp()
        by_hand = e[1] / (e[0] + e[1] + e[2]) * e[0] / (e[0] + e[2])
        assert float(found[places.index((2, 1, 3, 0))]) == pytest.approx(float(by_hand), rel=1e-12)

    def test_chains_make_one(self) -> None:
        """Presence and order of all chains of four effects; knobs that are not known leave no factor."""
        x = heard_by(self.network)
        places = []
        for count in range(len(NAMES) + 1):
            for chosen in itertools.permutations(range(len(NAMES)), count):
                place = [0] * len(NAMES)
                for turn, i in enumerate(chosen, start=1):
                    place[i] = turn
                places.append(place)
        rows = torch.tensor(places)
        unknown = torch.full((len(rows), self.network.layout.size), torch.nan)
        likelihood = self.network.log_likelihood(x.expand(len(rows), -1), rows, unknown).double().exp()
        assert float(likelihood.sum()) == pytest.approx(1.0, rel=1e-5)  # float32

    def test_knobs_of_effects_that_are_not_there_do_not_count(self) -> None:
        x = heard_by(self.network)
        place = torch.tensor([[1, 0, 0, 2]])
        u = torch.full((1, self.network.layout.size), 0.3)
        other = u.clone()
        other[:, self.network.layout.slices["compressor"]] = 0.9
        same, moved = (self.network.log_likelihood(x, place, v) for v in (u, other))
        assert torch.equal(same, moved)
        other[:, self.network.layout.slices["gain"]] = 0.9
        assert not torch.equal(same, self.network.log_likelihood(x, place, other))

    def test_samples_follow_the_distribution(self) -> None:
        x = heard_by(self.network, 3)
        drawn = sampled(self.network, x, self.everything, 4000, 0, 1.0)
        expected = self.network.presence(x)[0].numpy()
        # five standard deviations of a share of 4000
        assert np.abs((drawn.place > 0).mean(0) - expected).max() < 5.0 * 0.5 / np.sqrt(4000)
        # knobs of samples are no less likely than elsewhere: ln p is a proper score
        logged = self.network.log_likelihood(
            x.expand(4000, -1), torch.from_numpy(drawn.place), torch.from_numpy(drawn.u).float()
        )
        rng = np.random.default_rng(1)
        shuffled = rng.permuted(drawn.u, axis=1)
        others = self.network.log_likelihood(
            x.expand(4000, -1), torch.from_numpy(drawn.place), torch.from_numpy(shuffled).float()
        )
        assert float(logged.mean()) > float(others.mean())

    def test_a_cold_draw_is_likelier(self) -> None:
        x = heard_by(self.network, 3)

        def likelihood(temperature: float) -> float:
            drawn = sampled(self.network, x, self.everything, 500, 0, temperature)
            rows = torch.from_numpy(drawn.place), torch.from_numpy(drawn.u).float()
            return float(self.network.log_likelihood(x.expand(500, -1), *rows).mean())

        assert likelihood(0.3) > likelihood(1.0) > likelihood(3.0)

    def test_what_is_not_allowed_is_not_drawn(self) -> None:
        x = heard_by(self.network, 4)
        only = np.array([True, False, True, False])
        assert not sampled(self.network, x, only, 200, 0, 1.0).place[:, ~only].any()
        assert not likeliest(self.network, x, only).place[:, ~only].any()


class TestProposals:
    def test_they_are_chains_with_settings_inside_their_limits(
        self, pair: tuple[Audio, Audio], proposer: Proposer
    ) -> None:
        found = propose(*pair, count=40, proposer=proposer)
        assert len(found) == 40
        assert len({tuple(s.name for s in chain) for chain in found}) > 3
        for chain in found:
            assert {slot.name for slot in chain} <= set(NAMES)
            for slot in chain:
                for param in slot.effect.params:
                    # made anew, a slot checks its settings; what no fit turns stays
                    param.check(slot.settings[param.name])
                    assert param.fitted or slot.settings[param.name] == param.default

    def test_a_seed_repeats_them(self, pair: tuple[Audio, Audio], proposer: Proposer) -> None:
        one, again, other = (propose(*pair, count=8, seed=s, proposer=proposer) for s in (5, 5, 6))
        assert one == again
        assert one != other

    def test_a_named_chain_gets_its_knobs_and_no_others(
        self, pair: tuple[Audio, Audio], proposer: Proposer
    ) -> None:
        chain = Chain.parse("compressor,delay,compressor").with_settings({"compressor.mix": 0.5})
        for found in propose(*pair, chain, 20, proposer=proposer):
            assert [s.name for s in found] == ["compressor", "delay", "compressor_2"]
            was, now = chain.settings(), found.settings()
            changed = {address for address in was if was[address] != now[address]}
            assert {a.partition(".")[2] for a in changed} <= set(KNOBS["compressor"])
            assert not any(a.startswith("delay") for a in changed)  # the proposer does not know it
        drawn = {
            c.settings()["compressor.threshold_db"] for c in propose(*pair, chain, 20, proposer=proposer)
        }
        assert 0.0 in drawn  # where no compressor is proposed, it is out of the way
        assert len(drawn) > 2

    def test_positions_lie_in_a_space_within_its_locks(
        self, pair: tuple[Audio, Audio], proposer: Proposer
    ) -> None:
        chain = Chain.parse("compressor,gain,delay")
        space = Space(chain, Locks.parse(["compressor.ratio<=4", "gain.gain_db=3"], chain))
        found = starts(space, *pair, 20, 0, proposer=proposer)
        assert found.shape == (20, space.size)
        assert found.min() >= 0.0
        assert found.max() <= 1.0
        for u in found:
            settings = space.chain(u).settings()
            assert settings["compressor.ratio"] <= 4.0 + 1e-9
            assert settings["gain.gain_db"] == 3.0
        delay = [k.address.startswith("delay") for k in space.knobs]
        assert np.array_equal(found[:, delay], np.tile(space.home[delay], (20, 1)))

    def test_a_mono_input_gets_nothing_stereo(self, pair: tuple[Audio, Audio], proposer: Proposer) -> None:
        mono = Audio(pair[0].samples[:1], RATE)
        assert any("width" in [s.name for s in c] for c in propose(*pair, count=60, proposer=proposer))
        assert not any(
            "width" in [s.name for s in c] for c in propose(mono, pair[1], count=60, proposer=proposer)
        )

    def test_every_second_is_as_loud_as_the_reference(
        self, pair: tuple[Audio, Audio], proposer: Proposer
    ) -> None:
        wanted = measure_loudness(pair[1]).integrated_lufs

        def off_db(chain: Chain) -> float:
            y = pair[0].with_samples(render(chain, pair[0].samples, RATE))
            return abs(measure_loudness(y).integrated_lufs - wanted)

        found = [off_db(chain) for chain in propose(*pair, count=24, proposer=proposer)]
        # the gain has 40 dB to either side, and is not always the last effect: a compressor may follow
        assert np.median(found[1::2]) < 0.6
        assert np.median(found[::2]) > 2.0

    def test_the_likeliest_is_one_chain(self, pair: tuple[Audio, Audio], proposer: Proposer) -> None:
        assert most_likely(*pair, proposer=proposer) == most_likely(*pair, proposer=proposer)
        named = most_likely(*pair, Chain.parse("gain"), proposer=proposer)
        assert [s.name for s in named] == ["gain"]

    @pytest.mark.parametrize("rate", [8000, 48_000])
    def test_any_rate_and_length_is_listened_to(self, rate: int, proposer: Proposer) -> None:
        x = Audio(perform(17.0, rate, song=1, seed=2), rate)
        assert propose(x, Audio(x.samples[:, : int(0.6 * rate)], rate), count=2, proposer=proposer)

    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            (np.zeros((2, RATE), np.float32), "silent"),
            (np.full((1, 1), 0.5, np.float32), "0.000 s long"),
        ],
    )
    @pytest.mark.parametrize("role", ["input", "reference"])
    def test_too_little_sound_is_refused(
        self, samples: np.ndarray, message: str, role: str, pair: tuple[Audio, Audio], proposer: Proposer
    ) -> None:
        wrong = Audio(samples, RATE)
        both = (wrong, pair[1]) if role == "input" else (pair[0], wrong)
        with pytest.raises(AudioError, match=f"the {role} is .*{message}"):
            propose(*both, proposer=proposer)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [({"count": 0}, "count = 0"), ({"seed": -1}, "seed = -1"), ({"temperature": 0.0}, "temperature = 0")],
    )
    def test_impossible_wishes_are_refused(
        self, wrong: dict[str, float], message: str, pair: tuple[Audio, Audio], proposer: Proposer
    ) -> None:
        with pytest.raises(SettingError, match=message):
            propose(*pair, proposer=proposer, **wrong)  # type: ignore[arg-type]  # mixed on purpose


class TestShipped:
    def test_its_weights_are_of_the_shipped_encoder_and_effects(self) -> None:
        shipped = load()
        assert set(DEFAULT_CHAIN.split(",")) <= set(shipped.network.layout.knobs)
        assert shipped.about["trained"].startswith("fxstyle")
        torch.testing.assert_close(
            shipped.network.home, homes(shipped.network.layout.knobs), atol=0.0, rtol=0.0
        )

    def test_a_plain_gain_is_heard(self) -> None:
        """A reference that is 12 dB quieter and else the same asks for a gain, or what comes to it."""
        x = Audio(perform(6.0, RATE, song=1, seed=4), RATE)
        quiet = x.with_samples(x.samples * np.float32(10.0 ** (-12.0 / 20.0)))
        for chain in propose(x, quiet, Chain.parse("gain"), 16, 0)[1::2]:
            assert chain.settings()["gain.gain_db"] == pytest.approx(-12.0, abs=0.5)
        # every other draw has the level that was learnt
        lowered, left = (
            np.mean([c.settings().get("gain.gain_db", 0.0) for c in propose(x, y, count=64)[::2]])
            for y in (quiet, x)
        )
        assert lowered < left - 1.0


class TestWeights:
    def test_a_file_keeps_what_is_proposed(
        self, weights: Path, pair: tuple[Audio, Audio], proposer: Proposer
    ) -> None:
        again = load(weights, proposer.ear)
        assert again.about == {"trained": "never"}
        one, two = (most_likely(*pair, proposer=p) for p in (proposer, again))
        assert [s.name for s in one] == [s.name for s in two]
        for address, value in one.settings().items():
            low, high = (getattr(one.param(address), end) for end in ("low", "high"))
            # half precision of the weights
            assert two.settings()[address] == pytest.approx(value, abs=0.05 * (high - low))

    def test_it_is_refused_with_another_encoder(self, weights: Path) -> None:
        with pytest.raises(AudioError, match="other weights of the encoder; train it anew"):
            load(weights, ear_of(1))

    def test_a_fingerprint_tells_weights_apart(self) -> None:
        assert fingerprint(ear_of(0)) == fingerprint(ear_of(0)) != fingerprint(ear_of(1))

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(AudioError, match="there is no such weights file"):
            load(tmp_path / "none.safetensors", ear_of(0))

    def test_hostile_files_are_refused(self, weights: Path, proposer: Proposer, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"

        def refused(message: str) -> None:
            with pytest.raises(AudioError, match=message):
                load(path, proposer.ear)

        path.write_bytes(b"")
        refused("no weights file")
        whole = weights.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused("no weights file")
        save_file({"a": torch.zeros(1)}, path)
        refused("holds no fxstyle proposer")
        tensors = proposer.network.state_dict()
        told = {
            "format": "fxstyle proposer 1",
            "layout": proposer.network.layout.told(),
            "neutral": NEUTRAL,
            "encoder": fingerprint(proposer.ear),
            "about": {},
        }

        def write(changed: dict[str, object], own: dict[str, torch.Tensor] = tensors) -> None:
            text = json.dumps({**told, **changed})
            path.write_bytes(save({n: t.contiguous() for n, t in own.items()}, {"fxstyle": text}))

        layout = proposer.network.layout.told()
        write({})
        assert load(path, proposer.ear)
        write({"layout": {**layout, "hidden": 10**9}})
        refused("hidden is 1000000000")
        write({"layout": {**layout, "hidden": 25}})
        refused("do not fit its sizes")
        write({"layout": []})
        refused("do not fit its sizes")
        write({"layout": {**layout, "knobs": {**KNOBS, "gain": ["pan"]}}})
        refused("gain has other settings")
        renamed = {("flanger" if n == "gain" else n): own for n, own in KNOBS.items()}
        write({"layout": {**layout, "knobs": renamed}})
        refused("made for other effects")
        write({"neutral": {**NEUTRAL, "gain": {"gain_db": 1e9}}})
        refused("outside")
        write({}, {**tensors, "component": torch.full_like(tensors["component"], torch.nan)})
        refused("not finite")
