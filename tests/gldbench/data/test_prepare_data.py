"""`gldbench data prepare`: sampling, decontamination, the filter by failing programs, and the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gldbench.cli import main
from gldbench.data.config import Decontamination, load_preparation
from gldbench.data.decontaminate import Benchmarks
from gldbench.data.grams import Runs, words_of
from gldbench.data.prepare import prepare
from gldbench.generate.backend import Completion, Sampling
from gldbench.generate.generate import BACKENDS
from gldbench.sandbox import trouble
from gldfusion.errors import InputError
from gldfusion.examples import read_examples
from gldfusion.sources import Example

needs_sandbox = pytest.mark.skipif(bool(trouble()), reason="there is no sandbox here")
ChainMaker = Callable[..., Path]
LONG = "A farmer has seventeen sheep and all of them but nine run away over the hill one night"
SHORT = "How many prime numbers lie below one hundred, exactly?"
TINY = "What is 2?"


def lines(path: Path, records: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A benchmark "toy" with three items, and a part of texts with contaminated and clean examples."""
    rows = [{"q": LONG, "gold": "9", "secret": "not asked"}, {"q": SHORT, "gold": "25"}, {"q": TINY, "gold": "2"}]
    content = lines(tmp_path / "bench/toy.jsonl", rows).read_bytes()
    task = {
        "name": "toy", "version": 1, "title": "toy",
        "dataset": {
            "kind": "file", "file": "toy.jsonl", "sha256": hashlib.sha256(content).hexdigest(), "count": 3,
            "licence": "MIT", "target": "gold",
        },
        "prompt": "Read this question with care and then give the right answer after thinking step by step: {q}",
        "scorer": "number", "answer_pattern": {"digits": r"(\d+)"}, "generation": {"max_tokens": 24, "stop": []},
        "headline": {"grader": "ours", "filter": "digits", "metric": "exact_match"}, "chance": 0.0,
        "citation": "nobody",
    }  # fmt: skip
    (tmp_path / "tasks/toy").mkdir(parents=True)
    (tmp_path / "tasks/toy/task.yaml").write_text(yaml.safe_dump(task))
    texts = [{"prompt": f"clean number {i}", "response": "yes"} for i in range(20)]
    texts[3]["prompt"] = "Riddle: " + LONG.upper().replace(" ", ", ") + "! How many are left?"
    texts[7]["response"] = f"First think. {SHORT} There are 25."
    texts[11]["prompt"] = "Read this question with care and then give the right answer after thinking step by step: x"
    texts[12] = dict(texts[11])
    lines(tmp_path / "texts.jsonl", texts)
    return tmp_path


def config(folder: Path, **settings: Any) -> Path:
    path = folder / "mixture.yaml"
    whole = {"name": "small", "parts": [{"path": "texts.jsonl"}], "decontaminate": {"tasks": "toy"}} | settings
    path.write_text(yaml.safe_dump(whole))
    return path


