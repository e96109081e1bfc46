"""The judge of IFEval: lm-eval's checkers, without a network and with the same result every time."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import nltk
import pytest

from gldbench.grade import sentences
from gldbench.grade.judges import JUDGES, Mark
from gldbench.schema import Item, Task
from gldbench.tasks import load_items, load_task

NO_TASK: Task = None  # type: ignore[assignment]  # the judge asks nothing of it


def asked(*instructions: tuple[str, dict[str, object]]) -> Item:
    record = {
        "key": 7,
        "prompt": "Do it.",
        "instruction_id_list": [name for name, _ in instructions],
        "kwargs": [arguments for _, arguments in instructions],
    }
    return Item("ifeval", "default", "7", "Do it.", "", "7", record=record)


def marks(output: str, *instructions: tuple[str, dict[str, object]]) -> list[Mark]:
    (own,) = JUDGES["ifeval"].judge(NO_TASK, [asked(*instructions)], [output])
    return own


def values(own: list[Mark], filter_name: str) -> list[float]:
    """The prompt's value, then those of its instructions."""
    return [mark.value for mark in own if mark.filter == filter_name]


NO_COMMA, LOWER = ("punctuation:no_comma", {}), ("change_case:english_lowercase", {})


def test_a_prompt_counts_where_all_instructions_are_followed() -> None:
    own = marks("this text has no comma and no capital letter", NO_COMMA, LOWER)
    assert values(own, "strict") == values(own, "loose") == [1.0, 1.0, 1.0]
    own = marks("this text, it has a comma", NO_COMMA, LOWER)
    assert values(own, "strict") == [0.0, 0.0, 1.0]
    assert own[0].reason == "not followed: punctuation:no_comma"
    assert [(mark.metric, mark.part) for mark in own[:3]] == [
        ("prompt_level", ""),
        ("instruction_level", "0"),
        ("instruction_level", "1"),
    ]


def test_loose_forgives_a_first_line_a_last_line_and_asterisks() -> None:
    own = marks("Sure, here you are:\nno comma here", NO_COMMA)
    assert (values(own, "strict"), values(own, "loose")) == ([0.0, 0.0], [1.0, 1.0])
    quoted = ("startend:quotation", {})
    own = marks('*"all of it"*', quoted)
    assert (values(own, "strict"), values(own, "loose")) == ([0.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize("output", ["", "  \n\u2028"])
def test_an_empty_output_follows_nothing(output: str) -> None:
    own = marks(output, NO_COMMA)
    assert {mark.value for mark in own} == {0.0}
    assert not any(mark.answered for mark in own)


def test_an_output_too_long_for_the_checkers_is_an_error() -> None:
    own = marks("[x " * 20_000, NO_COMMA)
    assert {(mark.value, mark.status, mark.reason) for mark in own} == {(0.0, "error", sentences.TOO_LONG)}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith met Mr. J. R. Jones at 5 p.m. on Main St. with a dog. He left.", 2),
        ("They live in the U.S. The law there differs.", 2),
        ("It costs 3.50 dollars. Visit example.com now.", 2),
        ('He said: "Stop." Then he left...', 2),
        ("no full stop", 1),
    ],
)
def test_sentences_are_counted_without_nltk_data(text: str, count: int) -> None:
    own = marks(text, ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": count}))
    assert values(own, "strict") == [1.0, 1.0]
    own = marks(text, ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": count}))
    assert values(own, "strict") == [0.0, 0.0]


def test_rows_say_which_sentence_model_counted() -> None:
    note = sentences.ifeval_checkers()[1]
    counted = marks("One. Two.", ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}))
    assert counted[0].reason == note
    assert marks("one", NO_COMMA)[0].reason == ""


def test_random_numbers_are_left_alone_and_nothing_changes_from_run_to_run() -> None:
    """Two languages in one text: langdetect draws; a missing argument: the checker draws."""
    mixed = ("language:response_language", {"language": "de"})
    drawn = ("keywords:letter_frequency", {"letter": "e", "let_relation": "at least"})
    random.seed(3)
    expected = random.random()
    random.seed(3)
    found = [[mark.value for mark in marks("Das ist this is", mixed, drawn)] for _ in range(20)]
    assert random.random() == expected
    assert all(one == found[0] for one in found)


def test_importing_the_checkers_asks_no_network() -> None:
    """In a process of its own: nltk's downloader fails the test where lm-eval would call it."""
    code = (
        "import nltk, sys\n"
        "nltk.data.path[:] = []\n"
        "nltk.download = lambda *_: sys.exit('download')\n"
        "from gldbench.grade import sentences\n"
        "checkers, note = sentences.ifeval_checkers()\n"
        "assert note == sentences.BUILT_IN and nltk.data.path == []\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_installed_model_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with sentences._sentence_model() as note:
        assert note == sentences.BUILT_IN
    assert nltk.data.path == [str(tmp_path)]
    sentences._write_model(tmp_path / "tokenizers" / "punkt_tab" / "english")
    with sentences._sentence_model() as note:
        assert note == ""


def test_every_prompt_of_the_real_file_can_be_graded(benchmark_data: Path) -> None:
    task = load_task("ifeval")
    items = load_items(task, benchmark_data)
    marked = JUDGES["ifeval"].judge(task, items, [item.record["prompt"] for item in items])
    assert sum(len(values(own, "strict")) - 1 for own in marked) == 834  # instructions, as published
    assert [own[0].value for own in marked] != [0.0] * len(items)
    again = JUDGES["ifeval"].judge(task, items, [item.record["prompt"] for item in items])
    assert again == marked
