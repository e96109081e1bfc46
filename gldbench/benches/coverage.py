"""The coverage table of four kinds of tokenizer, trained on one half of real texts and compared on the other.

    python -m gldbench.benches.coverage --data FOLDER [--texts N] [--size N] [--json]

FOLDER holds benchmark data as `gldbench eval --data` reads it ($GLDBENCH_DATA where it is not given). Families: gsm8k
(word problems), math500 (LaTeX), humaneval (Python), unicode (lines below, in scripts that the training texts lack).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gldfusion.coverage import coverage_report, table
from gldfusion.errors import InputError
from gldfusion.files import require_file
from gldfusion.sources import Example

END, UNKNOWN = "</s>", "<unk>"
FIELDS = {
    "gsm8k": ("gsm8k/test.jsonl", "question", "answer"),
    "math500": ("math/math500.jsonl", "problem", "solution"),
    "humaneval": ("humaneval/test.jsonl", "prompt", "canonical_solution"),
}
UNICODE = (
    "Ein schöner Tag, 10 € für Zoë und Jürgen.",
    "日本語のテキストと絵文字🙂👩‍👩‍👧 が一行に。",
    "Привет, мир! Как дела?",
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m",
    "one\ttab, two\t\ttabs\r\nand a line of Windows\r\n",
    "مرحبا بالعالم ١٢٣",
)


def read_texts(data: Path, texts: int) -> list[Example]:
    """`texts` examples of each family; ids begin with the family."""
    out = []
    for family, (file, prompt, response) in FIELDS.items():
        path = require_file(data / file, "benchmark data", "name its folder with --data")
        lines = path.read_text(encoding="utf-8").split("\n")[:texts]
        records = [json.loads(line) for line in lines if line]
        out += [Example(f"{family}/{i}", r[prompt], r[response]) for i, r in enumerate(records)]
    return [*out, *(Example(f"unicode/{i}", "Repeat.", line) for i, line in enumerate(UNICODE))]


def four_tokenizers(texts: Sequence[str], size: int) -> dict[str, PreTrainedTokenizerFast]:
    """Byte-level BPE (GPT-2, Qwen), unigram with byte fallback (the first Llamas), WordPiece (BERT), characters."""
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
    special = [UNKNOWN, "<s>", END]
    tokenizer.train_from_iterator(
        texts,
        trainers.UnigramTrainer(vocab_size=size - 256, special_tokens=special, unk_token=UNKNOWN, show_progress=False),
    )
    vocabulary = [(token, score) for token, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    lowest = min(score for _, score in vocabulary) - 10
    vocabulary += [(f"<0x{byte:02X}>", lowest) for byte in range(256)]
    tokenizer.model = models.Unigram(vocabulary, unk_id=0, byte_fallback=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=END, unk_token=UNKNOWN)


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
    """Lines: trainers take one at a time."""
    for text in texts:
        yield from re.findall(r"[^\n]*\n|[^\n]+", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints every ordered pair of the four."""
    parser = argparse.ArgumentParser(
        prog="python -m gldbench.benches.coverage", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("GLDBENCH_DATA"))
    parser.add_argument("--texts", type=int, default=150, help="of each family; every other one trains (150)")
    parser.add_argument("--size", type=int, default=4000, help="entries of a vocabulary (4000)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        if given.data is None:
            raise InputError("no data folder: name it with --data, or set GLDBENCH_DATA")
        examples = read_texts(given.data, given.texts)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    training = [e.response for e in examples[::2] if not e.id.startswith("unicode/")]
    compared = [e for i, e in enumerate(examples) if i % 2 or e.id.startswith("unicode/")]
    rows = coverage_report(compared, four_tokenizers(list(_pieces(training)), given.size))
    print(json.dumps([row.as_json() for row in rows], indent=1) if given.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
