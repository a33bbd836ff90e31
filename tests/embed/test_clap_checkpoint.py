"""Checkpoints of laion-clap: what is read of them, by transformers, and by laion-clap where it is installed.

laion-clap asks for numpy below 2: its tests run in an environment of its own, and are left out elsewhere.
"""

from __future__ import annotations

import json
import pickle
import re
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fxstyle.embed import clap_checkpoint, clap_laion, clap_transformers
from fxstyle.embed.clap import Clap, load_clap
from fxstyle.embed.clap_mel import Front
from fxstyle.errors import AudioError, SettingError

transformers = pytest.importorskip("transformers", reason="transformers, of the extra clap")

needs_laion = pytest.mark.skipif(
    not clap_laion.installed(), reason="laion-clap is not installed: it asks for numpy below 2"
)
RATE = 44_100
WORDS, PLACES, INNER = 261, 80, 64
EXTRAS = {
    "audio_branch.head.weight": torch.zeros(527, 527),
    "audio_branch.head.bias": torch.zeros(527),
    "audio_branch.tscam_conv.weight": torch.zeros(527, 768, 2, 3),
    "audio_branch.logmel_extractor.melW": torch.zeros(513, 64),
    "audio_branch.layers.0.blocks.1.attn_mask": torch.zeros(64, 64, 64),
    "text_transform.sequential.0.weight": torch.zeros(512, 512),
}
"""Of a checkpoint, what has no part in embeddings."""


BACK = {
    "attention.self.": "attn.",
    "attn.query.": "attn.qkv.",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "batch_norm": "bn0",
    "audio_model.audio_encoder": "audio_branch",
}
"""Names of transformers' audio side, and laion-clap's."""


def write_tokenizer(folder: Path) -> None:
    from tokenizers import pre_tokenizers

    folder.mkdir(exist_ok=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def named_by_laion(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of a `ClapModel` as laion-clap names them: the way back, written by itself."""
    found: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        if name.endswith(("position_ids", "token_type_ids")):
            continue
        new = name
        if name.startswith("audio_model"):
            if ".key." in new or ".value." in new:
                continue
            for part, by in BACK.items():
                new = new.replace(part, by)
        new = new.replace("text_model", "text_branch")
        new = new.replace("projection.linear1", "projection.0").replace("projection.linear2", "projection.2")
        parts = [name.replace("query", part) for part in ("query", "key", "value")]
        found[new] = torch.cat([weights[part] for part in parts]) if ".qkv." in new else value
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A checkpoint as they are published, and transformers' model with the same weights."""
    folder = tmp_path_factory.mktemp("laion")
    torch.manual_seed(5)
    sizes = clap_checkpoint.Sizes(96, WORDS, PLACES, 768, 1, INNER)
    network = transformers.ClapModel(
        transformers.ClapConfig(text_config=sizes.text(), audio_config=sizes.audio())
    ).eval()
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, 1.5 / parameter[0].numel() ** 0.5)
        else:
            parameter.data.normal_("norm" in name.lower() and name.endswith("weight"), 0.1)
    norm = network.audio_model.audio_encoder.batch_norm
    norm.running_mean.normal_(-40.0, 5.0)
    norm.running_var.uniform_(200.0, 400.0)
    weights = {**named_by_laion(network.state_dict()), **EXTRAS}
    weights["text_branch.embeddings.position_ids"] = torch.arange(PLACES)[None]
    held = {
        "epoch": 15,
        "name": "a run",
        "best": np.float64(0.9),
        "rate": np.float32(0.1),
        "state_dict": OrderedDict((f"module.{name}", value) for name, value in weights.items()),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]},
    }
    torch.save(held, folder / "clap.pt")
    write_tokenizer(folder)
    return folder / "clap.pt", network


def by_transformers(path: Path) -> Clap:
    return Clap(clap_transformers.load_checkpoint(path))


def noise(count: int, seconds: float, rate: int = RATE, seed: int = 0) -> torch.Tensor:
    x = np.random.default_rng(seed).standard_normal((count, 2, round(seconds * rate)))
    return torch.from_numpy(0.1 * x).float()


