"""Measures how well four kinds of tokenizer can be paired: the coverage of each pair, in both directions.

    python -m gldbench.benches.coverage --data FOLDER [--texts N] [--size N] [--json]

The tokenizers are trained on one half of real texts and compared on the other half. There are four families of texts:
gsm8k (word problems), math500 (LaTeX), humaneval (Python), and unicode, a few lines in scripts that the training texts
do not contain. Coverage is the share of the pivot's labels that start where a token of the source starts too.
"""

from __future__ import annotations

import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gldbench.benches.command_line import Script
from gldbench.console import reporter
from gldfusion.coverage import coverage_report, table
from gldfusion.errors import InputError
from gldfusion.files import require_file
from gldfusion.reading import parse_json, read_text
from gldfusion.sources import Example

END, BEGIN, UNKNOWN = "</s>", "<s>", "<unk>"
BYTES = 256
"""entries for single bytes, which two of the tokenizers have"""
FIELDS = {
    "gsm8k": ("gsm8k/test.jsonl", "question", "answer"),
    "math500": ("math/math500.jsonl", "problem", "solution"),
    "humaneval": ("humaneval/test.jsonl", "prompt", "canonical_solution"),
}
"""family -> data file, its field of the prompt, its field of the response"""
UNICODE = (
    "Ein schöner Tag, 10 € für Zoë und Jürgen.",
    "日本語のテキストと絵文字🙂👩‍👩‍👧 が一行に。",
    "Привет, мир! Как дела?",
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m",
    "one\ttab, two\t\ttabs\r\nand a line of Windows\r\n",
    "مرحبا بالعالم ١٢٣",
)


MEND = "name the folder of benchmark files with --data"


def read_texts(data: Path, texts: int) -> list[Example]:
    """Reads the first `texts` rows of each family. The id of an example begins with its family.

    Raises:
        InputError: a data file is missing, or a row has not the expected fields.
    """
    for file, _, _ in FIELDS.values():
        require_file(data / file, "benchmark data", MEND)
    out = []
    for family, (file, prompt, response) in FIELDS.items():
        lines = read_text(data / file, "benchmark data", MEND).split("\n")[:texts]
        try:
            rows = [(number, line) for number, line in enumerate(lines, start=1) if line]
            records = [parse_json(line, f"{data / file}, line {number}", MEND) for number, line in rows]
            out += [Example(f"{family}/{i}", r[prompt], r[response]) for i, r in enumerate(records)]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{data / file}: expected JSON lines with the fields {prompt} and {response}, "
                f"got {type(error).__name__}: {error}"
            ) from None
    return [*out, *(Example(f"unicode/{i}", "Repeat.", line) for i, line in enumerate(UNICODE))]


def four_tokenizers(texts: Sequence[str], size: int) -> dict[str, PreTrainedTokenizerFast]:
    """Trains byte-level BPE (as GPT-2, Qwen), unigram with byte fallback (as Llama 2), WordPiece (as BERT), characters.

    Args:
        texts: training texts.
        size: entries of each vocabulary, except that of characters.

    Raises:
        InputError: `size` is too small for the characters of the texts.
    """
    least = BYTES + len({character for text in texts for character in text}) + 4  # 3 special tokens, and "▁"
    if size < least:
        raise InputError(
            f"--size: expected at least {least}, because the vocabulary must hold all bytes and all characters of the "
            f"training texts, got {size}"
        )
    return {
        "byte-bpe": _byte_bpe(texts, size),
        "unigram": _unigram(texts, size),
        "wordpiece": _wordpiece(texts, size),
        "characters": _characters(texts),
    }


def _byte_bpe(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=[END], show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def _unigram(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    special = [UNKNOWN, BEGIN, END]
    tokenizer.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=size - BYTES, special_tokens=special, unk_token=UNKNOWN, show_progress=False
        ),
    )
    vocabulary = [(token, score) for token, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    lowest = min(score for _, score in vocabulary) - 10
    vocabulary += [(f"<0x{byte:02X}>", lowest) for byte in range(BYTES)]
    tokenizer.model = models.Unigram(vocabulary, unk_id=0, byte_fallback=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, unk_token=UNKNOWN)


def _wordpiece(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=[UNKNOWN, END], show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, unk_token=UNKNOWN)


def _characters(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    seen = sorted({character for text in texts for character in text})
    vocabulary = {token: i for i, token in enumerate([UNKNOWN, END, *seen])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, unk_token=UNKNOWN)


def _pieces(texts: Sequence[str]) -> Iterator[str]:
    """Splits texts into lines, which the trainers take one at a time."""
    for text in texts:
        yield from re.findall(r"[^\n]*\n|[^\n]+", text)


def _script() -> Script:
    script = Script("coverage", __doc__)
    script.data()
    script.whole(
        "--texts", 150, "Texts per family. Half of them train, the other half are measured.", quick=12, least=2
    )
    script.whole("--size", 4000, "Entries of each vocabulary.", quick=700)
    return script


def _work(given: Namespace) -> int:
    examples = read_texts(given.data, given.texts)
    training = [e.response for e in examples[::2] if not e.id.startswith("unicode/")]
    compared = [e for i, e in enumerate(examples) if i % 2 or e.id.startswith("unicode/")]
    steps = ("train four tokenizers", "pair their tokens")
    with reporter("bench coverage") as report:
        for step in steps:
            report(step, 0, 1)
        tokenizers = four_tokenizers(list(_pieces(training)), given.size)
        report(steps[0], 1, 1)
        rows = coverage_report(compared, tokenizers)
        report(steps[1], 1, 1)
    print(json.dumps([row.as_json() for row in rows], indent=1) if given.json else table(rows))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
