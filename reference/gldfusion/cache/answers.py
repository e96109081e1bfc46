"""Logprobs that a source gave elsewhere: answers in files, or of a server. They fill a cache in place of its model.

A file of answers has one JSON object in each line, with the names that vLLM gives to these things:

    {"model": "name of the source", "prompt_token_ids": [3, 17, 8], "prompt_logprobs": [null, {...}, {...}]}

`prompt_token_ids` are the ids of a whole text: prompt, response and the tokens that end it. `prompt_logprobs` has one
entry for each of them. The entry at place i is an object such as {"8": {"logprob": -0.2}, "5": {"logprob": -1.9}}: the
natural logarithms of the probabilities that the source, after reading the ids before this place, gives to the k most
likely ids and to the id at this place. The first entry is null, and so may be all entries of the prompt. Other keys are
ignored. The order of the lines has no meaning.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from transformers import AutoConfig

from gldfusion.align import Encoded
from gldfusion.checkpoint import reading
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, hash_json, require_file
from gldfusion.model import load_tokenizer
from gldfusion.reading import one_line, plain_line, shown
from gldfusion.recipe import Recipe
from gldfusion.sources import Example, SequenceSignal, empty_signal, encode_example
from gldfusion.specials import Special

COLUMNS = ("ids", "lse", "nll")
"""the optional columns of a cache that logprobs determine: they say nothing of the other logits' mean and deviation"""
Place = Mapping[str, Any]
"""token id -> {"logprob": number}"""


def require_answered(columns: Collection[str]) -> None:
    """Checks that logprobs tell what a cache is to store.

    Raises:
        InputError: they do not.
    """
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise InputError(
            f"the terms of the recipe need {' and '.join(unknown)} of all logits, which top-k logprobs do not tell\n"
            "choose other options of the loss, or run the source here"
        )


class Answers(Protocol):
    """Where the logprobs of texts come from."""

    @property
    def model(self) -> str:
        """Name of the source."""
        ...

    def ask(self, texts: Sequence[Sequence[int]]) -> list[Sequence[Place | None]]:
        """`prompt_logprobs` of each text, which is given as its ids.

        Raises:
            InputError: there are none.
        """
        ...


class AnsweredSource:
    """A source that answers elsewhere. Only its tokenizer and its configuration are here."""

    def __init__(
        self,
        name: str,
        checkpoint: Path,
        answers: Answers,
        k: int,
        max_length: int,
        *,
        trust_remote_code: bool = False,
        special: Special = "parse",
    ) -> None:
        """Loads the tokenizer.

        Args:
            name: name of the source.
            checkpoint: folder with its tokenizer and its config.json. It needs no weights.
            answers: where its logprobs come from.
            k: how many logprobs the signals keep per position.
            max_length: largest number of tokens of a text, prompt and response together.
            trust_remote_code: whether code that the folder brings may run.
            special: how special tokens that are typed in the texts are read; see `specials`.

        Raises:
            InputError: the folder has no usable tokenizer or configuration.
        """
        self.name = name
        self.answers = answers
        self.k = k
        self.max_length = max_length
        self.special: Special = special
        self.tokenizer = load_tokenizer(checkpoint, trust_remote_code, weights=False)
        with reading(checkpoint, "the configuration"):
            config = AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=trust_remote_code)
        self.vocabulary: int = config.get_text_config().vocab_size

    def encode(self, example: Example) -> Encoded:
        """The ids of a text, which must be asked."""
        return encode_example(self.tokenizer, example, self.max_length, self.special)

    def read(self, examples: Sequence[Example]) -> list[SequenceSignal]:
        """The signal of each text. Its logits are logprobs, so their log-sum-exp over the vocabulary is 0.

        Raises:
            InputError: there is no answer for a text, or an answer is incomplete. The message names the example.
        """
        encoded = [self.encode(example) for example in examples]
        asked = [i for i, e in enumerate(encoded) if e.starts]
        said = dict(zip(asked, self.answers.ask([encoded[i].ids for i in asked]), strict=True))
        return [
            self._signal(example, e, said[i]) if i in said else empty_signal(self.k)
            for i, (example, e) in enumerate(zip(examples, encoded, strict=True))
        ]

    def _signal(self, example: Example, encoded: Encoded, places: Sequence[Place | None]) -> SequenceSignal:
        where = f"source {self.name}: the answer of {self.answers.model} to example {example.id}"
        if len(places) != len(encoded.ids):
            raise InputError(
                f"{where} has {len(places)} places, expected {len(encoded.ids)}, one for each token\nask again"
            )
        rows = [
            _row(places[place], encoded.ids[place], self.k, f"{where}, place {place},") for place in encoded.labelled
        ]
        values = np.array([[value for _, value in best] for best, _ in rows], dtype=np.float32)
        ids = np.array([[number for number, _ in best] for best, _ in rows], dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.vocabulary):
            raise InputError(f"{where} names an id beyond the vocabulary of {self.vocabulary}\nask the right model")
        return SequenceSignal(
            values=values,
            ids=ids,
            lse=np.zeros(len(rows), np.float32),
            mean=None,
            std=None,
            starts=np.asarray(encoded.starts, dtype=np.int64),
            nll=np.array([-own for _, own in rows], dtype=np.float32),
        )


