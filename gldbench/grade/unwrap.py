"""Taking an answer out of what surrounds it: LaTeX, quotes, emphasis, remarks. One home for all judges."""

from __future__ import annotations

import re

END_OF_TEXT = re.compile(
    r"</s>|<\|(?:im_end|im_start|endoftext|end_of_text|eot_id|eom_id|end|return|end_of_turn|END_OF_TURN_TOKEN|eos|user)\|>"
    r"|<end_of_turn>|<start_of_turn>|<eos>|<\|?pad\|?>|<[|｜]end▁of▁sentence[|｜]>|\[EOS\]|\[/?INST\]"
)
"""tokens that end a model's turn, and that some servers leave in the text"""

LATEX_WRAPPER = (
    r"\\(?:text(?:bf|it|rm|tt|sf|normal)?|math(?:bf|rm|it|sf|tt)|mbox|boldsymbol|bm|boxed|fbox|operatorname)"
)
_LONGEST_SPAN = 500
"""characters between two marks of emphasis; a bound, because an output may hold a million marks"""
_EMPHASIS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<![\w)*])\*\*\*?(?=[^\s*])([^\n]{{0,{_LONGEST_SPAN}}}?[^\s*])\*\*\*?(?![\w*])",
        rf"(?<![\w)*])\*(?=[^\s*])([^*\n]{{0,{_LONGEST_SPAN}}}?[^\s*])\*(?![\w*])",
        rf"(?<!\w)__(?=[^\s_])([^\n]{{0,{_LONGEST_SPAN}}}?[^\s_])__(?!\w)",
        r"</?(?:b|strong|i|em|u|p|code|span|center)>()",
        rf"{LATEX_WRAPPER}\s*\{{([^{{}}]{{0,100}}\b[Aa]nswer\b[^{{}}]{{0,{_LONGEST_SPAN}}})\}}",
    )
)


