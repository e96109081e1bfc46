"""Generation gives the answers of HFLM, generates nothing twice, and counts every truncation."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, Qwen2Config, T5Config

from gldbench.generate import generate, plan
from gldbench.generate.backend import TOKENS_PER_BATCH, Completion, Likelihood, Sampling
from gldbench.generate.checkpoint import Checkpoint, hash_checkpoint, open_checkpoint
from gldbench.generate.generate import BACKENDS, Responses, responses_for
from gldbench.generate.hf import HFBackend, load
from gldbench.schema import Dataset, Generation, Headline, Item, Response, Task
from gldfusion.errors import InputError

COUNTING = {"1": "2", "2": "3", "3": "4", "4": "5", "x": "x", "q": "\n", "\n": "Q", "Q": ":", ":": "q"}
ChainMaker = Callable[..., Path]


class Memory:
    """A store in memory, with the idempotence of the real one."""

    def __init__(self) -> None:
        self.units: dict[str, list[Response]] = {}
        self.planned: list[tuple[int, list[list[str]]]] = []

    def responses(self, cases: Collection[str] | None = None) -> list[Response]:
        every = [response for unit in self.units.values() for response in unit]
        return every if cases is None else [response for response in every if response.case_id in cases]

    def append_responses(self, responses: Sequence[Response], unit: str) -> None:
        self.units.setdefault(unit, list(responses))

    def plans(self, batch_size: int) -> list[list[str]]:
        return [batch for size, batches in self.planned for batch in batches if size == batch_size]

    def append_plan(self, batches: Sequence[Sequence[str]], batch_size: int) -> None:
        self.planned.append((batch_size, [list(batch) for batch in batches]))


def task_with(max_tokens: int = 10, stop: tuple[str, ...] = (), name: str = "toy", version: int = 1) -> Task:
    return Task(
        name=name,
        version=version,
        title="",
        dataset=Dataset(kind="procedural", licence="Apache-2.0"),
        prompt="{prompt}",
        scorer="exact_match",
        answer_pattern="(.+)",
        generation=Generation(max_tokens, stop),
        headline=Headline("lm_eval", "answer", "exact_match"),
        chance=0.0,
        citation="",
    )


def items_of(*prompts: str) -> list[Item]:
    return [Item("toy", "default", str(row), prompt, "", str(row)) for row, prompt in enumerate(prompts)]


def ask(path: Path, items: Sequence[Item], store: Memory, task: Task | None = None, **options: Any) -> Responses:
    return responses_for(path, [(task or task_with(), items)], store, subject="s", device="cpu", **options)


def outputs(result: Responses) -> list[str]:
    return [response.output for response in result.responses]


def no_backend(*_: Any) -> Any:
    raise AssertionError("a model was loaded")


def test_each_prompt_gets_its_own_answer_and_counts(chain: ChainMaker) -> None:
    items = items_of("x", "zzzzzzz 1", "zz4", "a3", "z")
    result = ask(chain(COUNTING), items, Memory(), batch_size=3)
    assert outputs(result) == ["x" * 10, "2345", "5", "45", ""]
    assert [r.output_tokens for r in result.responses] == [10, 5, 2, 3, 1]
    assert [r.truncated_output for r in result.responses] == [True, False, False, False, False]
    assert [r.prompt_tokens for r in result.responses] == [1, 9, 3, 2, 1]
    assert not any(r.truncated_prompt for r in result.responses)
    assert [r.item_id for r in result.responses] == ["0", "1", "2", "3", "4"]
    assert result.generated == 5
    assert result.generated_tokens == 21


def test_outputs_are_those_of_plain_hflm(chain: ChainMaker) -> None:
    path = chain(COUNTING)
    prompts = [f"{'ab c'[: i % 5]}{i} q{i % 7}" for i in range(20)] + ["q", "x"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    plain: Any = HFLM
    requests = [
        Instance("generate_until", {}, (prompt, {"until": ["\nQ"], "max_gen_toks": 12, "do_sample": False}), row)
        for row, prompt in enumerate(prompts)
    ]
    expected = plain(pretrained=model, tokenizer=tokenizer, batch_size=64).generate_until(requests, disable_tqdm=True)
    assert len(set(expected)) > 3
    assert outputs(ask(path, items_of(*prompts), Memory(), task_with(12, ("\nQ",)))) == expected


def test_a_stop_string_ends_an_answer_and_its_count(chain: ChainMaker) -> None:
    # "q" writes "\nQ:q\nQ:q..." for ever; "x" keeps the batch running after it has stopped
    result = ask(chain(COUNTING), items_of("q", "x"), Memory(), task_with(12, ("Q:",)))
    assert outputs(result) == ["\n", "x" * 12]
    assert [r.output_tokens for r in result.responses] == [3, 12]
    assert [r.truncated_output for r in result.responses] == [False, True]


def test_a_prompt_that_loses_its_beginning_is_counted_at_the_exact_length(chain: ChainMaker) -> None:
    path = chain(COUNTING, context=32)
    fits, cut = "1" + "z" * 20 + "4", "1" + "z" * 21 + "4"
    result = ask(path, items_of(fits, cut), Memory(), task_with(10))
    assert [r.prompt_tokens for r in result.responses] == [22, 23]
    assert [r.truncated_prompt for r in result.responses] == [False, True]


def test_the_answer_gets_at_most_half_of_the_context(chain: ChainMaker) -> None:
    result = ask(chain(COUNTING, context=32), items_of("x", "1"), Memory(), task_with(1000))
    assert [r.output_tokens for r in result.responses] == [16, 5]
    assert result.responses[0].truncated_output


def test_a_chat_template_is_applied_and_belongs_to_the_key(chain: ChainMaker) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}3{% endif %}"
    plain, chat = chain(COUNTING), chain(COUNTING, name="chat", template=template)
    store = Memory()
    assert outputs(ask(plain, items_of("1"), store)) == ["2345"]
    result = ask(chat, items_of("1"), store)
    assert outputs(result) == ["45"]
    assert result.generated == 1
    assert result.responses[0].prompt_tokens == 2


def test_a_second_call_generates_nothing_and_loads_no_model(chain: ChainMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    path, store = chain(COUNTING), Memory()
    first = ask(path, items_of("1", "x", "2"), store)
    monkeypatch.setitem(BACKENDS, "hf", no_backend)
    second = ask(path, items_of("1", "x", "2"), store)
    assert (second.generated, second.generated_tokens) == (0, 0)
    assert second.responses == first.responses


def test_equal_prompts_are_generated_once_and_answer_each_item(chain: ChainMaker) -> None:
    store = Memory()
    result = ask(chain(COUNTING), items_of("1", "1", "2"), store)
    assert result.generated == 2
    assert [(r.item_id, r.output) for r in result.responses] == [("0", "2345"), ("1", "2345"), ("2", "345")]
    assert len(store.responses()) == 2


def test_one_changed_weight_is_another_model(chain: ChainMaker) -> None:
    path, store = chain(COUNTING), Memory()
    assert outputs(ask(path, items_of("1"), store)) == ["2345"]
    copy = path.with_name("copy")
    shutil.copytree(path, copy)
    assert ask(copy, items_of("1"), store).generated == 0
    tokens = AutoTokenizer.from_pretrained(copy).get_vocab()
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"][tokens["9"], tokens["1"]] = 2.0
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    changed = ask(copy, items_of("1"), store)
    assert changed.generated == 1
    assert outputs(changed) == ["9"]


@pytest.mark.parametrize(
    ("name", "same"), [("README.md", True), ("fusion.json", True), ("config.json", False), ("tokenizer.json", False)]
)
def test_the_hash_covers_what_changes_answers_and_no_notes(chain: ChainMaker, name: str, same: bool) -> None:
    path = chain(COUNTING)
    before = hash_checkpoint(path)
    with (path / name).open("a") as file:
        file.write(" ")
    assert (hash_checkpoint(path) == before) is same


@pytest.mark.parametrize("change", [{"max_tokens": 9}, {"stop": ("Q:",)}, {"version": 2}, {"name": "other"}])
def test_the_key_covers_task_and_settings(chain: ChainMaker, change: dict[str, Any]) -> None:
    path, store = chain(COUNTING), Memory()
    ask(path, items_of("1"), store)
    assert ask(path, items_of("1"), store, task_with(**change)).generated == 1


def test_a_subtask_shares_the_responses_of_its_benchmark(chain: ChainMaker) -> None:
    path, store = chain(COUNTING), Memory()
    ask(path, items_of("1"), store)
    again = ask(path, items_of("1"), store, task_with(name="toy/part"))
    assert again.generated == 0
    assert again.responses[0].task == "toy/part"


def test_the_subject_of_the_caller_is_named_not_the_one_that_asked_first(chain: ChainMaker) -> None:
    path, store = chain(COUNTING), Memory()
    ask(path, items_of("1"), store)
    other = responses_for(path, [(task_with(), items_of("1"))], store, subject="twin")
    assert other.responses[0].subject == "twin"


class Recorder:
    """HFBackend that notes its batches and can be killed after some of them."""

    def __init__(self, die_after: int | None = None) -> None:
        self.batches: list[tuple[str, ...]] = []
        self.die_after = die_after

    def __call__(self, checkpoint: Checkpoint, device: str | None, batch_size: int) -> HFBackend:
        backend = HFBackend(checkpoint, load(checkpoint, device), batch_size)
        complete = backend.complete

        def noted(
            prompts: Sequence[str], max_tokens: int, stop: Sequence[str], sampling: Sampling | None = None
        ) -> list[Completion]:
            if len(self.batches) == self.die_after:
                raise KeyboardInterrupt
            self.batches.append(tuple(prompts))
            return complete(prompts, max_tokens, stop, sampling)

        backend.complete = noted  # type: ignore[method-assign]
        return backend


def test_a_killed_run_repeats_whole_batches_and_ends_the_same(
    chain: ChainMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, items = chain(COUNTING), items_of(*(f"{'z' * (i % 4)}{i} {i % 5}" for i in range(11)))
    whole, killed, resumed = Recorder(), Recorder(die_after=2), Recorder()
    undisturbed, store = Memory(), Memory()
    monkeypatch.setitem(BACKENDS, "hf", whole)
    expected = ask(path, items, undisturbed, batch_size=3)
    monkeypatch.setitem(BACKENDS, "hf", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(path, items, store, batch_size=3)
    assert len(store.responses()) == 6
    monkeypatch.setitem(BACKENDS, "hf", resumed)
    result = ask(path, items, store, batch_size=3)
    assert killed.batches + resumed.batches == whole.batches
    without_time = [[dataclasses.replace(r, seconds=0.0) for r in each.responses] for each in (result, expected)]
    assert without_time[0] == without_time[1]
    ids = [response.case_id for response in store.responses()]
    assert len(ids) == len(set(ids)) == 11


def test_finished_batches_are_stored_while_later_ones_run(chain: ChainMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "FLUSH_SECONDS", 0.0)
    store, seen = Memory(), []
    ask(
        chain(COUNTING),
        items_of("1", "2", "3", "4"),
        store,
        batch_size=2,
        progress=lambda done, total: seen.append((done, total, len(store.responses()))),
    )
    assert seen == [(0, 4, 0), (2, 4, 2), (4, 4, 4)]


class _Lengths:
    """A backend for planning: a prompt has as many tokens as characters."""

    tokens_per_batch = TOKENS_PER_BATCH

    def count(self, prompt: str, plain: bool = False) -> int:
        return len(prompt)

    def complete(
        self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str], sampling: Sampling | None = None
    ) -> list[Completion]:
        raise AssertionError("planning generates nothing")

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        raise AssertionError("planning scores nothing")


@given(
    st.lists(st.tuples(st.integers(0, 4000), st.sampled_from([(8, ()), (512, ()), (8, ("Q:",))])), max_size=40),
    st.integers(1, 9),
)
def test_the_plan_has_every_case_once_within_its_limits(
    requests: list[tuple[int, tuple[int, tuple[str, ...]]]], size: int
) -> None:
    cases = [
        plan.Case(task_with(*settings), items_of("z" * length)[0], settings[0], f"{number:03}")
        for number, (length, settings) in enumerate(requests)
    ]
    batches = plan._batches(_Lengths(), cases, size)
    assert sorted(case.case_id for batch in batches for case in batch) == [case.case_id for case in cases]
    for batch in batches:
        assert len({(case.max_tokens, case.task.generation.stop) for case in batch}) == 1
        widest = max(len(case.item.prompt) for case in batch) + batch[0].max_tokens
        assert len(batch) == 1 or (len(batch) <= size and len(batch) * widest <= TOKENS_PER_BATCH)
    assert plan._batches(_Lengths(), cases[::-1], size) == batches


def broken(path: Path, how: str) -> Path:
    if how == "nothing there":
        return path.with_name("absent")
    if how == "no weights":
        (path / "model.safetensors").unlink()
    elif how.startswith("no tokenizer"):
        for file in path.glob("tokenizer*"):
            file.unlink()
        if "empty" in how:
            Qwen2Config().save_pretrained(path)
    elif how == "damaged weights":
        (path / "model.safetensors").write_bytes(b"not tensors")
    elif how == "a weight is missing":
        weights = load_file(path / "model.safetensors")
        del weights["model.layers.0.mlp.up_proj.weight"]
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    elif how == "not a language model":
        T5Config().save_pretrained(path)
    elif how == "config is no JSON":
        (path / "config.json").write_text("{")
    elif how == "no end token":
        config = json.loads((path / "tokenizer_config.json").read_text())
        (path / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": None}))
    elif how == "another tokenizer":
        tokenizer = AutoTokenizer.from_pretrained(path)
        tokenizer.add_tokens([f"extra{i}" for i in range(9)])
        tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nothing there", "not a checkpoint"),
        ("no weights", "no model.safetensors"),
        ("no tokenizer", "no tokenizer"),
        ("no tokenizer, of a class that loads an empty one", "no tokenizer"),
        ("damaged weights", "cannot be loaded"),
        ("a weight is missing", r"lack model.layers.0.mlp.up_proj.weight \(1 in all\)"),
        ("not a language model", "not a checkpoint"),
        ("config is no JSON", r"config.json is not JSON"),
        ("no end token", "no end-of-sequence token"),
        ("another tokenizer", "the tokenizer has"),
    ],
)
def test_what_is_not_a_checkpoint_is_refused_in_a_few_lines(chain: ChainMaker, how: str, message: str) -> None:
    store = Memory()
    with pytest.raises(InputError, match=message) as caught:
        ask(broken(chain(COUNTING), how), items_of("1"), store)
    assert 1 <= len(str(caught.value).splitlines()) <= 3
    assert store.responses() == []


def test_an_unknown_backend_is_an_input_error(chain: ChainMaker) -> None:
    with pytest.raises(InputError, match='did you mean "hf"'):
        ask(chain(COUNTING), items_of("1"), Memory(), backend="hff")


def test_a_checkpoint_is_named_by_folder_and_content(chain: ChainMaker) -> None:
    opened = open_checkpoint(chain(COUNTING))
    assert opened.name == f"chain@{opened.hash[:8]}"
    assert opened.context == 256


def test_a_larger_question_generates_only_what_is_new_and_survives_a_kill(
    chain: ChainMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, items = chain(COUNTING), items_of(*(f"{'z' * (i % 4)}{i} {i % 5}" for i in range(11)))
    few = items[::3]
    whole, killed, resumed = Recorder(), Recorder(die_after=3), Recorder()
    undisturbed, store = Memory(), Memory()
    monkeypatch.setitem(BACKENDS, "hf", whole)
    ask(path, few, undisturbed, batch_size=3)
    expected = ask(path, items, undisturbed, batch_size=3)
    assert expected.generated == len(items) - len(few)
    assert sorted(prompt for batch in whole.batches for prompt in batch) == sorted(item.prompt for item in items)
    monkeypatch.setitem(BACKENDS, "hf", killed)
    ask(path, few, store, batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        ask(path, items, store, batch_size=3)
    monkeypatch.setitem(BACKENDS, "hf", resumed)
    assert outputs(ask(path, items, store, batch_size=3)) == outputs(expected)
    assert killed.batches + resumed.batches == whole.batches
    assert sorted(r.case_id for r in store.responses()) == sorted(r.case_id for r in undisturbed.responses())


def test_a_batch_that_lost_a_response_is_repeated_whole_and_stored_once(
    chain: ChainMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, items, store = chain(COUNTING), items_of(*(f"{i} {i % 5}" for i in range(6))), Memory()
    first = ask(path, items, store, batch_size=3)
    (unit,) = store.units
    lost = store.units[unit].pop(1)
    again = Recorder()
    monkeypatch.setitem(BACKENDS, "hf", again)
    result = ask(path, items, store, batch_size=3)
    assert [len(batch) for batch in again.batches] == [3]
    assert items[int(lost.item_id)].prompt in again.batches[0]
    assert (result.generated, outputs(result)) == (1, outputs(first))
    assert result.generated_tokens > lost.output_tokens  # what was written, kept or not
    assert len(store.responses()) == 6


def test_another_batch_size_plans_anew(chain: ChainMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    path, items, store = chain(COUNTING), items_of("1", "2", "3", "4"), Memory()
    monkeypatch.setitem(BACKENDS, "hf", Recorder(die_after=0))
    with pytest.raises(KeyboardInterrupt):
        ask(path, items, store, batch_size=4)
    smaller = Recorder()
    monkeypatch.setitem(BACKENDS, "hf", smaller)
    ask(path, items, store, batch_size=2)
    assert [len(batch) for batch in smaller.batches] == [2, 2]


def scored(name: str = "toy") -> Task:
    return dataclasses.replace(task_with(name=name), kind="loglikelihood", scorer="loglikelihood")


def choosing(*prompts: str, choices: tuple[str, ...] = ("2", "23", "x")) -> list[Item]:
    return [dataclasses.replace(item, target="A", choices=choices) for item in items_of(*prompts)]


def test_log_likelihoods_are_those_of_plain_hflm(chain: ChainMaker) -> None:
    path = chain(COUNTING)
    items = choosing(*(f"{'ab c'[: i % 5]}{i}" for i in range(12)))
    plain: Any = HFLM
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    requests = [
        Instance("loglikelihood", {}, (item.prompt, choice), row)
        for row, item in enumerate(items)
        for choice in item.choices
    ]
    flat = plain(pretrained=model, tokenizer=tokenizer, batch_size=64).loglikelihood(requests, disable_tqdm=True)
    result = ask(path, items, Memory(), scored())
    stored = [json.loads(response.output) for response in result.responses]
    assert [greedy for one in stored for greedy in one["greedy"]] == [greedy for _, greedy in flat]
    values = [value for one in stored for value in one["loglikelihoods"]]
    assert values == pytest.approx([value for value, _ in flat], abs=1e-5)
    assert len({round(value, 3) for value in values}) > 1
    assert len({greedy for _, greedy in flat}) == 2
    assert (result.generated, result.generated_tokens) == (12, 0)
    assert not any(r.truncated_prompt or r.truncated_output for r in result.responses)


def test_log_likelihoods_are_stored_under_keys_of_their_own(chain: ChainMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    path, store = chain(COUNTING), Memory()
    assert ask(path, choosing("1"), store).generated == 1
    first = ask(path, choosing("1"), store, scored())
    assert first.generated == 1
    assert ask(path, choosing("1", choices=(" 2", " 3")), store, scored()).generated == 1
    monkeypatch.setitem(BACKENDS, "hf", no_backend)
    assert ask(path, choosing("1"), store, scored()).responses == first.responses


def test_likelihoods_of_long_prompts_and_continuations_are_cut_and_counted(chain: ChainMaker) -> None:
    # one token per character: 16 positions read 16 tokens and predict the 17th
    path = chain(COUNTING, context=16)
    items = [
        *choosing("z" * 14, choices=(" 12", " 1")),
        *choosing("z" * 15, choices=(" 12", " 1")),
        *choosing("z", choices=(" " + "1" * 20, " 1")),
    ]
    result = ask(
        path, [dataclasses.replace(item, item_id=str(row)) for row, item in enumerate(items)], Memory(), scored()
    )
    assert [r.truncated_prompt for r in result.responses] == [False, True, False]
    assert [r.truncated_output for r in result.responses] == [False, False, True]
    assert all(len(json.loads(r.output)["loglikelihoods"]) == 2 for r in result.responses)


def test_items_with_many_choices_share_batches_within_the_size(
    chain: ChainMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def noting(checkpoint: Checkpoint, device: str | None, batch_size: int) -> HFBackend:
        backend = HFBackend(checkpoint, load(checkpoint, device), batch_size)
        score = backend.score
        backend.score = lambda pairs: (sizes.append(len(pairs)), score(pairs))[1]  # type: ignore[method-assign]
        return backend

    monkeypatch.setitem(BACKENDS, "hf", noting)
    ask(chain(COUNTING), choosing(*map(str, range(7))), Memory(), scored(), batch_size=7)
    assert sizes == [6, 6, 6, 3]


def test_a_model_whose_attention_sees_the_answer_is_refused(chain: ChainMaker) -> None:
    path = chain(COUNTING)
    words = len(AutoTokenizer.from_pretrained(path))
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    AutoModelForCausalLM.from_config(BertConfig(vocab_size=words, **sizes)).save_pretrained(path)
    with pytest.raises(InputError, match=f"cannot use the model BertLMHeadModel in {path}\n.*later tokens change"):
        ask(path, items_of("1"), Memory())
