"""CLAP through transformers, by a small random model of the same architecture; a text as a direction."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fxstyle import embed
from fxstyle.chain import Chain
from fxstyle.embed.clap import Clap, Wish, load_clap
from fxstyle.errors import AudioError, SettingError
from fxstyle.fit.crops import Crops
from fxstyle.fit.locks import Locks
from fxstyle.fit.objective import Aim, Objective
from fxstyle.fit.space import Space

transformers = pytest.importorskip("transformers", reason="transformers, of the extra clap")

RATE = 44_100
SIZES: dict[str, Any] = {
    "text_config": {
        "vocab_size": 261, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 80,
    },
    "audio_config": {
        "patch_embeds_hidden_size": 8, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
        "hidden_size": 64,
    },
    "projection_dim": 24,
}  # fmt: skip


def made(folder: Path, truncation: str = "rand_trunc", **audio: object) -> Path:
    """Write a model as it is published, with random weights that spread what they hear."""
    from tokenizers import pre_tokenizers

    torch.manual_seed(3)
    sizes = {**SIZES, "audio_config": {**SIZES["audio_config"], **audio}}
    network = transformers.ClapModel(transformers.ClapConfig(**sizes))
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, 2.0 / parameter[0].numel() ** 0.5)
        elif "norm" in name.lower() and name.endswith("weight"):
            parameter.data.normal_(1.0, 0.1)
        else:
            parameter.data.normal_(0.0, 0.05)
    norm = network.audio_model.audio_encoder.batch_norm
    norm.running_mean.fill_(-40.0)
    norm.running_var.fill_(400.0)
    network.save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters]
    transformers.RobertaTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[]).save_pretrained(
        folder
    )
    transformers.ClapFeatureExtractor(truncation=truncation, frequency_min=50).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def clap(folder: Path) -> Clap:
    return load_clap(folder)


def noise(count: int, seconds: float, rate: int = RATE, seed: int = 0) -> torch.Tensor:
    x = np.random.default_rng(seed).standard_normal((count, 2, round(seconds * rate)))
    return torch.from_numpy(0.1 * x).float()


def tones(seconds: float, rate: int = RATE) -> torch.Tensor:
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    parts = [torch.sin(2.0 * torch.pi * hz * t + hz) for hz in (110.0, 450.0, 1700.0, 6500.0)]
    return (0.1 * torch.stack(parts).sum(dim=0)).float().expand(1, 2, -1)


def test_sounds_and_texts_share_a_space(clap: Clap) -> None:
    sounds = clap.embed(torch.cat([noise(2, 1.0), tones(1.0)]), RATE)["clap"]
    texts = clap.embed_text(["warm", "bright and close"])
    assert sounds.shape == (3, 24)
    assert texts.shape == (2, 24)
    torch.testing.assert_close(sounds.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    assert float((texts[0] - texts[1]).norm()) > 0.01
    # what sounds differently lies further apart than two stretches of noise
    assert float((sounds[0] - sounds[2]).norm()) > 3.0 * float((sounds[0] - sounds[1]).norm())


@pytest.mark.parametrize("seconds", [0.5, 3.0, 10.0])
def test_vectors_are_those_of_transformers_own_pipeline(folder: Path, clap: Clap, seconds: float) -> None:
    network = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    x = noise(1, seconds, 48_000)
    heard = extractor(x.mean(dim=1)[0].numpy(), sampling_rate=48_000, return_tensors="pt")
    texts = ["warm", "a little tape", "x"]
    with torch.no_grad():
        wanted = network.get_audio_features(**heard).pooler_output
        said = network.get_text_features(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
    # single precision through a network
    torch.testing.assert_close(clap.embed(x, 48_000)["clap"], wanted, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(clap.embed_text(texts), said, atol=1e-5, rtol=0.0)


def test_a_fused_model_is_that_of_transformers_too(tmp_path: Path) -> None:
    folder = made(tmp_path, "fusion", enable_fusion=True, fusion_type="aff_2d")
    network = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    x = noise(1, 4.0, 48_000)
    heard = extractor(x.mean(dim=1)[0].numpy(), sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        # the extractor calls one recording of a batch longer than it is, as in training
        wanted = network.get_audio_features(
            heard["input_features"], is_longer=torch.zeros(1, 1, dtype=torch.bool)
        ).pooler_output
    torch.testing.assert_close(load_clap(folder).embed(x, 48_000)["clap"], wanted, atol=1e-4, rtol=0.0)


def test_each_recording_is_embedded_by_itself_and_crops_are_pooled(clap: Clap) -> None:
    x = torch.cat([noise(2, 1.0), tones(1.0), noise(1, 1.0, seed=4)])
    apart, pooled = clap.embed(x, RATE)["clap"], clap.embed(x, RATE, crops=2)["clap"]
    for k in range(4):
        # single precision, summed in another order
        torch.testing.assert_close(clap.embed(x[k : k + 1], RATE)["clap"][0], apart[k], atol=1e-4, rtol=0.0)
    for k in range(2):
        mean = apart[2 * k : 2 * k + 2].mean(dim=0)
        torch.testing.assert_close(pooled[k], mean / mean.norm(), atol=1e-5, rtol=0.0)


def test_a_long_recording_is_the_mean_of_its_windows_that_sound(clap: Clap) -> None:
    size = 10 * RATE
    x = torch.cat([tones(10.0), noise(1, 10.0), torch.zeros(1, 2, size)], dim=2)
    starts = range(0, 2 * size, size // 2)  # the last window is silent
    windows = torch.cat([x[..., s : s + size] for s in starts])
    mean = clap.embed(windows, RATE)["clap"].mean(dim=0)
    torch.testing.assert_close(clap.embed(x, RATE)["clap"][0], mean / mean.norm(), atol=1e-4, rtol=0.0)


def test_one_channel_is_two_equal_ones_and_rates_hardly_matter(clap: Clap) -> None:
    two = clap.embed(tones(2.0), RATE)["clap"]
    torch.testing.assert_close(clap.embed(tones(2.0)[:, :1], RATE)["clap"], two)
    far = float((clap.embed(noise(1, 2.0), RATE)["clap"] - two).norm())
    for rate in (22_050, 48_000, 96_000):
        assert float((clap.embed(tones(2.0, rate), rate)["clap"] - two).norm()) < 0.1 * far


def test_distance_is_one_less_the_cosine(clap: Clap) -> None:
    vectors = clap.embed(torch.cat([noise(2, 1.0), tones(1.0)]), RATE)
    target = {"clap": vectors["clap"][:1]}
    found = clap.distance(vectors, target)
    assert set(found) == {"clap"}
    cosine = torch.nn.functional.cosine_similarity(vectors["clap"], target["clap"])
    torch.testing.assert_close(found["clap"], 1.0 - cosine, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_gradient_reaches_the_audio(folder: Path, rate: int) -> None:
    clap = load_clap(folder)
    clap.backend.network.double()  # type: ignore[attr-defined]  # of this back end
    # in a band that is all but empty a logarithm is too crooked for differences
    mixed = torch.cat([noise(1, 0.5, rate), 0.3 * noise(1, 0.5, rate, seed=7) + tones(0.5, rate)])
    x = mixed.double().requires_grad_(True)
    target = {"clap": clap.embed(noise(1, 0.5, rate, seed=9), rate)["clap"]}

    def loss(y: torch.Tensor) -> torch.Tensor:
        return clap.distance(clap.embed(y, rate), target)["clap"].sum()

    (gradient,) = torch.autograd.grad(loss(x), x)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().amax(dim=(1, 2)) > 0.0).all()
    towards = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        slope = float(loss(x + step * towards) - loss(x - step * towards)) / (2.0 * step)
    # central differences: the error is of the order of step^2, and 1e-16 / step of rounding
    assert float((gradient * towards).sum()) == pytest.approx(slope, rel=1e-4)


def direction(clap: Clap, x: torch.Tensor, text: str) -> Wish:
    return Wish.of(clap, text, clap.embed(x, RATE))


def test_a_wish_is_a_direction(clap: Clap) -> None:
    x = tones(1.0)
    wish = direction(clap, x, "warm")
    assert wish.name == "clap.text"
    wished, plain = clap.embed_text(["this sound is warm", "this is a sound"])
    torch.testing.assert_close(wish.direction[0], (wished - plain) / (wished - plain).norm())
    same = wish.embed(x, RATE)
    torch.testing.assert_close(wish.distance(same, wish.target)["direction"], torch.ones(1))
    for sign, wanted in ((1.0, 0.0), (-1.0, 2.0)):
        far = {"direction": sign * wish.direction}
        found = float(wish.distance(far, wish.target)["direction"])
        assert found == pytest.approx(wanted, abs=1e-5)
    moved = clap.embed(noise(1, 1.0), RATE)["clap"] - clap.embed(x, RATE)["clap"]
    length = float(moved.norm())
    found = wish.embed(noise(1, 1.0), RATE)["direction"]
    torch.testing.assert_close(found, moved / (length**2 + 0.05**2) ** 0.5)
    torch.testing.assert_close(
        direction(clap, x, "  warm ").direction, wish.direction
    )  # blanks around a text say nothing


def test_an_unchanged_input_has_a_slope(clap: Clap) -> None:
    x = tones(1.0)
    wish = direction(clap, x, "warm")
    y = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(wish.distance(wish.embed(y, RATE), wish.target)["direction"].sum(), y)
    assert torch.isfinite(gradient).all()
    assert gradient.any()


@pytest.mark.parametrize("text", ["warm", "bright, thin"])
def test_an_equaliser_moves_towards_a_wish(clap: Clap, text: str) -> None:
    """Descend J of the fit over an equaliser's settings: the distance falls, and the prior pays for it."""
    x = 0.3 * noise(1, 1.0) + tones(1.0)
    crops = Crops(x, 0)
    wish = direction(clap, x, text)
    space = Space(Chain.parse("eq"), Locks())
    objective = Objective(space, crops, [Aim(wish, wish.target)], RATE)
    u = torch.from_numpy(space.home)[None].clone().requires_grad_(True)
    optimiser = torch.optim.Adam([u], lr=0.03)
    course = []
    for _ in range(25):
        loss, terms = objective(u)
        course.append(float(terms["clap.text.direction"].detach()))
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        with torch.no_grad():
            u.clamp_(0.0, 1.0)
    assert course[0] == pytest.approx(1.0, abs=0.03)  # the equaliser at rest is all but none
    assert course[-1] < course[0] - 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.embed(noise(1, 0.1), RATE), r"0\.100 s is too short.*0\.2 s"),
        (lambda c: c.embed_text([]), "no list of texts"),
        (lambda c: c.embed_text("warm"), "'warm' is no list of texts"),
        (lambda c: c.embed_text(["warm", " "]), "' ' says nothing"),
        (lambda c: Wish.of(c, " ", {"clap": torch.zeros(1, 24)}), "says nothing"),
        (
            lambda c: Wish.of(c, "warm", {"clap": torch.zeros(1, 24)}, neutral="this sound is warm"),
            "'warm' says no more than 'this sound is warm'",
        ),
    ],
)
def test_what_says_nothing_is_refused(clap: Clap, call: Callable[[Clap], object], message: str) -> None:
    with pytest.raises((AudioError, SettingError), match=message):
        call(clap)


