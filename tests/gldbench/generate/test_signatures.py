"""Our calls suit the current vLLM and datasets, whose names and parameters were read from their wheels.

No machine of this project has a GPU for vLLM. signatures.json was written by make_signatures.py.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
import pytest

from gldbench.generate.backend import Sampling
from gldbench.generate.checkpoint import Engine, open_checkpoint
from gldbench.generate.generate import BACKENDS
from gldbench.schema import HubSource
from gldbench.tasks import PAPER11, data, load_task, task_names

ChainMaker = Callable[..., Path]
SIGNATURES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("signatures.json").read_text())
VLLM, DATASETS = SIGNATURES["vllm"], SIGNATURES["datasets"]
STAND_IN = Path(__file__).with_name("stand_in")
COUNTING = {"1": "2", "2": "3", "3": "4", "4": "5"}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}3{% endif %}"


def bind(
    told: dict[str, Any], arguments: tuple[Any, ...], named: dict[str, Any], more: list[str] | None = None
) -> None:
    """Checks a call against a signature; `more` are the names that its `**kwargs` takes."""
    assert told["var_positional"] or len(arguments) <= len(told["positional"]), "too many arguments"
    given = {*told["positional"][: len(arguments)], *named}
    assert given >= set(told["required"]), f"missing: {set(told['required']) - given}"
    known = {*told["positional"], *told["keyword_only"]}
    unknown = set(named) - known
    assert not unknown or (told["var_keyword"] and unknown <= set(unknown if more is None else more)), unknown


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, tuple[Any, ...], dict[str, Any]]]]:
    """The calls that reach the stand-in for vLLM."""
    made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.syspath_prepend(str(STAND_IN))
    for name in [name for name in sys.modules if name.endswith(("generate.vllm", "vllm_causallms"))]:
        monkeypatch.delitem(sys.modules, name)
    vllm = importlib.import_module("vllm")

    def noting(owner: Any, attribute: str, name: str, method: bool) -> None:
        real = getattr(owner, attribute)

        def call(*arguments: Any, **named: Any) -> Any:
            made.append((name, arguments[1:] if method else arguments, named))
            return real(*arguments, **named)

        monkeypatch.setattr(owner, attribute, call)

    noting(vllm.LLM, "__init__", "LLM", method=True)
    noting(vllm.LLM, "generate", "LLM.generate", method=True)
    for module, function in (("vllm.tokenizers", "get_tokenizer"), ("vllm.renderers.hf", "resolve_chat_template")):
        noting(importlib.import_module(module), function, f"{module}.{function}", method=False)
    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm" or name.endswith("vllm_causallms")]:
        del sys.modules[name]


def test_the_calls_to_vllm_suit_its_signatures(chain: ChainMaker, calls: list[Any]) -> None:
    opened = open_checkpoint(chain(COUNTING, template=TEMPLATE), engine=Engine("bfloat16", tensor_parallel=2))
    backend = BACKENDS["vllm"](opened, None, 512)
    backend.complete(["1", "2"], 5, ["9"])
    backend.complete(["1"], 5, [], Sampling(temperature=0.5, seed=1))
    backend.score([("1", "2"), ("2", "3")])
    assert {name for name, _, _ in calls} == {
        "LLM",
        "LLM.generate",
        "vllm.tokenizers.get_tokenizer",
        "vllm.renderers.hf.resolve_chat_template",
    }
    for name, arguments, named in calls:
        bind(VLLM[name], arguments, named, VLLM["EngineArgs"]["fields"] if name == "LLM" else None)
    (settings,) = [named for name, _, named in calls if name == "LLM"]
    assert (settings["dtype"], settings["tensor_parallel_size"], settings["max_num_seqs"]) == ("bfloat16", 2, 512)


def test_the_stand_in_has_nothing_that_vllm_lacks(calls: list[Any]) -> None:
    vllm = importlib.import_module("vllm")
    assert {field.name for field in fields(vllm.SamplingParams)} <= set(VLLM["SamplingParams"]["fields"])
    assert "prompt_token_ids" in VLLM["TokensPrompt"]["fields"]
    assert {"text", "token_ids", "finish_reason"} <= set(VLLM["CompletionOutput"]["fields"])
    assert {"outputs", "prompt_logprobs"} <= set(VLLM["RequestOutput"]["assigns"])
    assert "logprob" in VLLM["Logprob"]["fields"]
    assert "llm_engine" in VLLM["LLM"]["assigns"]
    assert "model_config" in VLLM["LLMEngine"]["assigns"]
    (told,) = STAND_IN.glob("vllm-*.dist-info")
    assert told.name == f"vllm-{VLLM['version']}.dist-info"


def test_a_wrong_call_is_found() -> None:
    """The check itself can fail."""
    for arguments, named in (((), {}), (("m",), {"tensor_parallel": 2}), (("m", "n"), {})):
        with pytest.raises(AssertionError):
            bind(VLLM["LLM"], arguments, named, VLLM["EngineArgs"]["fields"])
    bind(VLLM["LLM"], ("m",), {"max_num_seqs": 2}, VLLM["EngineArgs"]["fields"])


def hub_sources() -> list[tuple[str, HubSource]]:
    """Every hub source of every shipped task."""
    found = []
    for name in task_names():
        task = load_task(name)
        variants = [variant.exemplars for variant in task.variants.values()]
        for part in (task.dataset, task.exemplars, *variants):
            if part is not None and part.hub is not None:
                found.append((name, part.hub))
    return found


def test_the_calls_to_datasets_suit_its_signatures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    real = inspect.signature(datasets.load_dataset)

    def load(*arguments: Any, **named: Any) -> list[Any]:
        real.bind(*arguments, **named)
        made.append(("load_dataset", arguments, named))
        return []

    class Manager:
        def __init__(self, *arguments: Any, **named: Any) -> None:
            made.append(("DownloadManager", arguments, named))

        def download(self, *arguments: Any, **named: Any) -> str:
            made.append(("DownloadManager.download", arguments, named))
            (tmp_path / "file").write_text("{}\n")
            return str(tmp_path / "file")

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "DownloadManager", Manager)
    sources = hub_sources()
    for name, hub in sources:
        task = load_task(name)
        if hub.url:
            data._download(task, hub.url)
        else:
            list(data._load(task, hub, (task.subtasks or (None,))[0]))
    assert {name for name, _ in sources} >= set(PAPER11) - {"hellaswag"}, "only HellaSwag's file is on no hub"
    assert {name for name, _, _ in made} == {"load_dataset", "DownloadManager", "DownloadManager.download"}
    builder = {"json": "json.json.JsonConfig", "text": "text.text.TextConfig"}
    for name, arguments, named in made:
        options: list[str] = []
        if name == "load_dataset" and arguments[0] in builder:
            module, _, config = builder[arguments[0]].rpartition(".")
            found = getattr(importlib.import_module(f"datasets.packaged_modules.{module}"), config)
            options = [field.name for field in fields(found)]
        bind(DATASETS[name], arguments, named, options)
