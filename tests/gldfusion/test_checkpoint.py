"""Checkpoints that are damaged or hostile: each is refused in words, and nothing of their code runs."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gldfusion.checkpoint import fused_problem, require_intact
from gldfusion.errors import InputError
from gldfusion.fuse import fuse
from gldfusion.hashes import hash_checkpoint
from gldfusion.manifest import write_manifest
from gldfusion.model import load_model, load_tokenizer
from gldfusion.paths import require_checkpoint
from gldfusion.recipe import Recipe

CODE = """
from pathlib import Path
Path({witness!r}).write_text("the code ran")
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig):
    model_type = {kind!r}
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be damaged."""
    return shutil.copytree(models["qwen2"], tmp_path / "checkpoint")


def change(path: Path, **settings: object) -> None:
    """Changes settings of a JSON file. The setting ... removes a key."""
    content = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


def load(path: Path, trust_remote_code: bool = False) -> None:
    load_tokenizer(path, trust_remote_code)
    load_model(path, trust_remote_code=trust_remote_code)


def assert_short(caught: pytest.ExceptionInfo[InputError], *words: str) -> None:
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    assert not [word for word in words if word not in message]


@pytest.fixture
def with_code(models: dict[str, Path], tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Makes a checkpoint whose code writes a file, and the path of that file."""

    def make(kind: str) -> tuple[Path, Path]:
        path, witness = shutil.copytree(models["llama"], tmp_path / f"code-{kind}"), tmp_path / f"witness-{kind}"
        (path / "own.py").write_text(CODE.format(witness=str(witness), kind=kind))
        names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
        change(path / "config.json", model_type=kind, auto_map=names)
        return path, witness

    return make


