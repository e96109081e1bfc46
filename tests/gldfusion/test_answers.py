"""Sources that run elsewhere: their logprobs come from a file or from a vLLM server, and give what a live source gives.

The answers are made by transformers alone, in the form that vLLM 0.10 writes. No real server was asked.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from gldbench import cli
from gldfusion.cache import SourceCache, build_cache
from gldfusion.cache.answers import AnswerFiles
from gldfusion.cache.vllm import VllmServer
from gldfusion.errors import InputError
from gldfusion.fuse import fuse
from gldfusion.model import load_tokenizer, quiet
from gldfusion.recipe import Recipe, TermSpec, load_recipe
from gldfusion.sources import Example, LiveSource, encode_example

K = 10
MODEL = "mistralai/Mistral-Small-24B-Instruct-2501"
COLUMNS = ("ids", "lse", "nll")
ROUNDING = 0.02
"""of float16 logits near 30"""
Answer = dict[str, Any]
TEXT = Example("a", "What?", "That.")


def ids_of(folder: Path) -> list[int]:
    return encode_example(load_tokenizer(folder, weights=False), TEXT, 128).ids


def answer(model: Any, ids: list[int], k: int = K) -> Answer:
    """What vLLM says of a prompt: the k most likely ids of each place, and the id that stands there."""
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    places: list[Any] = [None]
    for row, own in zip(logprobs, ids[1:], strict=False):
        ranked = row.argsort(descending=True).tolist()
        shown = [own, *(i for i in ranked[:k] if i != own)]  # vLLM puts the prompt's own id first
        places.append(
            {str(i): {"logprob": float(row[i]), "rank": ranked.index(i) + 1, "decoded_token": f"<{i}>"} for i in shown}
        )
    return {"model": MODEL, "prompt_token_ids": ids, "prompt_logprobs": places}


@pytest.fixture(scope="module")
def llama(models: dict[str, Path]) -> Any:
    with quiet():
        return AutoModelForCausalLM.from_pretrained(models["llama"], dtype=torch.float32).eval()


@pytest.fixture
def tokenizer_only(models: dict[str, Path], tmp_path: Path) -> Path:
    """The source's folder without weights."""
    return Path(
        shutil.copytree(models["llama"], tmp_path / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors"))
    )


@pytest.fixture
def recipe_file(make_recipe: Callable[..., Recipe], tokenizer_only: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe with the source llama, which has a cache and no weights."""

    def make(terms: tuple[TermSpec, ...] = (TermSpec(loss="minced", weight=0.5),), **source: Any) -> Path:
        recipe = make_recipe(terms=terms, steps=2)
        own = {"checkpoint": tokenizer_only, "cache": tmp_path / "cache", **source}
        (llama,) = (s.model_copy(update=own) for s in recipe.sources if s.name == "llama")
        path = tmp_path / "recipe.yaml"
        changed = recipe.model_copy(update={"sources": (llama,)})
        path.write_text(yaml.safe_dump(changed.model_dump(mode="json", by_alias=True)))
        return path

    return make


@pytest.fixture
def gldbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command line; exit code and what it printed, errors included."""

    def call(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["gldbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + (said.err if ended.value.code == 2 else "")

    return call


def assert_as_live(cache: Path, models: dict[str, Path], examples: list[Example]) -> None:
    """Compares a cache with the model itself."""
    expected = LiveSource("llama", models["llama"], K, 128).read(examples)
    for ours, theirs in zip(SourceCache("llama", cache).read(examples), expected, strict=True):
        assert theirs.lse is not None
        np.testing.assert_array_equal(ours.starts, theirs.starts)
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_allclose(ours.values, theirs.values - theirs.lse[:, None], atol=ROUNDING)
        np.testing.assert_allclose(ours.lse, 0, atol=ROUNDING)
        np.testing.assert_allclose(ours.nll, theirs.nll, atol=1e-4)


def test_answers_in_a_file_are_what_a_live_source_says(
    gldbench: Callable[..., tuple[int, str]],
    recipe_file: Callable[..., Path],
    llama: Any,
    models: dict[str, Path],
    examples: list[Example],
    tmp_path: Path,
) -> None:
    recipe, asked, answered = recipe_file(), tmp_path / "asked.jsonl", tmp_path / "answered.jsonl"
    assert gldbench("cache", "prompts", recipe, "llama", asked) == (0, f"{asked}: {len(examples)} texts\n")
    lines = [json.loads(line)["prompt_token_ids"] for line in asked.read_text().splitlines()]
    answered.write_text("".join(json.dumps(answer(llama, ids)) + "\n" for ids in reversed(lines)))
    said = f"llama: {len(examples)} texts imported, 0 already stored\n"
    assert gldbench("cache", "import", recipe, "llama", answered) == (0, said)
    again = {"texts": len(examples), "new": {"llama": 0}}
    assert json.loads(gldbench("cache", "import", recipe, "llama", answered, "--json")[1]) == again
    meta = json.loads((tmp_path / "cache" / "meta.json").read_text())
    assert meta["answered_by"] == MODEL
    stored = SourceCache("llama", tmp_path / "cache").read(examples)
    live = LiveSource("llama", models["llama"], K, 128).read(examples)
    for ours, theirs in zip(stored, live, strict=True):
        np.testing.assert_array_equal(ours.ids, theirs.ids)
    fuse(load_recipe(recipe), tmp_path / "fused")
    first = json.loads((tmp_path / "fused" / "training_log.jsonl").read_text().splitlines()[0])
    own = load_recipe(recipe)
    (source,) = own.sources
    alive = source.model_copy(update={"checkpoint": models["llama"], "cache": None})
    fuse(own.model_copy(update={"sources": (alive,)}), tmp_path / "live")
    second = json.loads((tmp_path / "live" / "training_log.jsonl").read_text().splitlines()[0])
    assert first["terms"] == pytest.approx(second["terms"], rel=1e-2)
    code, said = gldbench("cache", "prompts", recipe, "llama", asked)
    assert (code, said.splitlines()[0]) == (2, f"error: will not overwrite {asked}: it is already there")


class Server(BaseHTTPRequestHandler):
    """Answers as `vllm serve` does."""

    model: Any = None
    seen: list[Answer]
    status = 200

    def do_GET(self) -> None:
        assert self.path == "/v1/models"
        self.say(
            {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 4096}]}
        )

    def do_POST(self) -> None:
        assert self.path == "/v1/completions"
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(asked)
        if self.status != 200:
            message = "Requested prompt logprobs of 10, which is greater than max allowed: 5"
            self.say({"error": {"message": message, "type": "BadRequestError", "param": None, "code": self.status}})
            return
        choice = {"index": 0, "text": " x", "logprobs": None, "finish_reason": "length", "stop_reason": None}
        choice["prompt_logprobs"] = answer(self.model, asked["prompt"], asked["prompt_logprobs"])["prompt_logprobs"]
        usage = {
            "prompt_tokens": len(asked["prompt"]),
            "total_tokens": len(asked["prompt"]) + 1,
            "completion_tokens": 1,
        }
        self.say(
            {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL}
            | {"choices": [choice], "usage": usage}
        )

    def say(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(self.status if self.command == "POST" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(model: Any, **changes: Any) -> Iterator[tuple[str, list[Answer]]]:
    """A server on this machine: its address, and the requests that it got."""
    handler = type("Handler", (Server,), {"model": model, "seen": [], **changes})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler.seen
        finally:
            server.shutdown()
            thread.join()


def test_a_server_is_asked_for_what_is_missing(
    gldbench: Callable[..., tuple[int, str]],
    recipe_file: Callable[..., Path],
    llama: Any,
    models: dict[str, Path],
    examples: list[Example],
    tmp_path: Path,
) -> None:
    with served(llama) as (url, seen):
        recipe = recipe_file(vllm=f"{url}/v1")
        assert gldbench("cache", recipe) == (0, f"llama: {len(examples)} texts run, 0 already stored\n")
        assert gldbench("cache", recipe) == (0, f"llama: 0 texts run, {len(examples)} already stored\n")
        cache = tmp_path / "all columns"
        build_cache(tmp_path / "tokenizer", cache, examples, K, 128, columns=COLUMNS, answers=VllmServer(url, K))
    assert len(seen) == 2 * len(examples)
    fixed = {"model": MODEL, "max_tokens": 1, "temperature": 0, "prompt_logprobs": K}
    assert all({**asked, "prompt": None} == {**fixed, "prompt": None} for asked in seen)
    assert_as_live(cache, models, examples)


REFUSED = r"refuses /v1/completions \(400\): .*greater than max allowed: 5.*\nstart it with"
CLOSED = r"does not answer: .*refused.*\nstart it with `vllm serve MODEL --max-logprobs 10`"
OTHER = "answers in another form than vLLM"


def test_what_a_server_may_do_wrong(llama: Any, tokenizer_only: Path, tmp_path: Path) -> None:
    def build(url: str) -> None:
        build_cache(tokenizer_only, tmp_path / "cache", [TEXT], K, 128, columns=COLUMNS, answers=VllmServer(url, K))

    with served(llama, status=400) as (url, _), pytest.raises(InputError, match=REFUSED):
        build(url)
    with pytest.raises(InputError, match=CLOSED):
        build(url)
    strange = {"do_GET": lambda self: self.say({"detail": "no"})}
    with served(llama, **strange) as (url, _), pytest.raises(InputError, match=OTHER):
        build(url)
    strange = {"do_POST": lambda self: self.say({"choices": [{"prompt_logprobs": None}]})}
    with served(llama, **strange) as (url, _), pytest.raises(InputError, match=OTHER):
        build(url)


def change(place: int, **entries: Any) -> Callable[[Answer], Any]:
    """Changes one place of an answer, counted from the end."""

    def apply(said: Answer) -> None:
        said["prompt_logprobs"][place] = entries.get("whole", {**(said["prompt_logprobs"][place] or {}), **entries})

    return apply


WRONG: list[tuple[Callable[[Answer], Any], str]] = [
    (lambda said: said["prompt_logprobs"].pop(), r"example a has \d+ places, expected \d+, one for each token"),
    (change(-1, whole=None), "does not hold the text's own token"),
    (change(-1, whole=[1]), r"is a list with 1 entries\nexpected an object of token ids"),
    (change(-1, x={"logprob": -1}), "expected an object of token ids"),
    (change(-1, **{"5": {}}), "expected an object of token ids"),
    (change(-1, **{"5": {"logprob": float("nan")}}), "holds a logprob above 0 or NaN"),
    (change(-1, **{"5": {"logprob": 2.5}}), "holds a logprob above 0 or NaN"),
    (change(-1, **{"70000": {"logprob": 0.0}}), "names an id beyond the vocabulary of"),
    (lambda said: said["prompt_token_ids"].append(3), "has no answer to a text of .* tokens"),
    (lambda said: said.pop("model"), "expected an object with model, prompt_token_ids and prompt_logprobs"),
    (lambda said: said.update(prompt_logprobs=3), "prompt_logprobs: expected an object with model"),
]


@pytest.mark.parametrize(("spoil", "message"), WRONG)
def test_wrong_answers(
    spoil: Callable[[Answer], Any], message: str, llama: Any, tokenizer_only: Path, tmp_path: Path
) -> None:
    said, path, cache = answer(llama, ids_of(tokenizer_only)), tmp_path / "answers.jsonl", tmp_path / "cache"
    spoil(said)
    path.write_text(json.dumps(said) + "\n")
    with pytest.raises(InputError, match=message):
        build_cache(tokenizer_only, cache, [TEXT], K, 128, columns=COLUMNS, answers=AnswerFiles([path]))


def test_too_few_logprobs_and_files_of_two_models(llama: Any, tokenizer_only: Path, tmp_path: Path) -> None:
    path, cache = tmp_path / "answers.jsonl", tmp_path / "cache"
    path.write_text(json.dumps(answer(llama, ids_of(tokenizer_only), 4)) + "\n")
    with pytest.raises(InputError, match="logprobs, the recipe asks for k = 10"):
        build_cache(tokenizer_only, cache, [TEXT], K, 128, columns=COLUMNS, answers=AnswerFiles([path]))
    both = [json.dumps({"model": name, "prompt_token_ids": [1], "prompt_logprobs": []}) for name in ("a", "b")]
    path.write_text("\n".join(both))
    with pytest.raises(InputError, match="expected the answers of one model, found a, b"):
        AnswerFiles([path])
    path.write_text("\n")
    with pytest.raises(InputError, match="found no answers"):
        AnswerFiles([path])
    path.write_text("{")
    with pytest.raises(InputError, match=r"answers\.jsonl, line 1: Expecting"):
        AnswerFiles([path])


def test_a_cache_holds_the_answers_of_one_model(llama: Any, tokenizer_only: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def build(folder: Path, url: str, columns: Any = COLUMNS) -> None:
        build_cache(tokenizer_only, folder, [TEXT], 4, 128, columns=columns, answers=VllmServer(url, 4))

    with served(llama) as (url, _):
        build(cache, url)
        with pytest.raises(InputError, match="need mean and std of all logits, which top-k logprobs do not tell"):
            build(tmp_path / "another", url, ("lse", "mean", "std"))
    other = {"do_GET": lambda self: self.say({"data": [{"id": "another", "object": "model"}]})}
    with served(llama, **other) as (url, _), pytest.raises(InputError, match="was made with another answered_by"):
        build(cache, url)
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        build_cache(tokenizer_only, cache, [TEXT], 4, 128, columns=COLUMNS)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"vllm": "host:8000"}, "vllm must be an address such as http://host:8000, got host:8000"),
        ({"vllm": "http://host:8000", "cache": None}, "fills a cache before the training: give `cache` too"),
    ],
)
def test_recipes_with_a_server(recipe_file: Callable[..., Path], source: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe(recipe_file(**source))


def test_the_source_must_be_in_the_recipe(
    gldbench: Callable[..., tuple[int, str]], recipe_file: Callable[..., Path]
) -> None:
    code, said = gldbench("cache", "import", recipe_file(), "lama", "x")
    assert code == 2
    assert 'no source with a cache is called "lama" (did you mean "llama"?)' in said
