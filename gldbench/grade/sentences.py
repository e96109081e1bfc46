"""Loads lm-eval's IFEval checkers so that they need no network and no random numbers.

The checkers use nltk's English sentence model in two places. `length_constraints:number_sentences` counts sentences,
and `change_case:capital_word_frequency` splits a text into sentences before it counts words in capitals. When nltk does
not find the model (punkt_tab), importing the checkers *downloads* it. In that case this module supplies a smaller model
of its own.

Both models are parameters of the same algorithm (Kiss and Strunk, 2006). Ours has 97 abbreviations and letters, all of
which nltk's model has too, and words that often begin a sentence, chosen by hand. nltk's model was learnt from the Wall
Street Journal. It has 156 abbreviations, 37 pairs of words, 39 words that begin sentences, and the spelling of 20,366
words. Both count the same number of sentences in 99.45 % of IFEval's prompts, 99.85 % of GSM8K's questions, all of
GSM8K's answers, 99.1 % of DROP's passages and 99.7 % of MMLU's questions. Our list was chosen on these texts, and
answers of models were not compared. The comparison used nltk's older file of the model, the pickle "punkt". Neither
model knows "i.e." and "e.g.": both see the end of a sentence there.
"""

from __future__ import annotations

import importlib
import logging
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import nltk

BUILT_IN = "sentences by gldbench's own abbreviations: nltk's punkt_tab is not installed"
LONGEST_OUTPUT = 50_000
"""characters; lm-eval's expressions take time that grows with the square of a run of brackets, asterisks or digits"""
TOO_LONG = f"too long to parse: longer than the {LONGEST_OUTPUT} characters that lm-eval's code is given"
USES_SENTENCES = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})
"""instructions that need the sentence model"""

ABBREVIATIONS = """
mr mrs ms dr prof rep reps sen gen col maj lt adm st messrs sr jr ph.d m.b.a inc ltd co cos corp bros cie
jan feb aug sep sept oct nov dec tues wed fri a.m p.m a.d vs ct ave ft yr
u.s u.s.a u.k u.n u.s.s.r d.c l.a n.y n.j n.c s.c n.d n.m r.i w.va
ala ariz calif colo conn fla ga ill kan ky mich minn nev okla ore pa tenn va vt wash wis
c d e f g h k l m n p r s t v w
"""
"""abbreviations that end with a full stop, and letters as initials; in lower case, without that full stop"""

SENTENCE_STARTERS = """
the this that these those there he she it we they you his her its our their your my a an
in on at for from with by as to of after before when while since although though because if unless until
but and or so yet however therefore thus moreover meanwhile then now here finally first second next also
what who where why how which some many most all both each every no not one another
"""
"""words that begin a sentence where they have a capital letter, because inside a sentence they have none"""

_BEGINS_WITH_CAPITAL_ELSE_SMALL = 2 | 32
"""nltk's flags for the spelling of a word: with a capital at the beginning of sentences, in lower case inside them"""


@lru_cache(maxsize=1)
def ifeval_checkers() -> tuple[Any, str]:
    """(module `lm_eval.tasks.ifeval.utils`, note). The note is `BUILT_IN`, or "" where nltk's own model is in use."""
    with _sentence_model() as note:
        checkers = importlib.import_module("lm_eval.tasks.ifeval.utils")
        counting = importlib.import_module("lm_eval.tasks.ifeval.instructions_util")
        counting.count_sentences("Loads the model. It is kept.")
        nltk.word_tokenize("Loads the model here too. It is kept.")
    languages: Any = importlib.import_module("langdetect")
    languages.DetectorFactory.seed = 0  # without a seed, two runs may detect different languages
    logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(
        logging.CRITICAL
    )  # it logs texts without a language
    return checkers, note


@contextmanager
def _sentence_model() -> Iterator[str]:
    """Within the block nltk finds an English model: its own, or else ours in a temporary folder of its search path."""
    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        pass
    else:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="gldbench-punkt-") as folder:
        _write_model(Path(folder, "tokenizers", "punkt_tab", "english"))
        nltk.data.path.append(folder)
        try:
            yield BUILT_IN
        finally:
            nltk.data.path.remove(folder)


def sentence_model() -> dict[str, str]:
    """The four files of the model in use, name -> text, for a process that cannot read nltk's folders."""
    with _sentence_model():
        folder = Path(nltk.data.find("tokenizers/punkt_tab/english/"))
        return {name: (folder / name).read_text(encoding="utf-8") for name in _own_model()}


def _own_model() -> dict[str, str]:
    """The four files of our English model in nltk's format, name -> text."""
    starters = SENTENCE_STARTERS.split()
    spelling = [f"{word}\t{_BEGINS_WITH_CAPITAL_ELSE_SMALL}" for word in starters]
    files = {
        "abbrev_types.txt": ABBREVIATIONS.split(),
        "collocations.tab": [],
        "sent_starters.txt": starters,
        "ortho_context.tab": spelling,
    }
    return {name: "\n".join(lines) for name, lines in files.items()}


def _write_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, text in _own_model().items():
        (folder / name).write_text(text, encoding="utf-8")


@contextmanager
def without_chance() -> Iterator[None]:
    """Seeds Python's random numbers with 0 inside the block, and restores their state afterwards.

    lm-eval's checkers draw the arguments that an instruction does not give. The grader "lm_eval" uses them as they are.
    """
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)