def test_a_long_text_is_cut(clap: Clap) -> None:
    long = clap.embed_text(["warm and close, " * 50, "warm and close, " * 60])
    torch.testing.assert_close(long[0], long[1])


def test_by_name(folder: Path) -> None:
    found = embed.get(f"clap:{folder}")
    assert isinstance(found, Clap)
    assert found.name == "clap"
    by_file = embed.get(f"clap:{folder / 'model.safetensors'}")
    x = noise(1, 0.5)
    torch.testing.assert_close(by_file.embed(x, RATE)["clap"], found.embed(x, RATE)["clap"])
    with pytest.raises(SettingError, match="'clap:mine'"):
        embed.register("clap:mine", lambda: found)
    with pytest.raises(SettingError, match=r" clap, and weights by file, x\.safetensors or clap:PATH"):
        embed.get("clop")


def broken(folder: Path, to: Path, change: Mapping[str, str | bytes | None]) -> Path:
    shutil.copytree(folder, to)
    for name, content in change.items():
        if content is None:
            (to / name).unlink()
        else:
            (to / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return to


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config.json": None}, r"config\.json is missing.*larger_clap_music"),
        ({"config.json": "{"}, r"config\.json cannot be read"),
        ({"config.json": "[" * 100_000}, r"config\.json cannot be read"),
        ({"config.json": "[1]"}, "holds no settings"),
        ({"config.json": '{"model_type": "bert"}'}, "a model of type 'bert' and no CLAP"),
        (
            {"config.json": '{"model_type": "clap", "projection_dim": "x"}'},
            "holds no CLAP that can be loaded",
        ),
        ({"preprocessor_config.json": None}, r"preprocessor_config\.json is missing"),
        ({"preprocessor_config.json": '{"hop_length": -1}'}, r"preprocessor_config\.json: hop_length is -1"),
        ({"model.safetensors": None}, "holds no CLAP that can be loaded"),
        ({"model.safetensors": b"RIFF and so on"}, "holds no CLAP that can be loaded"),
        ({"tokenizer.json": None, "tokenizer_config.json": None}, r"no tokenizer.*put tokenizer\.json"),
        ({"tokenizer.json": None}, r"no tokenizer.*put tokenizer\.json"),
        ({"tokenizer.json": "{}"}, "no tokenizer"),
    ],
)
def test_folders_that_hold_no_clap(
    folder: Path, tmp_path: Path, change: Mapping[str, str | bytes | None], message: str
) -> None:
    with pytest.raises(AudioError, match=message):
        load_clap(broken(folder, tmp_path / "x", change))