@pytest.mark.parametrize("kind", ["kind_of_its_own", "llama"])
def test_code_of_a_checkpoint_runs_only_if_it_is_trusted(
    with_code: Callable[[str], tuple[Path, Path]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, witness = with_code(kind)
    monkeypatch.setattr("builtins.input", lambda *_: "yes")  # transformers must not even ask
    for read in (load_tokenizer, load_model, require_checkpoint):
        with pytest.raises(InputError) as caught:
            read(path)
        assert_short(caught, str(path), "auto_map in config.json", "--trust-remote-code")
    assert not witness.exists()
    load(path, trust_remote_code=True)
    assert witness.exists()


def test_code_of_a_tokenizer_or_from_the_hub_is_refused_too(copy: Path) -> None:
    change(copy / "config.json", attn_implementation="someone/kernel")
    with pytest.raises(InputError) as caught:
        load(copy)
    assert_short(caught, "asks for code from the hub", "someone/kernel", "--trust-remote-code")
    change(copy / "config.json", attn_implementation=...)
    load(copy)
    change(copy / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Slow", "own.Fast"]})
    with pytest.raises(InputError) as caught:
        load(copy)
    assert_short(caught, "auto_map in tokenizer_config.json")


def test_a_trusting_fusion_is_recorded(
    make_recipe: Callable[..., Recipe], with_code: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    path, witness = with_code("recorded_kind")
    with pytest.raises(InputError, match="brings its own code"):
        fuse(make_recipe(pivot=path, steps=1), tmp_path / "out")
    assert not witness.exists()
    out = fuse(make_recipe(pivot=path, steps=1, trust_remote_code=True), tmp_path / "out")
    assert json.loads((out / "fusion.json").read_text())["trust_remote_code"] is True
    assert "Code that the pivot or the sources bring with them was run" in (out / "README.md").read_text()
    plain = fuse(make_recipe(steps=1), tmp_path / "plain")
    assert json.loads((plain / "fusion.json").read_text())["trust_remote_code"] is False
    assert "trust_remote_code" not in (plain / "README.md").read_text()


def test_the_code_is_part_of_the_identity(with_code: Callable[[str], tuple[Path, Path]]) -> None:
    path, _ = with_code("hashed_kind")
    before = hash_checkpoint(path)
    with (path / "own.py").open("a") as file:
        file.write("# changed\n")
    assert hash_checkpoint(path) != before


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(InputError) as caught:
        load_model(copy)
    assert_short(caught, "pickled weights (pytorch_model.bin)", "safe_serialization=True")


def test_pickled_weights_beside_safetensors_are_not_read(copy: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"no pickle")
    load(copy)


@pytest.mark.parametrize(
    "name", ["pytorch_model-00001-of-00001.bin", "../elsewhere.safetensors", "missing.safetensors"]
)
def test_an_index_names_safetensors_files_of_its_folder(copy: Path, name: str) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model-00001-of-00001.bin")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    with pytest.raises(InputError, match=r"must name safetensors files of its folder: it names '"):
        load_model(copy)


def test_an_adapter_is_refused(copy: Path) -> None:
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="holds an adapter"):
        load_model(copy)


TEMPLATES = {
    "loops": (
        "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}"
        "{% endfor %}"
    ),
    "loops in the second turn": "{% if messages | length > 1 %}{{ lipsum(n=10**9) }}{% endif %}",
    "fills the memory": "{{ 'a' * 10 ** 11 }}",
    "range": "{% for i in range(10 ** 9) %}{% endfor %}",
    "raises": "{{ raise_exception('no system role') }}",
    "divides by zero": "{{ 1 / 0 }}",
    "is not Jinja": "{% for",
    "leaves the sandbox": "{{ ''.__class__.__mro__[1].__subclasses__()() }}",
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_bad_chat_template_is_refused(copy: Path, case: str) -> None:
    (copy / "chat_template.jinja").write_text(TEMPLATES[case])
    with pytest.raises(InputError) as caught:
        load_tokenizer(copy)
    assert_short(caught, f"the chat template of {copy} ", "correct the template")


def test_a_template_that_fails_on_one_text_names_the_text(
    make_recipe: Callable[..., Recipe], copy: Path, tmp_path: Path
) -> None:
    (copy / "chat_template.jinja").write_text("{% if 'hello' in messages[0].content %}{{ 1 / 0 }}{% endif %}a")
    with pytest.raises(InputError, match=r"example text-1: the chat template of .* fails \(ZeroDivisionError\)"):
        fuse(make_recipe(pivot=copy), tmp_path / "out")


GARBAGE = (b"", b"{", b"\xff\xfe", b"[1, 2]", b"null", b'{"a": ' * 2000, b'{"model_type": 7}', b"{}")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_garbage_is_refused_in_words(copy: Path, name: str) -> None:
    """An empty object is a valid tokenizer_config.json and generation_config.json."""
    optional = name in ("tokenizer_config.json", "generation_config.json")
    for content in GARBAGE[: -2 if optional else None]:
        (copy / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            load(copy)
        assert_short(caught, str(copy))


def test_damaged_weights_are_refused_in_words(copy: Path) -> None:
    path = copy / "model.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    first = next(name for name in header if name != "__metadata__")

    def edited(**fields: object) -> bytes:
        text = json.dumps(header | {first: header[first] | fields}).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + size :]

    cases = (
        b"",
        content[:7],
        content[: 8 + size // 2],
        content[:-1],
        b"\xff" * 8 + content[8:],
        edited(shape=[1, 1]),
        edited(dtype="F64"),
        edited(dtype="no type"),
        edited(data_offsets=[0, 10**12]),
    )
    for case in cases:
        path.write_bytes(case)
        with pytest.raises(InputError) as caught:
            load_model(copy)
        assert_short(caught, str(copy))


def test_a_manifest_shows_one_flipped_bit(copy: Path) -> None:
    write_manifest(copy)
    load(copy)
    (copy / "notes.txt").write_text("a user may add notes")
    load(copy)
    path = copy / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    load_tokenizer(copy)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged: expected the checksum .*\nmake or copy the"):
        load_model(copy)


def test_a_file_that_was_added_is_named(copy: Path) -> None:
    write_manifest(copy)
    (copy / "chat_template.jinja").rename(copy / "kept")
    with pytest.raises(InputError, match=r"chat_template\.jinja is damaged: expected a file of .* found none"):
        load_tokenizer(copy)
    (copy / "kept").rename(copy / "chat_template.jinja")
    (copy / "added_tokens.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json does not list added_tokens\.json"):
        load_tokenizer(copy)


def test_a_manifest_of_another_program_is_not_ours(copy: Path) -> None:
    (copy / "manifest.json").write_text('{"schemaVersion": 2}')
    require_intact(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="manifest"):
        require_intact(copy)


def test_every_file_of_a_fused_checkpoint_is_sealed(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    out = fuse(make_recipe(steps=1), tmp_path / "out")
    assert fused_problem(out) is None
    names = [path.name for path in sorted(out.iterdir())]
    assert {"model.safetensors", "tokenizer.json", "config.json", "fusion.json", "manifest.json"} <= set(names)
    for name in names:
        whole = (out / name).read_bytes()
        for damaged in (whole[:-2], whole[:5] + bytes([whole[5] ^ 1]) + whole[6:]):
            (out / name).write_bytes(damaged)
            assert name in str(fused_problem(out))
        (out / name).unlink()
        assert name in str(fused_problem(out))
        (out / name).write_bytes(whole)
    assert fused_problem(out) is None


@pytest.mark.parametrize(
    "settings", [{"num_hidden_layers": 10**9}, {"hidden_size": 10**6}, {"vocab_size": 10**10}, {"head_dim": 2**70}]
)
@pytest.mark.timeout(20)
def test_a_model_that_is_too_large_for_its_weights(
    models: dict[str, Path], tmp_path: Path, settings: dict[str, int]
) -> None:
    copy = shutil.copytree(models["llama"], tmp_path / "llama")
    load_model(copy)
    change(copy / "config.json", **settings)
    with pytest.raises(InputError) as caught:
        load_model(copy)
    assert_short(caught, str(copy))
