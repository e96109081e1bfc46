"""The judge of IFEval: lm-eval's checkers, without a network and with the same result every time."""

from __future__ import annotations

import importlib
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


def values(own: list[Mark], filter_name: str) -> list[float | None]:
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


def test_nothing_changes_from_run_to_run() -> None:
    """Two languages in one text: langdetect draws."""
    mixed: tuple[str, dict[str, object]] = ("language:response_language", {"language": "de"})
    random.seed(3)
    expected = random.random()
    random.seed(3)
    found = [[mark.value for mark in marks("Das ist this is", mixed)] for _ in range(20)]
    assert random.random() == expected
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize(
    ("letter", "count", "output", "followed"),
    [
        ("#", 4, "#sun #night #read #joy", True),
        ("#", 4, "#sun #night #read joy", False),
        ("!", 2, "Stop! Now!", True),
        ("!", 2, "Stop! Now.", False),
        ("é", 2, "Été, café", True),
        ("E", 3, "Eleven apples", True),
        ("e", 4, "Eleven apples", True),
        ("e", 5, "Eleven apples", False),
    ],
)
def test_a_letter_may_be_any_character(letter: str, count: int, output: str, followed: bool) -> None:
    at_least = {"letter": letter, "let_frequency": count, "let_relation": "at least"}
    assert values(marks(output, ("keywords:letter_frequency", at_least)), "strict") == [float(followed)] * 2
    less = {**at_least, "let_relation": "less than"}
    assert values(marks(output, ("keywords:letter_frequency", less)), "strict") == [float(not followed)] * 2


def kinds() -> list[str]:
    return sorted(importlib.import_module("lm_eval.tasks.ifeval.instructions_registry").INSTRUCTION_DICT)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", kinds())
def test_an_instruction_without_its_arguments_is_an_error_or_needs_none(name: str, seed: int) -> None:
    random.seed(seed)
    own = marks("Some text, and more.", (name, {}))
    needs_none = {
        "change_case:english_capital", "change_case:english_lowercase", "combination:two_responses",
        "detectable_format:constrained_response", "detectable_format:json_format", "detectable_format:title",
        "punctuation:no_comma", "startend:quotation",
    }  # fmt: skip
    statuses = {mark.status for mark in own}
    assert statuses == ({None} if name in needs_none else {"error"})
    if name not in needs_none:
        assert {mark.value for mark in own} == {None}
        assert name in own[0].reason


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 2, "let_relation": "at least"}, "at random"),
        ("keywords:letter_frequency", {"letter": "a", "let_relation": "at least"}, "at random"),
        ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}, "at random"),
        ("length_constraints:number_words", {"num_words": 5, "relation": "at most"}, "refuses"),
        ("length_constraints:number_words", {"words": 5}, "refuses"),
        ("no:such_thing", {}, "knows no instruction no:such_thing"),
    ],
)
def test_what_cannot_be_checked_is_an_error(name: str, arguments: dict[str, object], words: str) -> None:
    own = marks("Some text.", (name, arguments), NO_COMMA)
    assert {(mark.value, mark.status) for mark in own} == {(None, "error")}
    assert words in own[0].reason


def test_the_random_numbers_of_lm_eval_are_there_again_afterwards() -> None:
    marks("Some text.", NO_COMMA)
    instructions = importlib.import_module("lm_eval.tasks.ifeval.instructions")
    assert instructions.random is random
    assert instructions.instructions_util.random is random


FIRST, SECOND, THIRD = "Weekend plans are made.", "Second one.", "The third."


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    [
        "{0}\n\n{1}\n\n{2}", "\n\n{0}\n\n{1}\n\n{2}", "\n{0}\n\n{1}\n\n{2}\n\n", "{0}\n\n\n\n{1}\n\n\n{2}",
        "{0}\n \n{1}\n\t\n\n{2}",
    ],
)  # fmt: skip
def test_blank_lines_separate_paragraphs(text: str, end: str) -> None:
    output = text.format(FIRST, SECOND, THIRD).replace("\n", end)
    for nth, word in enumerate(("weekend", "second", "the"), start=1):
        asks = {"num_paragraphs": 3, "nth_paragraph": nth, "first_word": word}
        assert values(marks(output, ("length_constraints:nth_paragraph_first_word", asks)), "strict") == [1.0, 1.0]
        for wrong in (
            {"num_paragraphs": 2, "nth_paragraph": min(nth, 2)},
            {"num_paragraphs": 4},
            {"first_word": "one"},
        ):
            own = marks(output, ("length_constraints:nth_paragraph_first_word", {**asks, **wrong}))
            assert values(own, "strict") == [0.0, 0.0]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("text", "count"),
    [("a\n***\nb", 2), ("\n\na\n\n***\n\n\nb\n\n***\nc\n\n", 3), ("***\na\n***\nb\n***", 2), ("a\n\nb", 1)],
)
def test_stars_separate_paragraphs(text: str, count: int, end: str) -> None:
    output = text.replace("\n", end)
    for number in (1, 2, 3, 4):
        own = marks(output, ("length_constraints:number_paragraphs", {"num_paragraphs": number}))
        assert values(own, "strict") == [float(number == count)] * 2


