"""The benchmark's own laws: it draws what the protocol says, hides the truth, and counts correctly."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pedalboard", reason="the benchmark renders with pedalboard (extra: bench)")

RATE = 44100


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a program of bench/, which is run as a script and so finds its neighbours by folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "bench"))
    return importlib.import_module


@pytest.fixture
def music() -> np.ndarray:
    from fxstyle.performance import perform

    return perform(12.0, RATE, song=1, seed=3)


def test_chains_are_drawn_with_the_published_probabilities(bench: Any) -> None:
    """Against an independent enumeration: P(unit | one to four units in the chain)."""
    counterfx = bench("counterfx")
    p = {name: unit.probability for name, unit in counterfx.UNITS.items()}
    names, chance, total = list(p), dict.fromkeys(p, 0.0), 0.0
    for bits in range(2 ** len(names)):
        used = {n for i, n in enumerate(names) if bits >> i & 1}
        if 1 <= len(used) <= 4:
            weight = np.prod([p[n] if n in used else 1.0 - p[n] for n in names])
            total += weight
            for n in used:
                chance[n] += weight
    rng = np.random.default_rng(0)
    draws = [counterfx.draw_steps(rng) for _ in range(4000)]
    assert {len(d) for d in draws} == {1, 2, 3, 4}
    seen = Counter(step.unit for d in draws for step in d)
    for n in names:
        # Four standard deviations of a share over 4000 draws are at most 0.032.
        assert seen[n] / 4000 == pytest.approx(chance[n] / total, abs=0.032)


def test_settings_stay_in_their_ranges_and_fill_them(bench: Any) -> None:
    counterfx = bench("counterfx")
    rng = np.random.default_rng(1)
    values: dict[tuple[str, str], list[float]] = {}
    for _ in range(3000):
        for step in counterfx.draw_steps(rng):
            for knob, value in step.settings.items():
                values.setdefault((step.unit, knob), []).append(value)
    for (unit, knob), drawn in values.items():
        low, high, scale = counterfx.UNITS[unit].ranges[knob]
        assert low <= min(drawn) <= max(drawn) <= high
        if high > low:
            middle = np.sqrt(low * high) if scale == "log" else (low + high) / 2.0
            assert np.mean(np.array(drawn) < middle) == pytest.approx(0.5, abs=0.1)


def test_the_known_chain_has_the_items_effects_in_its_order_and_locks_the_rest(bench: Any) -> None:
    from fxstyle.chain import Chain
    from fxstyle.fit.locks import Locks

    counterfx = bench("counterfx")
    steps = tuple(
        counterfx.Step(unit, {})
        for unit in ("distortion", "highpass", "peak", "compressor", "reverb", "chorus")
    )
    text, locks = counterfx.known_chain(steps)
    assert text == "saturation,eq,compressor,reverb,gain"
    chain = Chain.parse(text)
    fixed = Locks.parse(locks, chain).fixed
    free = {f"eq.{p.name}" for p in chain.slot("eq").effect.params if p.fitted} - fixed.keys()
    assert free == {"eq.low_cut_hz", "eq.low_cut_q", "eq.peak4_hz", "eq.peak4_db", "eq.peak4_q"}
    assert all(value == chain.settings()[address] for address, value in fixed.items())
    assert counterfx.known_chain((counterfx.Step("compressor", {}),)) == ("compressor,gain", ())


def test_every_order_holds_every_unit_and_keeps_the_equaliser_together(bench: Any) -> None:
    counterfx = bench("counterfx")
    for order in counterfx.ORDERS:
        assert sorted(order) == sorted(counterfx.UNITS)
        places = [order.index(unit) for unit in ("highpass", "lowpass", "peak")]
        assert max(places) - min(places) == 2


@pytest.mark.data
def test_items_keep_the_protocol(bench: Any, data_dir: Path) -> None:
    counterfx = bench("counterfx")
    for item in counterfx.items(2, seed=11, data=data_dir):
        assert item.input.shape == item.reference.shape == item.truth.shape
        assert item.input.shape[0] == 2
        assert 5.0 * RATE <= item.input.shape[1] <= 10.0 * RATE
        assert counterfx.loudness_lufs(item.input) == pytest.approx(-20.0, abs=0.05)
        assert item.untouched >= 0.8
        np.testing.assert_array_equal(item.truth, counterfx.process(item.input, item.steps))
        assert abs(np.corrcoef(item.reference[0], item.truth[0])[0, 1]) < 0.9


@pytest.mark.data
def test_items_repeat_whatever_their_number_and_change_with_the_seed(bench: Any, data_dir: Path) -> None:
    counterfx = bench("counterfx")
    first, again, other = (
        next(counterfx.items(n, seed=seed, data=data_dir)) for n, seed in ((1, 11), (40, 11), (1, 6))
    )
    np.testing.assert_array_equal(first.truth, again.truth)
    assert first.steps == again.steps
    assert other.steps != first.steps


@pytest.mark.data
def test_only_test_recordings_are_used(bench: Any, data_dir: Path) -> None:
    import csv

    counterfx = bench("counterfx")
    with (data_dir / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        split = {data_dir / row["path"]: row["split"] for row in csv.DictReader(file)}
    groups = counterfx.recordings(data_dir)
    assert set(groups) == {"music", "instruments", "speech"}
    assert all(groups.values())
    assert {split[path] for kind in groups.values() for group in kind for path in group} == {"test"}


def test_without_recordings_the_program_says_what_to_set(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counterfx = bench("counterfx")
    monkeypatch.delenv("FXSTYLE_DATA", raising=False)
    with pytest.raises(SystemExit, match="FXSTYLE_DATA = '': set it"):
        counterfx.data_folder()


@pytest.fixture
def task(bench: Any, music: np.ndarray) -> Any:
    """The first half of a performance, and its second half 6 dB louder, duller and compressed."""
    import pedalboard

    baselines = bench("baselines")
    half = music.shape[1] // 2
    board = pedalboard.Pedalboard(
        [
            pedalboard.LowpassFilter(1500.0),
            pedalboard.Compressor(-30.0, 3.0, 10.0, 100.0),
            pedalboard.Gain(9.0),
        ]
    )
    return baselines.Task(music[:, :half], board(music[:, half:], RATE), "eq,gain", ())


@pytest.mark.parametrize("method", ["loudness", "rules+loudness", "matchering"])
def test_a_baseline_ends_at_the_references_loudness(bench: Any, task: Any, method: str) -> None:
    if method == "matchering":
        pytest.importorskip("matchering", reason="Matchering is not installed (extra: bench)")
    baselines = bench("baselines")
    untouched = task.input.copy()
    y = baselines.METHODS[method](task)
    assert y.shape == task.input.shape
    assert baselines.loudness_lufs(y) == pytest.approx(baselines.loudness_lufs(task.reference), abs=0.05)
    np.testing.assert_array_equal(task.input, untouched)


def test_the_rules_match_the_average_spectrum(bench: Any, task: Any) -> None:
    baselines = bench("baselines")
    y = baselines.rules_with_loudness(task)

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        """Spread of the spectral difference in dB, 200 Hz to 8 kHz, whatever the level."""
        difference = 20.0 * np.log10(baselines._average_spectrum(a) / baselines._average_spectrum(b))
        hz = np.linspace(0.0, RATE / 2.0, difference.size)
        return float(difference[(hz > 200.0) & (hz < 8000.0)].std())

    assert apart(y, task.reference) < 0.25 * apart(task.input, task.reference)


def test_do_nothing_does_nothing(bench: Any, task: Any) -> None:
    np.testing.assert_array_equal(bench("baselines").nothing(task), task.input)


def test_cma_es_spends_its_evaluations_and_returns_the_best(
    bench: Any, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a bowl whose bottom is known, in the place of the fit's objective."""
    pytest.importorskip("cma", reason="pycma is not installed (extra: bench)")
    import fxstyle.fit.match
    from fxstyle.chain import Chain

    class Bowl:
        size, start = 3, np.full(3, 0.5)
        evaluations = 0
        chosen: np.ndarray

        def evaluate(self, positions: np.ndarray) -> np.ndarray:
            self.evaluations += len(positions)
            return np.asarray(((positions - np.array([0.2, 0.7, 0.4])) ** 2).sum(1))

        def chain(self, position: np.ndarray) -> Chain:
            self.chosen = position
            return Chain.parse("gain")

    bowl = Bowl()
    monkeypatch.setattr(fxstyle.fit.match, "problem", lambda *_, **__: bowl)
    baselines = bench("baselines")
    y = baselines.cma_es(task)
    np.testing.assert_allclose(bowl.chosen, [0.2, 0.7, 0.4], atol=0.01)
    assert bowl.evaluations <= baselines.CMA_EVALUATIONS + baselines.CMA_POPULATION
    np.testing.assert_array_equal(y, task.input)


