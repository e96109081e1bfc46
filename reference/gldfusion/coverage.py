"""Measures which share of a pivot's labelled positions is paired with a source, for each pair of tokenizers.

    python -m gldfusion.coverage DATA NAME=FOLDER NAME=FOLDER... [--json]

prints every ordered pair of tokenizers, for each family of texts and for all texts. A FOLDER holds tokenizer files. The
family of an example is the part of its id before the first "/".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from gldfusion.align import Encoded, pair_texts
from gldfusion.data import read_examples
from gldfusion.errors import InputError
from gldfusion.model import vocabulary_hash
from gldfusion.sources import Example, encode_example

ALL = "all"


@dataclass(frozen=True)
class Coverage:
    """The coverage for one pivot, one source and one family of texts."""

    pivot: str
    source: str
    family: str
    texts: int
    labelled: int
    """labelled positions of the pivot"""
    paired: int
    """those of them that are paired with a position of the source"""
    truncated: int
    """texts that were longer than max_length in at least one of the two tokenisations"""

    @property
    def coverage(self) -> float:
        """`paired` / `labelled`; 0 if nothing is labelled."""
        return self.paired / self.labelled if self.labelled else 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields and the coverage, as plain values."""
        return asdict(self) | {"coverage": self.coverage}


def family(example: Example) -> str:
    """The part of the example's id before the first "/"; "-" if there is no "/"."""
    return example.id.partition("/")[0] if "/" in example.id else "-"


def coverage_report(
    examples: Sequence[Example], tokenizers: Mapping[str, Any], max_length: int = 4096
) -> list[Coverage]:
    """Measures the coverage of every ordered pair of tokenizers, for each family and for all texts together.

    As in training, two tokenizers with the same vocabulary are paired position by position.

    Args:
        examples: the texts.
        tokenizers: name -> fast tokenizer.
        max_length: largest number of tokens of a text, prompt and response together.
    """
    encoded = {name: [encode_example(t, e, max_length) for e in examples] for name, t in tokenizers.items()}
    hashes = {name: vocabulary_hash(tokenizer) for name, tokenizer in tokenizers.items()}
    families = [family(example) for example in examples]
    rows = []
    for ours in tokenizers:
        for theirs in tokenizers:
            if ours != theirs:
                same = hashes[ours] == hashes[theirs]
                rows += _rows((ours, theirs), families, list(zip(encoded[ours], encoded[theirs], strict=True)), same)
    return rows


def _rows(
    names: tuple[str, str], families: Sequence[str], encoded: Sequence[tuple[Encoded, Encoded]], same: bool
) -> list[Coverage]:
    sums = defaultdict[str, list[int]](lambda: [0] * 4)
    for group, (ours, theirs) in zip(families, encoded, strict=True):
        pairs = len(pair_texts(ours, theirs.starts, same))
        found = (1, len(ours.starts), pairs, int(ours.truncated or theirs.truncated))
        for key in {group, ALL}:
            sums[key] = [total + more for total, more in zip(sums[key], found, strict=True)]
    ordered = [*sorted(set(sums) - {ALL}), ALL] if len(sums) > 2 else [ALL]
    return [Coverage(*names, key, *sums[key]) for key in ordered if key in sums]


def table(rows: Sequence[Coverage]) -> str:
    """The coverage as text for a terminal: one line for each pair of tokenizers, one column for each family."""
    columns = list(dict.fromkeys(row.family for row in rows))
    shares = {(row.pivot, row.source, row.family): f"{row.coverage:.1%}" for row in rows}
    wide = [max(len(column), 7) for column in columns]
    names = list(dict.fromkeys((row.pivot, row.source) for row in rows))
    left = [
        max(len(part) for part in (title, *said))
        for title, said in zip(("pivot", "source"), zip(*names, strict=True), strict=True)
    ]

    def line(pivot: str, source: str, cells: Sequence[str]) -> str:
        return "  ".join(
            [pivot.ljust(left[0]), source.ljust(left[1]), *(c.rjust(w) for c, w in zip(cells, wide, strict=True))]
        )

    body = [line(*name, [shares.get((*name, column), "") for column in columns]) for name in names]
    return "\n".join([line("pivot", "source", columns), *body])


def load_tokenizers(named: Sequence[str]) -> dict[str, PreTrainedTokenizerFast]:
    """Loads tokenizers from arguments NAME=FOLDER.

    Raises:
        InputError: an argument has another form, a folder has no tokenizer, or there are fewer than two.
    """
    out = {}
    for entry in named:
        name, _, folder = entry.partition("=")
        if not folder or not (Path(folder) / "tokenizer.json").is_file():
            raise InputError(f"expected NAME=FOLDER with a folder that holds a tokenizer.json, got {entry!r}")
        out[name] = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if len(out) < 2:
        raise InputError(f"coverage compares tokenizers: expected at least two names, got {len(out)}")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m gldfusion.coverage", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="JSON lines with the texts, in the form of training data")
    parser.add_argument(
        "tokenizers", nargs="+", metavar="NAME=FOLDER", help="a name and a folder with tokenizer files; two or more"
    )
    parser.add_argument(
        "--max-length", type=int, default=4096, help="largest number of tokens of a text (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects instead of a table")
    given = parser.parse_args(arguments)
    try:
        tokenizers = load_tokenizers(given.tokenizers)
        rows = coverage_report(read_examples(given.data), tokenizers, given.max_length)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps([row.as_json() for row in rows], indent=1) if given.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