def test_a_checkpoint_runs_with_transformers(made: tuple[Path, Any]) -> None:
    path, network = made
    clap = by_transformers(path)
    x = noise(1, 2.0, 48_000)
    front = Front()
    with torch.no_grad():
        wanted = network.get_audio_features(front.mel(front.filled(x.mean(dim=1)))[:, None]).pooler_output
        ids = torch.tensor([[0, 91, 69, 86, 81, 2]])  # w a r m, counted off the alphabet of bytes
        said = network.get_text_features(ids, attention_mask=torch.ones_like(ids)).pooler_output
    torch.testing.assert_close(clap.embed(x, 48_000)["clap"], wanted, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(clap.embed_text(["warm"]), said, atol=1e-5, rtol=0.0)


def test_old_files_and_bare_ones_are_read_too(made: tuple[Path, Any], tmp_path: Path) -> None:
    held = torch.load(made[0], weights_only=False)
    wanted = clap_checkpoint.read(made[0])
    bare = {name.removeprefix("module."): value for name, value in held["state_dict"].items()}
    for name, content, zipped in (("old.pt", held, False), ("bare.pt", bare, True)):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
        found = clap_checkpoint.read(tmp_path / name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[n], wanted[n]) for n in wanted)


class Evil:
    """What runs a program when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (self.trace,)  # type: ignore[return-value]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_runs_nothing(made: tuple[Path, Any], tmp_path: Path, zipped: bool) -> None:
    held = torch.load(made[0], weights_only=False)
    trace = tmp_path / "trace"
    torch.save({**held, "args": Evil(trace)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(AudioError, match="more than tensors and numbers, which is not loaded"):
        load_clap(tmp_path / "x.pt")
    assert not trace.exists()
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert trace.exists(), "the file was not hostile: mend this test"


def test_what_is_no_checkpoint_is_refused(made: tuple[Path, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for content in (
        b"",
        b"RIFF and so on, quite another thing",
        made[0].read_bytes()[:100_000],
        pickle.dumps(3),
    ):
        path.write_bytes(content)
        with pytest.raises(AudioError, match=re.escape(str(path))):
            load_clap(path)
    for held in ([1, 2], {}, {"state_dict": 3}, {"state_dict": {"a": 1}}):
        torch.save(held, path)
        with pytest.raises(AudioError, match="holds no weights"):
            load_clap(path)


def test_weights_that_do_not_fit_are_refused(made: tuple[Path, Any], tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    path = tmp_path / "x.pt"
    whole = clap_checkpoint.read(made[0])
    first, fused = clap_checkpoint.FIRST_LAYER, f"{clap_checkpoint.FUSION}local_att.0.weight"
    for change, message in (
        ({first: None}, "holds no CLAP of laion-clap; it takes HTSAT-tiny, HTSAT-base, HTSAT-large"),
        ({first: torch.zeros(97, 1, 4, 4)}, "holds no CLAP of laion-clap"),
        ({first: torch.tensor(3.0)}, "holds no CLAP of laion-clap"),
        ({clap_checkpoint.WORDS: torch.zeros(3)}, "holds no CLAP of laion-clap"),
        ({fused: torch.zeros(1)}, "is a fused model; take the folder of laion/clap-htsat-fused"),
        ({"audio_branch.norm.weight": None}, "do not fit HTSAT-tiny"),
        ({"audio_branch.norm.weight": torch.zeros(3)}, "do not fit HTSAT-tiny"),
        ({"audio_branch.other.weight": torch.zeros(3)}, "do not fit HTSAT-tiny"),
    ):
        changed = {**whole, **change}
        torch.save({name: value for name, value in changed.items() if value is not None}, path)
        with pytest.raises(AudioError, match=message):
            by_transformers(path)


def test_the_tokenizer_is_found_beside(made: tuple[Path, Any], tmp_path: Path) -> None:
    path = tmp_path / "clap.pt"
    path.symlink_to(made[0])
    write_tokenizer(tmp_path / "roberta-base")
    found = by_transformers(path).embed_text(["close"])
    torch.testing.assert_close(found, by_transformers(made[0]).embed_text(["close"]), atol=1e-5, rtol=0.0)


def test_a_tokenizer_of_another_model_is_refused(made: tuple[Path, Any], tmp_path: Path) -> None:
    path = tmp_path / "clap.pt"
    path.symlink_to(made[0])
    write_tokenizer(tmp_path)
    words = json.loads((tmp_path / "vocab.json").read_text())
    for content in ({**words, "more": WORDS}, {"<unk>": 0}):
        (tmp_path / "vocab.json").write_text(json.dumps(content))
        with pytest.raises(AudioError, match=r"tokenizer.*put tokenizer\.json"):
            by_transformers(path)


def test_without_tokenizer_it_says_where_one_belongs(
    made: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clap.pt"
    path.symlink_to(made[0])

    def none(repository: str, patterns: object, *, local: bool) -> None:
        assert repository == "roberta-base"
        if not local:
            raise AudioError("roberta-base could not be downloaded")

    monkeypatch.setattr("fxstyle.embed.clap_hub.folder", none)
    with pytest.raises(AudioError, match=rf"tokenizer\.json \(2 MB\) beside the checkpoint, into {tmp_path}"):
        by_transformers(path)


@pytest.mark.skipif(clap_laion.installed(), reason="laion-clap is installed")
def test_without_laion_clap_there_is_no_folder_of_it() -> None:
    with pytest.raises(SettingError, match="laion-clap is not installed"):
        clap_laion.folder()


@pytest.fixture
def whole(made: tuple[Path, Any], tmp_path: Path) -> Path:
    """The same checkpoint with all that laion-clap's own network holds, its front end among it."""
    weights = clap_checkpoint.read(made[0])
    own = clap_laion._network(clap_checkpoint.sizes_of(weights, made[0])).state_dict()
    missing = {name for name in weights if name not in own}
    assert missing == set()
    own.update({name: value for name, value in weights.items() if name not in EXTRAS})
    torch.save({"state_dict": own}, tmp_path / "clap.pt")
    write_tokenizer(tmp_path)
    return tmp_path / "clap.pt"