CAPITAL = ("change_case:english_capital", {})


@pytest.mark.parametrize(
    ("output", "instruction", "followed"),
    [
        ("YES", CAPITAL, True),
        ("THE LIBRARIES WILL BE CLOSED ON FRIDAY. PLEASE BRING BACK ALL OF YOUR BOOKS BEFORE NOON.", CAPITAL, True),
        ("The libraries WILL BE CLOSED.", CAPITAL, False),
        ("WIR GEHEN HEUTE ALLE ZUSAMMEN IN DEN PARK UND ESSEN DORT EIN EIS BEIM ALTEN BRUNNEN.", CAPITAL, False),
        ("12 + 7", CAPITAL, False),
        ("harbour view homes", LOWER, True),
        ("the libraries will be closed on friday, so please bring back all of your books before noon.", LOWER, True),
        ("the libraries will be closed on Friday.", LOWER, False),
        (
            "nous allons tous ensemble au parc pour manger une glace pendant que les enfants jouent au ballon.",
            LOWER,
            False,
        ),
        ("спасибо большое", LOWER, False),
    ],
)
def test_capitals_do_not_hide_the_language(
    output: str, instruction: tuple[str, dict[str, object]], followed: bool
) -> None:
    assert values(marks(output, instruction), "strict") == [float(followed)] * 2


def test_what_the_model_thought_is_no_part_of_the_response() -> None:
    assert values(marks("<think>First, a comma, then more.</think>\n\nno comma here", NO_COMMA), "strict") == [1.0, 1.0]
    quoted = ("startend:quotation", {})
    assert values(marks('<think>Hm.</think>\n"all of it"', quoted), "strict") == [1.0, 1.0]
    own = marks("<think>no comma so far, and the thought is cut", NO_COMMA)
    assert {mark.value for mark in own} == {0.0}
    assert not any(mark.answered for mark in own)
    assert {mark.how for mark in own} == {"none"}
    own = marks("<think>" + "[x " * 20_000 + "</think>\nshort", NO_COMMA)
    assert values(own, "strict") == [1.0, 1.0]


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


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_no_item_depends_on_the_others(benchmark_data: Path, step: int) -> None:
    """Each item alone, with the others, and with the others in reverse order: always the same marks."""
    task = load_task("ifeval")
    every = load_items(task, benchmark_data)
    items = [item for place, item in enumerate(every) if place % step == 0 or item.item_id in ("1122", "1129")]
    for form in ("{}", "#sun! #night! # # ! ! ! ! ! !\n\n{}\n\nP.S. Bye.", "<<Title>>\n{}"):
        outputs = [form.format(item.record["prompt"]) for item in items]
        together = JUDGES["ifeval"].judge(task, items, outputs)
        backwards = JUDGES["ifeval"].judge(task, items[::-1], outputs[::-1])
        assert backwards[::-1] == together
        alone = [JUDGES["ifeval"].judge(task, [item], [output])[0] for item, output in zip(items, outputs, strict=True)]
        assert alone == together
        assert not any(mark.status for own in together for mark in own)


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("the cat was already full.", True),
        ("etchings", True),
        ("coastal elegance properties", True),
        ("1. apex software\n2. cybertech solutions", True),
        ("yes", True),
        ("la la land is a film", True),
        ("el perro duerme en la casa", False),
        ("hola amigo como estas hoy", False),
        ("je suis dans la maison avec mon chat", False),
        ("der hund schlaft heute im garten", False),
        ("buon giorno come stai oggi", False),
    ],
)
def test_a_short_text_is_english_unless_its_words_say_otherwise(text: str, english: bool) -> None:
    assert values(marks(text, LOWER), "strict") == [float(english)] * 2
    assert values(marks(text.upper(), CAPITAL), "strict") == [float(english)] * 2
