"""Both backends keep the same contract; a stand-in module answers in place of vLLM."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gldbench.generate.backend import Backend, Cut
from gldbench.generate.checkpoint import Checkpoint, open_checkpoint
from gldbench.generate.generate import BACKENDS, NOT_MEASURED, responses_for
from gldbench.schema import Generation, Item
from gldbench.store import Store
from gldbench.tasks import load_task
from gldfusion.errors import InputError

ChainMaker = Callable[..., Path]
Maker = Callable[[Checkpoint], Backend]
COUNTING = {"1": "2", "2": "3", "3": "4", "4": "5", "x": "x", "q": "\n", "\n": "Q", "Q": ":", ":": "q"}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}3{% endif %}"
STAND_IN = Path(__file__).with_name("stand_in")


@pytest.fixture(scope="module")
def with_stand_in() -> Iterator[None]:
    """A module named vllm, as long as this file's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STAND_IN))
        importlib.import_module("gldbench.generate.vllm")
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]


@pytest.fixture(params=sorted(BACKENDS))
def make(request: pytest.FixtureRequest, with_stand_in: None) -> Maker:
    """Loads a checkpoint by each backend."""
    return lambda checkpoint: BACKENDS[request.param](checkpoint, "cpu", 8)


def test_completions_come_in_order_with_their_tokens(chain: ChainMaker, make: Maker) -> None:
    backend = make(open_checkpoint(chain(COUNTING)))
    answers = backend.complete(["x", "zzzzzzz 1", "zz4", "a3", "z"], 10, [])
    assert [a.text for a in answers] == ["x" * 10, "2345", "5", "45", ""]
    assert [a.tokens for a in answers] == [10, 5, 2, 3, 1]
    assert [a.truncated for a in answers] == [True, False, False, False, False]
    assert [backend.count(text) for text in ("x", "zz4")] == [1, 3]


def test_a_stop_string_ends_an_answer(chain: ChainMaker, make: Maker) -> None:
    answers = make(open_checkpoint(chain(COUNTING))).complete(["q", "x"], 12, ["Q:"])
    assert [(a.text, a.tokens, a.truncated) for a in answers] == [("\n", 3, False), ("x" * 12, 12, True)]


def test_a_chat_template_is_applied(chain: ChainMaker, make: Maker) -> None:
    backend = make(open_checkpoint(chain(COUNTING, template=TEMPLATE)))
    (answer,) = backend.complete(["1"], 5, [])
    assert (answer.text, backend.count("1"), backend.count("1", plain=True)) == ("45", 2, 1)
    plain = make(open_checkpoint(chain(COUNTING, name="plain")))
    assert (plain.complete(["1"], 5, [])[0].text, plain.count("1")) == ("2345", 1)


def test_a_long_prompt_loses_its_beginning(chain: ChainMaker, make: Maker) -> None:
    (answer,) = make(open_checkpoint(chain(COUNTING, context=16))).complete(["1" + "z" * 30 + "3"], 8, [])
    assert answer.text == "45"


def test_likelihoods_tell_what_would_have_been_written(chain: ChainMaker, make: Maker) -> None:
    found = make(open_checkpoint(chain(COUNTING))).score([("a1", "2"), ("a1", "23"), ("a1", "3"), ("zzz4", "5")])
    assert [one.greedy for one in found] == [True, True, False, True]
    assert [one.value for one in found] == pytest.approx([0.0, 0.0, -11.313, 0.0], abs=1e-2)
    assert all(one.cut == Cut() for one in found)


def test_likelihoods_say_what_was_cut(chain: ChainMaker, make: Maker) -> None:
    backend = make(open_checkpoint(chain(COUNTING, context=16)))
    found = backend.score([("z" * 30 + "1", "2"), ("z1", "2" * 30), ("1", "2")])
    # a continuation that is cut leaves room for one token of its prompt
    assert [one.cut for one in found] == [Cut(prompt=True), Cut(prompt=True, continuation=True), Cut()]
    assert [one.greedy for one in found] == [True, False, True]


def test_backends_share_no_responses(chain: ChainMaker, tmp_path: Path, with_stand_in: None) -> None:
    path, store = chain(COUNTING), Store(tmp_path / "out")
    task = dataclasses.replace(load_task("gsm8k"), generation=Generation(max_tokens=8))
    work = [(task, [Item("gsm8k", "default", "0", "1", "2345", "0")])]
    made = [responses_for(path, work, store, subject="s", backend=name) for name in ("hf", "vllm", "hf", "vllm")]
    assert [one.generated for one in made] == [1, 1, 0, 0]
    assert {response.output for one in made for response in one.responses} == {"2345"}
    assert len({response.case_id for response in store.responses()}) == 2


def test_without_vllm_the_message_says_so(chain: ChainMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gldbench.generate.vllm", "lm_eval.models.vllm_causallms"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError, match="vLLM, which is not installed") as caught:
        BACKENDS["vllm"](open_checkpoint(chain(COUNTING)), None, 8)
    assert len(str(caught.value).splitlines()) <= 3
    assert "vllm" in NOT_MEASURED