@needs_laion
def test_laion_clap_and_transformers_agree(whole: Path) -> None:
    """The package's own network and front end, on the same weights: the outside truth of the renaming."""
    laion, other = load_clap(whole), by_transformers(whole)
    assert isinstance(laion.backend, clap_laion.LaionClap)
    texts = ["warm, close, a little tape", "bright"]
    torch.testing.assert_close(laion.embed_text(texts), other.embed_text(texts), atol=1e-5, rtol=0.0)
    x = noise(2, 0.5).requires_grad_(True)
    vectors = [clap.embed(x, RATE)["clap"] for clap in (laion, other)]
    # torchlibrosa's spectrum is a convolution in single precision
    torch.testing.assert_close(vectors[0], vectors[1], atol=1e-4, rtol=0.0)
    one, two = (torch.autograd.grad(v[:, 0].sum(), x)[0] for v in vectors)
    assert torch.isfinite(one).all()
    assert one.any()
    assert float((one - two).norm() / two.norm()) < 1e-2


@needs_laion
def test_vectors_are_those_of_laion_claps_own_pipeline(whole: Path) -> None:
    laion = load_clap(whole)
    x = noise(2, 0.5, 48_000)
    network = laion.backend.network  # type: ignore[attr-defined]  # of this back end
    rows = [x[k].mean(dim=0).repeat(20) for k in range(2)]  # 0.5 s, until 10 s are full
    heard = [{"waveform": row, "longer": torch.tensor([False])} for row in rows]
    torch.testing.assert_close(
        laion.embed(x, 48_000)["clap"], network.get_audio_embedding(heard), atol=1e-5, rtol=0.0
    )
    tokens = laion.backend.tokenizer(  # type: ignore[attr-defined]
        ["warm"], padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    torch.testing.assert_close(
        laion.embed_text(["warm"]), network.get_text_embedding(tokens), atol=1e-5, rtol=0.0
    )


@needs_laion
def test_laion_clap_leaves_nothing_behind_and_asks_no_network(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = list(sys.path)
    load_clap(whole)
    assert sys.path == before
    assert "laion_clap" not in sys.modules, "its import goes to the network"
    assert type(sys.modules.get("torchvision", sys)) is type(sys)
    import clap_module.model

    assert clap_module.model.RobertaModel is transformers.RobertaModel


@needs_laion
def test_laion_clap_refuses_weights_that_do_not_fit(whole: Path) -> None:
    weights = clap_checkpoint.read(whole)
    del weights["audio_branch.norm.weight"]
    path = whole.parent / "x.pt"  # the weights are mapped: their own file stays
    torch.save(weights, path)
    with pytest.raises(AudioError, match="do not fit HTSAT-tiny"):
        load_clap(path)
