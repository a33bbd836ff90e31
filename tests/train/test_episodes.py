"""Material and episodes: what may be used, draws that repeat, the same styles on both recordings."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fxstyle.embed.frontend import BANDS, CHANNELS, SCALE_DB, TEXTURE
from fxstyle.errors import AudioError, SettingError
from fxstyle.performance import perform
from fxstyle.train.content import QUIETEST_RMS, RATE, Library, recordings
from fxstyle.train.encoder import true_distances
from fxstyle.train.episodes import ROWS, STYLES, VARIED, Plan, episode, load, making, styles_of, units_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little collection: two songs, a few short strokes, a silent file and a text."""
    top = tmp_path_factory.mktemp("material")
    for name, seconds, seed in (("songs/one.wav", 7.0, 0), ("songs/two.flac", 6.5, 1)):
        path = top / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, perform(seconds, 48_000, song=seed, seed=seed).T, 48_000)
    strokes = top / "strokes"
    strokes.mkdir()
    t = np.arange(8000) / RATE
    for k in range(3):
        soundfile.write(
            strokes / f"{k}.wav", 0.5 * np.exp(-30 * t) * np.sin(2 * np.pi * 100 * 2**k * t), RATE
        )
    (top / "quiet").mkdir()
    soundfile.write(top / "quiet" / "silence.wav", np.zeros(8 * RATE), RATE)
    (top / "rir").mkdir()
    soundfile.write(top / "rir" / "room.wav", np.eye(1, 9000)[0], RATE)
    (top / "notes.txt").write_text("no sound")
    (top / "songs" / "broken.wav").write_bytes(b"RIFF nothing")
    return top


class TestContent:
    def test_what_can_be_read_is_found_and_what_is_left_out_is_not(self, folder: Path) -> None:
        found = recordings(folder, ("rir",))
        names = [r.path.relative_to(folder).as_posix() for r in found]
        assert names == [
            "quiet/silence.wav", "songs/one.wav", "songs/two.flac",
            "strokes/0.wav", "strokes/1.wav", "strokes/2.wav",
        ]  # fmt: skip
        assert {r.kind for r in found} == {f"{folder.name}/{kind}" for kind in ("quiet", "songs", "strokes")}

    def test_a_manifest_keeps_test_recordings_out(self, folder: Path) -> None:
        manifest = folder / "MANIFEST.csv"
        manifest.write_text("path,split\nsongs/one.wav,train\nsongs/two.flac,test\n")
        try:
            assert [r.path.name for r in recordings(folder)] == ["one.wav"]
            manifest.write_text("file\nsongs/one.wav\n")
            with pytest.raises(AudioError, match="`path` and `split` are missing"):
                recordings(folder)
        finally:
            manifest.unlink()

    def test_the_real_manifest_is_kept_to(self, data_dir: Path) -> None:
        found = {r.path for r in recordings(data_dir)}
        assert found
        import csv

        with (data_dir / "MANIFEST.csv").open(newline="") as file:
            tests = {data_dir / row["path"] for row in csv.DictReader(file) if row["split"] != "train"}
        assert not found & tests

    def test_a_folder_without_recordings_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(AudioError, match="has no recordings"):
            recordings(tmp_path)
        with pytest.raises(AudioError, match="is no folder"):
            recordings(tmp_path / "none")

    @pytest.mark.parametrize("kind", ["songs", "strokes", "quiet"])
    def test_windows_are_full_sounding_and_repeat(self, folder: Path, kind: str) -> None:
        library = Library(recordings(folder, ("rir",)), 2.0)
        one, two = (library.window(f"{folder.name}/{kind}", np.random.default_rng(5)) for _ in range(2))
        assert one.shape == (2, 2 * RATE)
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, two)
        assert np.sqrt(np.square(one).mean()) > QUIETEST_RMS

    def test_short_recordings_follow_one_another(self, folder: Path) -> None:
        library = Library(recordings(folder, ("rir",)), 4.0)
        x = library.window(f"{folder.name}/strokes", np.random.default_rng(2))
        blocks = np.square(x).reshape(2, 8, -1).mean(axis=(0, 2))
        assert (blocks > 1e-5).sum() >= 5


class TestEpisodes:
    def test_an_episode_repeats_and_others_differ(self, folder: Path) -> None:
        plan = Plan((folder,), 3, ("fxstyle",))
        one, again, other = episode(plan, 4), episode(plan, 4), episode(plan, 5)
        assert one.frames.shape[:3] == (2, ROWS, CHANNELS)
        assert one.texture.shape == (2, ROWS, TEXTURE)
        for a, b in zip(one, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not np.array_equal(one.frames, other.frames)
        assert all(np.isfinite(part.astype(np.float64)).all() for part in one)

    def test_rows_are_treated_and_the_first_is_not(self, folder: Path) -> None:
        made = episode(Plan((folder,), 3, ("fxstyle",)), 6)
        assert not made.present[0].any()
        assert (made.present[1:].sum(axis=1) >= 1).all()
        apart = true_distances(torch.from_numpy(made.frames.astype(np.float32)))
        off_diagonal = apart[:, ~torch.eye(ROWS, dtype=torch.bool)]
        # a style or two may do next to nothing, most do something: a decibel on average at least
        assert float(off_diagonal.median()) > 1.0

    def test_true_distances_are_mean_absolute_differences(self) -> None:
        frames = torch.zeros(2, CHANNELS, 8)
        frames[1, :BANDS] = 0.1
        apart = true_distances(frames)
        torch.testing.assert_close(apart, torch.tensor([[0.0, 0.1], [0.1, 0.0]]) * SCALE_DB)

    def test_styles_come_with_neighbours(self) -> None:
        styles = styles_of(units_of(("fxstyle",)), np.random.default_rng(1))
        assert len(styles) == STYLES + VARIED
        for base, other in zip(styles, styles[STYLES:], strict=False):
            assert [s.unit for s in base] == [s.unit for s in other]
            here, there = (np.concatenate([s.shares for s in style]) for style in (base, other))
            assert (here != there).sum() == 1

    def test_programs_are_chosen_by_the_beginning_of_names(self) -> None:
        assert {u.name for u in units_of(("fxstyle.eq",))} == {
            f"fxstyle.eq.{kind}" for kind in ("peak", "shelves", "low_cut", "high_cut", "graphic")
        }
        with pytest.raises(SettingError, match="--programs nothing"):
            units_of(("nothing",))

    def test_processes_make_the_same(
        self, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        # as in the workers: with more threads a sum has another order, and another last bit
        request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
        torch.set_num_threads(1)
        plan = Plan((folder,), 3, ("fxstyle.eq", "fxstyle.gate"))
        with making(plan, tmp_path, 2, 1) as numbers:
            assert list(numbers) == [0, 1]
        for number in (0, 1):
            for a, b in zip(load(tmp_path, number), episode(plan, number), strict=True):
                np.testing.assert_array_equal(a, b)
        assert not list(tmp_path.glob("*.part"))