def _rows(bench: Any, method: str, values: list[float], nothing: list[float], **changes: Any) -> list[Any]:
    row = bench("match").Row(0, 1, "n", "music", "s", method, "", 0.0, 0.0, 1.0)
    return [
        replace(row, item=i, ld=v, nothing=n, **changes)
        for i, (v, n) in enumerate(zip(values, nothing, strict=True))
    ]


def test_a_summary_counts_what_it_says(bench: Any) -> None:
    match = bench("match")
    nothing = [2.0, 1.0, 3.0, 1.0]
    rows = _rows(bench, "nothing", nothing, nothing) + _rows(
        bench, "loudness", [1.0, 1.5, 2.0, 1.0], nothing, seconds=2.0
    )
    base, loud = match.summarise(rows, "nothing")
    assert (base.method, base.mean, base.worse, base.difference) == ("nothing", 1.75, 0.0, 0.0)
    assert (loud.mean, loud.median, loud.worse) == (1.375, 1.25, 0.25)
    assert loud.difference == pytest.approx(-0.375)
    assert loud.low < loud.difference < loud.high
    assert loud.seconds_median == 2.0


def test_pairs_are_made_by_item_not_by_place(bench: Any) -> None:
    match = bench("match")
    base = _rows(bench, "nothing", [1.0, 10.0], [1.0, 10.0])
    other = _rows(bench, "loudness", [0.5, 9.5], [1.0, 10.0])[::-1]
    difference = match.summarise([*base, *other], "nothing")[1]
    assert (difference.low, difference.difference, difference.high) == pytest.approx((-0.5, -0.5, -0.5))