def test_missing_weights_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    to = broken(folder, tmp_path / "x", {})
    weights = load_file(to / "model.safetensors")
    del weights["text_projection.linear1.weight"]
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    with pytest.raises(AudioError, match=r"1 weights are missing, the first is text_projection\.linear1"):
        load_clap(to)


def test_counts_may_be_missing(folder: Path, clap: Clap, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    to = broken(folder, tmp_path / "x", {})
    weights = load_file(to / "model.safetensors")
    kept = {n: v for n, v in weights.items() if not n.endswith(("position_ids", "relative_position_index"))}
    assert len(kept) < len(weights)
    save_file(kept, to / "model.safetensors", {"format": "pt"})
    x = noise(1, 0.5)
    found = load_clap(to)
    torch.testing.assert_close(found.embed(x, RATE)["clap"], clap.embed(x, RATE)["clap"])
    torch.testing.assert_close(found.embed_text(["warm"]), clap.embed_text(["warm"]))


def test_code_of_a_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told.update(auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil")
    config = json.loads((folder / "config.json").read_text())
    config.update(auto_map={"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"})
    trace = tmp_path / "trace"
    to = broken(
        folder,
        tmp_path / "x",
        {
            "tokenizer_config.json": json.dumps(told),
            "config.json": json.dumps(config),
            "evil.py": f"open({str(trace)!r}, 'w').write('run')\nclass Evil: ...\n",
        },
    )
    with suppress(AudioError):  # or the tokenizer is read as what it is
        load_clap(to)
    assert not trace.exists()


def test_newer_folders_keep_the_extractor_elsewhere(folder: Path, tmp_path: Path) -> None:
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    both = {
        "preprocessor_config.json": None,
        "processor_config.json": json.dumps({"feature_extractor": extractor}),
    }
    found = load_clap(broken(folder, tmp_path / "x", both))
    assert found.backend.front == load_clap(folder).backend.front


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/nowhere/clap",
            "no such file or folder of CLAP weights; download the repository laion/larger_clap_music",
        ),
        ("/nowhere/clap.pt", "no such checkpoint; download"),
        (__file__, "is no CLAP: it takes a folder"),
    ],
)
def test_paths_that_lead_nowhere(path: str, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        load_clap(path)


def test_models_have_two_names() -> None:
    with pytest.raises(SettingError, match="no CLAP is called 'rock'; there are music and general"):
        load_clap(model="rock")  # type: ignore[arg-type]


def run(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter in which every use of the network is an error, and printed."""
    guard = (
        "import socket, sys\n"
        "def refuse(*a, **k):\n    print('NETWORK', a)\n    raise OSError('no network')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    done = subprocess.run(
        [sys.executable, "-c", guard + code],
        capture_output=True, text=True, timeout=300, env={**kept, **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_local_weights_need_no_network(folder: Path, tmp_path: Path) -> None:
    said = run(
        "from fxstyle import embed\n"
        "assert 'transformers' not in sys.modules\n"
        "import fxstyle.embed.clap\n"
        "assert 'transformers' not in sys.modules\n"
        f"c = embed.get('clap:{folder}')\n"
        "print(tuple(c.embed_text(['warm']).shape))\n"
        "import huggingface_hub.constants as h\n"
        "print('offline', h.HF_HUB_OFFLINE)\n",
        HF_HOME=str(tmp_path),
    )
    assert said.split("\n")[:2] == ["(1, 24)", "offline False"]
    assert "NETWORK" not in said


def test_without_weights_and_network_it_says_what_to_do(tmp_path: Path) -> None:
    said = run(
        "from fxstyle import embed\nfrom fxstyle.errors import AudioError\n"
        "for name in ('clap', 'clap:general', 'clap:some/where'):\n"
        "    try:\n        embed.get(name)\n"
        "    except AudioError as error:\n        print('SAID', error)\n",
        HF_HOME=str(tmp_path),
    )
    told = [line for line in said.splitlines() if line.startswith("SAID")]
    assert len(told) == 3
    assert all(
        "could not be downloaded" in line and "pass its folder, as in clap:FOLDER" in line for line in told
    )
    assert "some/where is no file or folder here" in told[2]


def test_the_hubs_cache_is_enough(folder: Path, tmp_path: Path) -> None:
    stored = tmp_path / "hub" / "models--laion--larger_clap_music"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, stored / "snapshots" / ("0" * 40))
    if find_spec("laion_clap"):
        pytest.skip("laion-clap is installed and takes its own weights")
    said = run(
        "from fxstyle import embed\nprint(tuple(embed.get('clap').embed_text(['warm']).shape))\n",
        HF_HOME=str(tmp_path),
    )
    assert said.strip() == "(1, 24)"


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxstyle.embed.clap_transformers.installed", lambda: False)
    with pytest.raises(SettingError, match=r'not installed: pip install "fxstyle\[clap\]"'):
        load_clap()


def test_an_old_transformers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fxstyle.embed.clap_transformers.version", lambda _: "4.57.1")
    with pytest.raises(SettingError, match=r"transformers 5 and 4\.57\.1 is installed: pip install"):
        load_clap()