def write_prompts(path: Path, checkpoint: Path, examples: Sequence[Example], recipe: Recipe) -> int:
    """Writes the ids of texts, which a source that runs elsewhere must be asked.

    Each line is an object with `prompt_token_ids`. Texts with the same ids, and texts without labelled positions, are
    left out.

    Args:
        path: the file.
        checkpoint: folder with the source's tokenizer.
        examples: the texts.
        recipe: gives max_length and how special tokens that are typed in the texts are read.

    Returns:
        The number of lines.

    Raises:
        InputError: the folder has no usable tokenizer, or a text cannot be encoded.
    """
    tokenizer = load_tokenizer(checkpoint, recipe.trust_remote_code, weights=False)
    seen = set()
    with atomic_write(path, "w") as file:
        for example in examples:
            encoded = encode_example(tokenizer, example, recipe.train.max_length, recipe.special_tokens_in_text)
            if encoded.starts and (name := hash_json(encoded.ids)) not in seen:
                seen.add(name)
                file.write(json.dumps({"prompt_token_ids": encoded.ids}) + "\n")
    return len(seen)


def _row(place: Place | None, own: int, k: int, where: str) -> tuple[list[tuple[int, float]], float]:
    """The k largest logprobs of a place with their ids, in descending order; and the logprob of the text's own id."""
    try:
        found = {int(number): float(entry["logprob"]) for number, entry in (place or {}).items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f'{where} is {shown(place)}\nexpected an object of token ids, such as {{"17": {{"logprob": -0.2}}}}'
        ) from None
    if own not in found or any(math.isnan(value) or value > 1e-3 for value in found.values()):
        wrong = "does not hold the text's own token" if own not in found else "holds a logprob above 0 or NaN"
        raise InputError(
            f"{where} {wrong} {own if own not in found else ''}".rstrip() + "\nask again for prompt_logprobs"
        )
    best = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
    if len(best) < k:
        raise InputError(f"{where} has {len(best)} logprobs, the recipe asks for k = {k}\nask for more, or lower k")
    return best, found[own]


class AnswerFiles:
    """Answers in files; the module says in which form. They stay in the files until they are asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Reads where each answer is.

        Args:
            paths: the files.

        Raises:
            InputError: a file does not exist or has a line of another form, or they hold the answers of several models.
        """
        self.paths = tuple(paths)
        self._places: dict[str, tuple[Path, int]] = {}  # hash of the ids of a text -> where the line begins
        models: set[str] = set()
        for path in self.paths:
            require_file(path, "answers of a source", "expected JSON lines, which docs/fusing.md describes")
            with path.open("rb") as file:
                place = 0
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        answer = _parsed(line, f"{path}, line {number}")
                        models.add(answer["model"])
                        self._places[hash_json(answer["prompt_token_ids"])] = path, place
                    place += len(line)
        if len(models) != 1:
            found = ", ".join(sorted(models)[:3]) or "no answers"
            raise InputError(f"expected the answers of one model, found {found}\ngive the files of one model")
        self.model = models.pop()

    def ask(self, texts: Sequence[Sequence[int]]) -> list[Sequence[Place | None]]:
        """See `Answers.ask`."""
        out = []
        for ids in texts:
            known = self._places.get(hash_json(list(ids)))
            if known is None:
                raise InputError(
                    f"{self.paths[0]} has no answer to a text of {len(ids)} tokens that begins with {list(ids[:8])}\n"
                    "write the texts with `gldbench cache prompts`, and ask the source for all of them"
                )
            path, place = known
            with path.open("rb") as file:
                file.seek(place)
                out.append(_parsed(file.readline(), str(path))["prompt_logprobs"])
        return out


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    """One line of a file of answers."""
    try:
        answer = json.loads(line)
        kinds = {"model": str, "prompt_token_ids": list, "prompt_logprobs": list}
        wrong = [name for name, kind in kinds.items() if not isinstance(answer[name], kind)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        wrong = [f"no {error}" if isinstance(error, KeyError) else plain_line(error)]
        answer = {}
    if wrong:
        raise InputError(
            f"{where}: {one_line(wrong[0], 120)}: expected an object with model, prompt_token_ids and prompt_logprobs\n"
            "write one answer in each line, as docs/fusing.md describes"
        )
    return answer