def without_emphasis(text: str) -> str:
    """The text without marks of bold and italic type. Products and powers keep their stars."""
    for pattern in _EMPHASIS:
        text = pattern.sub(r"\1", text)
    return text


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+")
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_ABOUT = re.compile(
    r"\A(?:approximately|approx\.?|about|roughly|around|nearly|almost|exactly|\\approx|\\simeq|\\sim|[≈~≃])(?![a-zA-Z])"
    r"\s*(?:equal to\s*)?(?=[-+\d$\\.(])",
    re.IGNORECASE,
)
_CALLED = re.compile(r"(?<=[a-zA-Z]{2})!+\Z")  # 3! keeps its sign
_BEGINNING = re.compile(r"\A[:;,=]\s*")
_BULLET = re.compile(r"\A[-*•]\s+")
_PAIRS = (
    *(("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("*", "*"), ("__", "__")),
    *(('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("```", "```"), ("`", "`")),
)
_WHOLE_WRAPPER = re.compile(rf"{LATEX_WRAPPER}\s*\{{(.*)\}}", re.DOTALL)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)


def unwrap(text: str) -> str:
    """An answer without what surrounds it.

    Removed are dollars and LaTeX parentheses, \\text and \\boxed, emphasis, quotes, backticks, a bullet, "about",
    end-of-text tokens and the full stop. Unicode superscripts become powers.
    """
    text = _SPACES.sub(" ", END_OF_TEXT.split(text, maxsplit=1)[0]).replace("−", "-")
    text = _SUPERSCRIPT.sub(lambda match: "^{" + match[0].translate(_SUPERSCRIPTS) + "}", text)
    for _ in range(8):  # as many layers as anybody writes
        before = text
        text = _without_end(_ABOUT.sub("", _BULLET.sub("", text.strip())))
        for opening, closing in _PAIRS:
            text = _between(text, opening, closing)
        wrapped = _WHOLE_WRAPPER.fullmatch(text)
        text = wrapped[1].strip() if wrapped and balanced(wrapped[1]) else text
        if text == before:
            break
    return text


def _without_end(text: str) -> str:
    """The text without the punctuation that ends it, or a sign that begins it."""
    text = _CALLED.sub("", _BEGINNING.sub("", text).rstrip())
    bare = text.rstrip(".;,:")
    return bare if bare.rstrip() == bare else text  # " ..." stays


def _between(text: str, opening: str, closing: str) -> str:
    """The text between one pair of marks, where it is all that they surround."""
    inside = text[len(opening) : len(text) - len(closing)]
    surrounded = text.startswith(opening) and text.endswith(closing) and inside and not inside.endswith("\\")
    return inside.strip() if surrounded and opening not in inside and closing not in inside else text


def balanced(text: str) -> bool:
    """Whether every brace has its partner."""
    depth = 0
    for token in _BRACES.finditer(text):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth < 0:
            return False
    return depth == 0


_REMARK = re.compile(
    r"(?<=\S)\s+\((?=[^()]*(?:[A-Za-z]{2}|[\d≈$%]))[^()]*\)\s*\Z|(?<=[\d$%}\])])\((?=[^()]*[a-z]{3})[^()]*\)\s*\Z"
)


def without_remark(text: str) -> str:
    """The text without a remark in parentheses at its end: "18 (nine eggs at $2 each)" -> "18"."""
    return _REMARK.sub("", text).strip() or text


_SENTENCE = re.compile(r"(?<=[\w}$)\]%\"'*`])[.!]\s+(?=[A-Z(\\*$])")


def first_sentence(text: str) -> str:
    """The text up to the end of its first sentence."""
    return _SENTENCE.split(text, maxsplit=1)[0]


_REFUSAL = re.compile(
    r"\bnone of (?:the|these|those|them|it)\b|\bneither\b"
    r"|\bcannot be (?:determined|answered|found|known|inferred|computed|calculated|solved)"
    r"|\bcan(?:'t|not| not) (?:be )?(?:determine|answer|tell|say|know|decide|choose)\w*"
    r"|\bnot (?:among|listed|given|present|provided|available|included) "
    r"|\bnot in (?:the|this) (?:list|options?|choices|answers?)\b"
    r"|\bno idea\b|\bdo(?:n't| not) know\b"
    r"|\b(?:not enough|insufficient) information|\bimpossible to (?:determine|say|tell|know)|\bundetermined\b"
    r"|\bno (?:correct )?(?:answer|option|choice)\b|\bun(?:known|clear|certain)\b"
    r"|\bnot (?:clear|known|certain|sure|determined|specified|stated|mentioned|applicable)\b|\bn/a\b",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Whether the text says that there is no answer, or that it is none of those offered."""
    return bool(_REFUSAL.search(first_sentence(text)[:200]))


_TEMPLATE = re.compile(
    r"\$(?:ANSWER|LETTER|NUMBER)\b|\A\W*X\W*\(without\b"
    r"|\bwhere\s+\W{0,4}(?:X|ANSWER|LETTER|NUMBER|OPTION)\W{0,4}\s+(?:is|are|stands)\b"
    r"|\A\W*(?:YOUR[ _])?(?:FINAL[ _])?(?:ANSWER|LETTER|NUMBER|OPTION)(?:[ _]HERE)?\W*\Z"
    r"|\A\W*[<\[({](?i:(?:insert |write |put )?(?:your |the |final |correct |an? )*"
    r"(?:answer|letter|number|option|value|result)(?: here)?)[>\])}]\W*\Z"
)


_QUOTES = re.compile(r"\s*\(without (?:the )?quot(?:es|ation marks)\).*\Z", re.DOTALL)


def without_template(text: str) -> str:
    """An answer without the rest of the prompt's template: "$4$ (without quotes) where $4$ is the answer" -> "$4$"."""
    return _QUOTES.sub("", text) or text


def is_template(text: str) -> bool:
    """Whether the text is a place for an answer, as a prompt writes it: "$ANSWER", "[your answer]", "X where X is ...".

    A model that repeats its prompt has not answered yet. What it says later or said before may be its answer.
    """
    return bool(_TEMPLATE.search(text[:300]))


_FUNCTION_WORD = re.compile(r"\b(?:the|is|are|was|we|to|of|and|that|so|in|it|this|for|a|by|with|if)\b", re.IGNORECASE)
_MOST_WORDS = 15
_MOST_FUNCTION_WORDS = 4


def is_no_prose(line: str) -> bool:
    """Whether a line is short, or a list of words, and does not announce something else.

    It is prose where it has more than 15 words, of which more than 4 are words like "the", "is" and "of".
    """
    if line.rstrip().endswith(":"):
        return False
    words = re.findall(r"(?<!\\)\b[A-Za-z]+\b", line)
    return len(words) <= _MOST_WORDS or len(_FUNCTION_WORD.findall(line)) <= _MOST_FUNCTION_WORDS