def test_the_bootstrap_interval_is_that_of_the_normal_mean(bench: Any) -> None:
    x = np.random.default_rng(2).normal(0.3, 1.0, 400)
    low, high = bench("match").interval(x)
    half = 1.96 * x.std() / np.sqrt(x.size)
    assert low == pytest.approx(x.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(x.mean() + half, abs=0.1 * half)


@pytest.fixture
def small_run(bench: Any, music: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """match.py with two items made of synthetic music; counts how often the loudness method runs."""
    match, counterfx, baselines = bench("match"), bench("counterfx"), bench("baselines")
    steps = (counterfx.Step("lowpass", {"cutoff_frequency_hz": 2000.0}),)
    calls: list[int] = []

    def items(n: int, seed: int) -> Any:
        for i in range(n):
            a, b = (music[:, k * 88200 : (k + 1) * 88200] for k in (i, i + 1))
            truth = counterfx.process(a, steps)
            untouched = match.ld(a, truth, RATE)
            reference = counterfx.process(b, steps)
            yield counterfx.Item(f"{i}", "music", a, reference, truth, untouched, steps, "eq,gain", ())

    def loudness(task: Any) -> np.ndarray:
        calls.append(1)
        return np.asarray(baselines.loudness(task))

    monkeypatch.setattr(match, "items", items)
    monkeypatch.setattr(match, "OUT", tmp_path)
    monkeypatch.setitem(match.METHODS, "loudness", loudness)
    match.calls = calls
    return match


def test_an_interrupted_run_goes_on_and_again_starts_anew(small_run: Any, tmp_path: Path) -> None:
    log = tmp_path / "match-seed0.jsonl"
    small_run.main(["--items", "2", "--methods", "nothing,loudness"])
    assert len(small_run.calls) == 2
    lines = log.read_text().splitlines()
    assert len(lines) == 4

    # The last line was cut while it was written.
    log.write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
    small_run.main(["--items", "2", "--methods", "nothing,loudness"])
    assert len(small_run.calls) == 3
    assert len(small_run.read_rows(log)) == 4

    small_run.main(["--items", "2", "--methods", "loudness", "--again"])
    assert len(small_run.calls) == 5
    assert len(small_run.read_rows(log)) == 4

    # Items that are not asked for keep what they have.
    small_run.main(["--items", "1", "--methods", "loudness", "--again"])
    assert len(small_run.calls) == 6
    assert len(small_run.read_rows(log)) == 4


def test_a_failing_method_is_scored_as_do_nothing_and_named(
    small_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(task: Any) -> np.ndarray:
        raise ValueError("no idea")

    monkeypatch.setitem(small_run.METHODS, "rules", fail)
    monkeypatch.setitem(small_run.METHODS, "matchering", lambda task: task.input[:, :-1])
    small_run.main(["--items", "1", "--methods", "nothing,rules,matchering"])
    out = capsys.readouterr()
    assert "1 failed, scored as do-nothing" in out.out
    assert "rules: ValueError: no idea" in out.err
    assert "matchering: output (2, 88199)" in out.err
    table = json.loads((tmp_path / "match-seed0.json").read_text())["tables"]["all"]
    assert [row["difference"] for row in table] == [0.0, 0.0, 0.0]


def test_rendering_is_compared_on_equal_laws(bench: Any, music: np.ndarray) -> None:
    """The programs said to follow one law give the same samples; all keep the length."""
    render = bench("render")
    x = music[:, :44100]
    for case in render.cases():
        outputs = {name: np.asarray(program(x)) for name, program in case.programs.items()}
        assert {y.shape for y in outputs.values()} == {x.shape}, case.name
        for name in case.same_law:
            # pedalboard and the scipy filters round in float32: -144 dB a step, more through a recursion.
            np.testing.assert_allclose(outputs[name], outputs["fxstyle"], atol=1e-4, err_msg=case.name)


def test_startup_measures_a_process(bench: Any) -> None:
    startup = bench("startup")
    assert 0.0 < startup.seconds(startup.COMMANDS[startup.BARE]) < 10.0


@pytest.fixture
def short_batch() -> Any:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(2, 2, 2, 6000, generator=generator)


def test_programs_that_follow_one_law_have_one_gradient(bench: Any, short_batch: Any) -> None:
    gradients, cases = bench("gradients"), bench("gradient_cases").cases()
    assert {case.name for case in cases} == {"eq", "sections", "compressor", "eq, compressor", "loss", "step"}
    x, target = short_batch
    for case in cases:
        for name, program in case.programs.items():
            _, gradient = program(x, target)()
            assert gradient.shape == x.shape, (case.name, name)
            assert gradient.isfinite().all(), (case.name, name)
            assert gradient.any(), (case.name, name)
        for name in case.same_law:
            # float32 on one side at least
            assert gradients.apart(case, name, x, target) < 1e-3, (case.name, name)


def test_a_difference_of_gradients_is_seen(bench: Any, short_batch: Any) -> None:
    gradients, cases = bench("gradients"), bench("gradient_cases")
    x, target = short_batch
    six, five = cases.exact_sections(6), cases.exact_sections(5)
    assert gradients.apart(cases.Case("", {cases.OURS: six, "other": five}), "other", x, target) > 0.01


def test_peers_that_are_not_installed_are_left_out(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = bench("gradient_cases")
    monkeypatch.setattr(cases, "find_spec", lambda _: None)
    assert cases.missing() == set(cases.PEERS)
    assert all(list(case.programs) == [cases.OURS] for case in cases.cases())
    assert all(case.same_law == () for case in cases.cases())


def test_slow_programs_take_fewer_turns(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = bench("gradients")
    clock = iter(range(1000))
    monkeypatch.setattr(gradients.time, "perf_counter", lambda: float(next(clock)))
    quick = gradients.time_turns([lambda: None, lambda: None], 7)
    assert [len(t) for t in quick] == [7, 7]
    slow = gradients.time_turns([lambda: None, lambda: [next(clock) for _ in range(5)]], 7)
    assert [len(t) for t in slow] == [gradients.SLOW_REPEATS] * 2
    assert slow[0] == [1.0] * 3
    assert slow[1] == [6.0] * 3


def test_peak_memory_is_that_of_the_job(bench: Any) -> None:
    # in a fresh process, as the benchmark does it: this one may have freed as much and kept it
    program = "import gradients, numpy; print(gradients.peak_mib(lambda: numpy.ones(8 << 20)))"
    folder = Path(bench("gradients").__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    # 64 MiB, and what the interpreter happens to do meanwhile
    assert float(done.stdout) == pytest.approx(64.0, abs=16.0)


@pytest.mark.parametrize(
    ("settings", "units"),
    [
        ({}, {"compressor", "distortion"}),
        ({"eq.low_cut_hz": 90.0}, {"highpass", "compressor", "distortion"}),
        ({"eq.high_cut_hz": 5000.0, "eq.peak2_db": -3.0}, {"lowpass", "peak", "compressor", "distortion"}),
        ({"eq.peak2_db": 0.4}, {"compressor", "distortion"}),
    ],
)
def test_a_chain_stands_for_the_units_that_are_in_use(
    bench: Any, settings: dict[str, float], units: set[str]
) -> None:
    from fxstyle.chain import Chain

    chain = Chain.parse("eq,compressor,saturation,gain").with_settings(settings)
    assert bench("counterfx").units_of(chain) == units
    assert bench("counterfx").units_of(chain.scaled(0.0)) == set()


def test_sets_are_scored_by_f1(bench: Any) -> None:
    match = bench("match")
    row = match.Row(0, 0, "", "music", "peak(q=1) > delay(mix=1)", "fxstyle", "draft", 1.0, 1.0, 1.0)
    assert "F1 1.000" in match.sets_told([replace(row, taken="delay,peak")])
    # two right of three taken and of four that were there: 2 PR / (P + R) = 4/7
    told = match.sets_told([replace(row, taken="delay,peak,reverb"), row])
    assert "F1 0.571 (precision 0.667, recall 0.500)" in told
    assert "delay 1/2, peak 1/2" in told


def test_what_is_learnt_goes_by_families(bench: Any) -> None:
    effects_of = bench("topology_train").effects_of
    assert effects_of("pedalboard.highpass,pedalboard.distortion,tape") == {"eq", "saturation"}
    assert effects_of("fdn,width") == {"reverb", "width"}
    assert effects_of("") == set()


def test_a_changed_item_keeps_its_truth(bench: Any, music: np.ndarray) -> None:
    """Whatever is done to the input, the truth is what the item's chain makes of it."""
    counterfx, robust = bench("counterfx"), bench("robust")
    steps = (counterfx.Step("peak", {"cutoff_frequency_hz": 800.0, "gain_db": 6.0, "q": 1.0}),)
    a, b = music[:, : 5 * RATE], music[:, 5 * RATE : 10 * RATE]
    truth = counterfx.process(a, steps)
    item = counterfx.Item("0", "music", a, counterfx.process(b, steps), truth, 1.0, steps, "eq", ())
    other = replace(item, kind="speech")
    for name in ("plain", "wet", "mono input", "noisy input", "other kind"):
        changed = robust.CLASSES[name](item, [item, other], np.random.default_rng(0))
        again = counterfx.process(changed.input, steps)
        assert np.allclose(changed.truth, again, atol=1e-6), name
    noisy = robust.noisy_input(item, [], np.random.default_rng(0)).input - a
    assert 20.0 * np.log10(noisy.std() / np.sqrt(np.square(a).mean())) == pytest.approx(-30.0, abs=0.2)
    mono = robust.CLASSES["mono reference"](item, [], np.random.default_rng(0)).reference
    assert np.array_equal(mono[0], mono[1])


@pytest.mark.data
def test_deepafx_items_are_at_their_peak_and_the_truth_has_no_distance(bench: Any, data_dir: Path) -> None:
    deepafx = bench("deepafx")
    for kind in deepafx.SETS:
        source, reference, truth = deepafx.item(kind, 0, 0)
        assert source.shape == truth.shape == reference.shape
        for x in (source, reference, truth):
            assert np.abs(x).max() == pytest.approx(10.0 ** (-12.0 / 20.0), rel=1e-4)
        found = deepafx.scores(kind, truth, truth)
        assert all(abs(found[name]) < 1e-9 for name in ("STFT", "MSD", "SCE", "RMS", "LUFS"))
        assert deepafx.scores(kind, source, truth)["STFT"] > 0.0
