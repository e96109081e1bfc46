"""Byte starts and pairing, on four kinds of tokenizer trained here."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from gldfusion.align import Encoded, encode, pair, pair_texts
from gldfusion.chat import prompt_ids
from gldfusion.errors import InputError
from gldfusion.turns import turn_end

CORPUS = [
    "def add(a, b):\n    total = a + b\n    return total  # sum\n",
    "The answer is 42, because 6 * 7 = 42.\n\nSo the answer is 42.",
    "Ein schöner Tag — naïve café, 10 € für Zoë.",
    "日本語のテキスト and emoji 🙂🙂 in one line",
] * 4
TEXTS = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="▁")),  # ▁ is a unigram's space
    st.text(alphabet=" \n\tabé日本🙂e\u0301."),
    st.lists(
        st.sampled_from(
            ["\r\n", "\r", "\t", "  ", "e\u0301", "n\u0303\u0327", "👩\u200d👩\u200d👧", "🇯🇵", "한국", "Ａ", "ab"]
        )
    ).map("".join),
    st.lists(st.sampled_from(re.findall(r"\s+|\S+", " ".join(CORPUS)))).map("".join),
)
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"


def wrap(tokenizer: Tokenizer, **options: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", **options)


@cache
def byte_bpe(vocabulary: int = 400) -> PreTrainedTokenizerFast:
    """As GPT-2: its post-processor trims spaces off the spans."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=["</s>", "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrap(tokenizer)


@cache
def unigram(prepend: str = "never") -> PreTrainedTokenizerFast:
    """As Llama-2: ▁ for a space, bytes for what is not in the vocabulary, BOS before a text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([text for text in CORPUS if text.isascii()], trainer)
    vocab = [(token, score) for token, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    vocab += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    tokenizer.model = models.Unigram(vocab, unk_id=0, byte_fallback=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return wrap(tokenizer, bos_token="<s>")


@cache
def characters() -> PreTrainedTokenizerFast:
    """One token per character; unseen characters are <unk>."""
    seen = sorted(set("".join(CORPUS)))
    vocabulary = {token: i for i, token in enumerate(["<unk>", "</s>", *seen])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return wrap(tokenizer)


@cache
def wordpiece() -> PreTrainedTokenizerFast:
    """As BERT without its normaliser: white space goes, ## marks what continues a word, unknown words are <unk>."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrap(tokenizer)


TOKENIZERS = {"byte_bpe": byte_bpe, "unigram": unigram, "characters": characters, "wordpiece": wordpiece}


def response_ids(encoded: Encoded) -> list[int]:
    return encoded.ids[encoded.n_prompt : len(encoded.ids) - 1]


def token_bytes(name: str, ids: list[int]) -> bytes | None:
    """The bytes that tokens stand for, read off the tokens themselves; None where one of them is unknown."""
    tokens = TOKENIZERS[name]().convert_ids_to_tokens(ids)
    if name == "byte_bpe":
        return b"".join(bytes(BYTE_OF[character] for character in token) for token in tokens)
    if "<unk>" in tokens:
        return None
    if name in ("characters", "wordpiece"):
        return "".join(token.removeprefix("##" if name == "wordpiece" else "") for token in tokens).encode()
    return b"".join(
        bytes.fromhex(token[3:5]) if re.fullmatch("<0x..>", token) else token.replace("▁", " ").encode()
        for token in tokens
    )