def run(folder: Path, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["gldbench", "data", "prepare", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_contaminated_examples_are_removed_and_reported(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(config(world)), "--output", str(world / "out"), "--data", str(world / "bench")]
    monkeypatch.delenv("GLDBENCH_TASKS", raising=False)
    assert run(world, [*arguments, "--tasks-dir", str(world / "tasks")], monkeypatch) == 0
    assert "17 examples, 2 contaminated" in capsys.readouterr().out
    kept = read_examples(world / "out/train.jsonl")
    names = [int(e.id.removeprefix("texts/")) for e in kept]
    assert names == sorted(names), "the order of the file is lost"
    assert {3, 7} & set(names) == set()
    assert len({11, 12} & set(names)) == 1, "the instructions of the prompt are no contamination; repeats go"
    report = json.loads((world / "out/report.json").read_text())
    assert report["examples"] == 17
    assert report["parts"] == [
        {"part": "texts", "asked": None, "taken": 17, "records": 20, "repeated": 1, "contaminated": 2}
    ]
    own = report["benchmarks"]["toy"]
    assert [own[name] for name in ("items", "items_too_short", "items_hit", "examples_removed")] == [3, 1, 2, 2]
    assert {one["example"] for one in own["shown"]} == {"texts/3", "texts/7"}
    page = (world / "out/report.md").read_text()
    assert "| toy | 3 | 1 | 2 | 2 |" in page
    assert "a farmer has seventeen sheep and all of them but nine run away" in page
    assert run(world, arguments, monkeypatch) == 2
    assert "already there" in capsys.readouterr().err


def test_sampling_is_decided_by_the_seed(world: Path) -> None:
    def drawn(seed: int, take: int, name: str) -> list[str]:
        path = config(world, seed=seed, parts=[{"path": "texts.jsonl", "take": take}], decontaminate=None)
        prepare(load_preparation(path), world / name, None)
        return [e.id for e in read_examples(world / name / "train.jsonl")]

    first = drawn(0, 8, "a")
    assert len(first) == 8
    assert drawn(0, 8, "b") == first
    assert drawn(1, 8, "c") != first
    assert set(drawn(0, 4, "d")) < set(first)
    assert len(drawn(0, 100, "e")) == 19


def test_every_form_of_data_survives(world: Path) -> None:
    system = [{"role": r, "content": r} for r in ("system", "user", "assistant")]
    plain = [{"role": r, "content": f"{r} {i}"} for i in range(2) for r in ("user", "assistant")]
    records = [{"prompt": "a", "response": "b"}, {"messages": system}, {"messages": plain}]
    before = read_examples(lines(world / "forms.jsonl", records))
    prepare(load_preparation(config(world, parts=[{"path": "forms.jsonl"}], decontaminate=None)), world / "out", None)
    after = read_examples(world / "out/train.jsonl")
    assert [e.key for e in after] == [e.key for e in before]


def test_what_is_wrong_is_said(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="needs the files of the benchmarks"):
        prepare(load_preparation(config(world)), world / "out", None)
    monkeypatch.setenv("GLDBENCH_TASKS", str(world / "tasks"))
    with pytest.raises(InputError, match="benchmark data not found"):
        prepare(load_preparation(config(world)), world / "out", world)
    assert not (world / "out").exists()
    for parts, message in (
        ([{"path": "texts.jsonl", "weight": 1}], "say how many examples to take"),
        ([{"path": "texts.jsonl"}] * 2, "a name of its own"),
        ([{"path": "texts.jsonl", "takes": 1}], 'did you mean "take"'),
        ([], "parts"),
    ):
        with pytest.raises(InputError, match=message):
            load_preparation(config(world, parts=parts))


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=40)


@given(item=WORDS, text=WORDS, n=st.integers(2, 6))
def test_shared_runs_are_those_that_a_search_finds(item: list[str], text: list[str], n: int) -> None:
    runs = Runs([("x", [" ".join(item)])], n, 2)
    length = min(n, len(item))
    grams = {tuple(item[i : i + length]) for i in range(len(item) - length + 1)} if length >= 2 else set()
    found = any(tuple(text[i : i + length]) in grams for i in range(len(text) - length + 1))
    assert bool(list(runs.shared(text))) == found
    assert runs.unchecked == (not grams)


def test_words() -> None:
    assert words_of("Don't  STOP, it's\n$\\frac{1}{2}$ _x_ Zoë!") == ["dont", "stop", "its", "frac12", "x", "zoë"]


def test_the_eleven_benchmarks_are_read(benchmark_data: Path) -> None:
    """Each benchmark finds its own question, and none finds a text of ours."""
    from gldbench.tasks import PAPER11, load_items, load_task

    names = "gsm8k,humaneval,arc_c,math"
    assert set(names.split(",")) < set(PAPER11)
    found = Benchmarks(Decontamination(tasks=names), benchmark_data)
    assert not found.contaminated(Example("ours", "Please add the two numbers that I name.", "I will do so at once."))
    for name in names.split(","):
        item = max(load_items(load_task(name), benchmark_data, 20), key=lambda item: len(item.prompt))
        assert found.contaminated(Example(name, f"Solve: {item.prompt}", "x")), name
        assert item.item_id in found.found[name].hit
        assert found.found[name].unchecked < found.found[name].items / 2


class Scripted:
    """Answers like a model that knows some programs: always, never, or in some of the draws."""

    tokens_per_batch = 2**15
    asked: list[tuple[str, int]] = []  # noqa: RUF012

    def count(self, prompt: str, plain: bool = False) -> int:
        return len(prompt)

    def complete(
        self, prompts: Sequence[str], max_tokens: int, stop: Sequence[str], sampling: Sampling | None = None
    ) -> list[Completion]:
        assert sampling is not None
        self.asked.extend((prompt, sampling.seed) for prompt in prompts)
        return [Completion(self._answer(prompt, sampling.seed), 1, False) for prompt in prompts]

    @staticmethod
    def _answer(prompt: str, seed: int) -> str:
        kind, _, number = prompt.partition(" ")
        right = kind == "always" or (kind == "sometimes" and seed != 3)
        return f"Here it is:\n```python\ndef f{number}(x):\n    return x + {1 if right else 2}\n```\n"


@pytest.fixture
def code(world: Path, chain: ChainMaker, monkeypatch: pytest.MonkeyPatch) -> Path:
    chain({"1": "2"}, name="model")
    records = []
    for number, kind in enumerate(["always", "never", "sometimes"] * 4):
        test = f"from solution import f{number}\n\ndef test_it():\n    assert f{number}(1) == 2\n"
        solution = f"def f{number}(x):\n    return x + 1\n"
        records.append({"prompt": f"{kind} {number}", "response": "r", "test": test, "solution": solution})
    records[0] |= {"test": "def test_it():\n    assert True\n"}  # calls nothing
    records[1] |= {"solution": "def f1(x):\n    return x\n"}  # fails its own test
    lines(world / "code.jsonl", records)
    Scripted.asked = []
    monkeypatch.setitem(BACKENDS, "scripted", lambda *_: Scripted())
    failed = {"checkpoint": "model", "generations": 5, "max_tokens": 64}
    return config(world, parts=[{"path": "code.jsonl", "failed_by": failed}], decontaminate=None)


@needs_sandbox
def test_programs_that_the_model_always_solves_are_left_out(code: Path, world: Path) -> None:
    report = prepare(load_preparation(code), world / "out", None, backend="scripted")
    kept = [e.prompt.split()[0] for e in read_examples(world / "out/train.jsonl")]
    assert kept == ["sometimes", "never"] * 3 + ["sometimes"]
    counts = report["parts"][0]["failed_by"]
    assert {k: v for k, v in counts.items() if k != "checkpoint"} == {
        "no tests": 1, "solution fails": 1, "kept": 7, "solved": 3,
    }  # fmt: skip
    assert len(Scripted.asked) == 10 * 5
    assert {seed for _, seed in Scripted.asked} == {0, 1, 2, 3, 4}
    assert not (world / ".out.state").exists()
    assert "- solved: 3" in (world / "out/report.md").read_text()


@needs_sandbox
def test_an_interrupted_filter_asks_nothing_twice(code: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare(load_preparation(code), world / "whole", None, backend="scripted")
    Scripted.asked = []

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gldbench.data.failing._right", lambda codes, programs: [True] * len(codes))
        patch.setattr("gldbench.data.failing.find_program", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(load_preparation(code), world / "out", None, backend="scripted")
    assert not (world / "out").exists()
    asked = len(Scripted.asked)
    assert asked >= 50
    again = prepare(load_preparation(code), world / "out", None, backend="scripted")
    assert len(Scripted.asked) == asked
    assert again == whole
    assert (world / "out/train.jsonl").read_bytes() == (world / "whole/train.jsonl").read_bytes()


@needs_sandbox
def test_a_real_model_answers_and_is_drawn_until_enough_are_kept(code: Path, world: Path) -> None:
    settings = yaml.safe_load(code.read_text())
    settings["parts"][0] |= {"take": 2}
    settings["parts"][0]["failed_by"] |= {"generations": 2, "max_tokens": 4}
    code.write_text(yaml.safe_dump(settings))
    report = prepare(load_preparation(code), world / "out", None)
    assert report["parts"][0]["taken"] == 2
    assert report["parts"][0]["failed_by"]["solved"] == 0


def test_a_record_without_tests_is_named(code: Path, world: Path) -> None:
    lines(world / "code.jsonl", [{"prompt": "a", "response": "b", "solution": "def f(): pass"}])
    with pytest.raises(InputError, match=r"example code/0 has no text 'test'.*\n.*`tests` and `solution`"):
        prepare(load_preparation(code), world / "out", None, backend="scripted")