def byte_alphabet() -> dict[str, int]:
    """GPT-2's character for each byte: itself if printable, else the next free one from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTE_OF = byte_alphabet()


def assert_starts_agree_with_tokens(name: str, text: str, ids: list[int], starts: list[int]) -> None:
    """Between any two known starts, the tokens are exactly the bytes of the text."""
    data = text.encode()
    known = [(i, start) for i, start in enumerate(starts) if start >= 0]
    assert starts[-1] == len(data)
    assert len(starts) == len(ids) + 1
    for (i, start), (j, end) in pairwise(known):
        assert start < end
        between = token_bytes(name, ids[i:j])
        covered = data[start:end].decode()  # whole characters
        assert between is None or between.decode() == ("".join(covered.split()) if name == "wordpiece" else covered)
    assert not starts[:-1] or starts[0] == 0


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=150)
@given(text=TEXTS)
@example(text="")
@example(text="def f():\n    return 日本 ")
@example(text="🙂e\u0301")
def test_starts_partition_the_text(name: str, text: str) -> None:
    encoded = encode(TOKENIZERS[name](), "x", text, 10_000)
    assert not encoded.truncated
    assert_starts_agree_with_tokens(name, text, response_ids(encoded), encoded.starts)


@settings(deadline=None, max_examples=150)
@given(text=TEXTS)
def test_every_character_starts_a_character_token(text: str) -> None:
    encoded = encode(characters(), "x", text, 10_000)
    assert encoded.starts == [len(text[:i].encode()) for i in range(len(text) + 1)]


def test_spans_as_the_tokenizer_reports_them_are_caught() -> None:
    """A GPT-2 post-processor trims the spaces off "\\n   ", and the next token seems to start inside it."""
    text = "b):\n    total"
    trimmed = byte_bpe()(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = [0, *(end for _, end in trimmed["offset_mapping"])]  # the planted bug: the text is ASCII, bytes = characters
    encoded = encode(byte_bpe(), "x", text, 100)
    assert trimmed["input_ids"] == response_ids(encoded)
    assert_starts_agree_with_tokens("byte_bpe", text, response_ids(encoded), encoded.starts)
    with pytest.raises(AssertionError):
        assert_starts_agree_with_tokens("byte_bpe", text, trimmed["input_ids"], ends)


def test_text_that_no_span_covers() -> None:
    """A dropped space belongs to the word after it, a composed accent to the letter before it."""
    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert encode(wrap(words), "x", "ab  cd e", 100).starts == [0, 2, 6, 8]
    composing = Tokenizer.from_str(byte_bpe(256).backend_tokenizer.to_str())
    composing.normalizer = normalizers.NFC()
    encoded = encode(wrap(composing), "x", "e\u0301H", 100)
    assert encoded.starts == [0, -1, 3, 4]
    assert pair(encode(byte_bpe(256), "x", "e\u0301H", 100).starts, encoded.starts) == [(0, 0), (3, 2), (4, 3)]


def test_pieces_of_one_character_do_not_share_its_start() -> None:
    for tokenizer in (byte_bpe(256), unigram()):  # no merges; no such letters
        encoded = encode(tokenizer, "x", "aЖb", 100)
        assert encoded.starts == [0, 1, -1, 3, 4]


@settings(deadline=None, max_examples=150)
@given(text=TEXTS, names=st.tuples(*[st.sampled_from(sorted(TOKENIZERS))] * 2))
def test_pairs_are_monotone_and_start_at_one_byte(text: str, names: tuple[str, str]) -> None:
    ours, theirs = (encode(TOKENIZERS[name](), "x", text, 10_000) for name in names)
    pairs = pair(ours.starts, theirs.starts)
    for (i, j), (following_i, following_j) in pairwise(pairs):
        assert i < following_i
        assert j < following_j
    assert all(ours.starts[i] == theirs.starts[j] >= 0 for i, j in pairs)
    shared = (set(ours.starts) & set(theirs.starts)) - {-1}
    assert len(pairs) == len(shared)
    assert pairs[-1] == (len(ours.starts) - 1, len(theirs.starts) - 1)  # both ends of sequence


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=40)
@given(text=TEXTS)
def test_an_identical_tokenizer_pairs_every_position_with_itself(name: str, text: str) -> None:
    encoded = encode(TOKENIZERS[name](), "x", text, 10_000)
    starts = encoded.starts
    assert pair_texts(encoded, starts, same_vocabulary=True) == [(i, i) for i in range(len(starts))]
    assert pair(starts, starts) == [(i, i) for i, start in enumerate(starts) if start >= 0]


def test_identical_tokenizer_covers_ascii_text_whole() -> None:
    for name in TOKENIZERS:
        starts = encode(TOKENIZERS[name](), "x", CORPUS[0], 1000).starts
        assert len(pair(starts, starts)) == len(starts)


def test_labels_inside_a_character_are_not_paired() -> None:
    assert pair([0, 2, -1, 5], [0, 1, -1, 5]) == [(0, 0), (3, 3)]
    assert pair([], []) == []


def test_bos_and_template_on_one_side_shift_nothing() -> None:
    """Bytes count from the start of the response: counted over the whole text, a template unpairs the identical."""
    templated = wrap(byte_bpe().backend_tokenizer, chat_template=TEMPLATE)
    plain, other = (encode(tokenizer, "How much?", CORPUS[1], 1000) for tokenizer in (byte_bpe(), templated))
    assert other.n_prompt > plain.n_prompt
    assert len(pair(plain.starts, other.starts)) == len(plain.starts)
    absolute = [start + len("<|user|>How much?<|assistant|>") for start in other.starts]  # the planted bug
    assert len(pair(plain.starts, absolute)) < 0.5 * len(plain.starts)


def test_a_prefix_space_does_not_shift_the_rest() -> None:
    text = "answer is 42"
    with_prefix, without = (encode(unigram(prepend), "x", text, 100) for prepend in ("always", "never"))
    assert with_prefix.starts[0] == 0
    assert set(with_prefix.starts) - {-1} <= set(range(len(text) + 1))
    assert {start for start in with_prefix.starts if start > 6} == {start for start in without.starts if start > 6}


def test_the_prompt_is_what_generation_sees() -> None:
    prompt, response = "What is 6 * 7?", " 42"
    for tokenizer in (byte_bpe(), unigram(), wrap(unigram().backend_tokenizer, chat_template=TEMPLATE)):
        encoded = encode(tokenizer, prompt, response, 1000)
        assert encoded.ids[: encoded.n_prompt] == prompt_ids(tokenizer, prompt)
        assert encoded.ids[-1] == turn_end(tokenizer).ids[-1]
        assert len(encoded.starts) == len(encoded.ids) - encoded.n_prompt == len(encoded.predicting)
        assert encoded.predicting[0] == encoded.n_prompt - 1


def test_bos_stands_before_the_prompt_only_where_the_tokenizer_puts_it() -> None:
    bos = unigram().bos_token_id
    ids = prompt_ids(unigram(), "answer")
    assert ids == [bos, *unigram()("answer", add_special_tokens=False)["input_ids"]]  # and no end token
    assert [token == bos for token in prompt_ids(unigram(), "<s>answer")].count(True) == 1
    unused = wrap(byte_bpe().backend_tokenizer, bos_token="</s>")
    assert prompt_ids(unused, "answer") == unused("answer", add_special_tokens=False)["input_ids"]


def test_a_chat_template_is_used_where_there_is_one() -> None:
    templated = wrap(unigram().backend_tokenizer, bos_token="<s>", chat_template=TEMPLATE)
    expected = "<|user|>answer<|assistant|>"
    assert prompt_ids(templated, "answer") == templated(expected, add_special_tokens=False)["input_ids"]


def test_truncation_keeps_the_beginning() -> None:
    whole = encode(byte_bpe(), "What?", CORPUS[0], 1000)
    for length in range(1, len(whole.ids) + 2):
        cut = encode(byte_bpe(), "What?", CORPUS[0], length)
        assert cut.ids == whole.ids[:length]
        assert cut.truncated is (length < len(whole.ids))
        assert cut.starts == whole.starts[: max(0, length - whole.n_prompt)]
        assert len(cut.predicting) == len(cut.starts)


def test_the_tokenizer_is_left_as_it_was() -> None:
    tokenizer = byte_bpe()
    before = tokenizer.backend_tokenizer.to_str()
    encode(tokenizer, "x", "a  b", 100)
    assert tokenizer.backend_tokenizer.to_str() == before


def test_bad_input() -> None:
    backend = byte_bpe().backend_tokenizer
    with pytest.raises(InputError, match="no eos_token"):
        encode(PreTrainedTokenizerFast(tokenizer_object=backend), "x", "y", 100)
    with pytest.raises(InputError, match="no tokens"):
        encode(byte_bpe(), "", "y", 100)

    class Slow:
        eos_token_id, chat_template, bos_token_id, name_or_path = 1, None, None, "slow"

        def __call__(self, text: str, **options: bool) -> dict[str, list[int]]:
            return {"input_ids": [5]}

    with pytest.raises(InputError, match="expected a fast tokenizer: slow"):
        encode(Slow(), "x", "y", 100)
