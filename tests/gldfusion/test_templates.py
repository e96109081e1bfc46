"""Chat templates are rendered on a fixed day, and otherwise as transformers renders them."""

from __future__ import annotations

from datetime import datetime

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from gldfusion.chat import prompt_ids
from gldfusion.templates import DATE, render
from gldfusion.turns import turn_end

DAY = datetime.fromisoformat(DATE)
FORMATS = ["%d %b %Y", "%Y-%m-%d", "%A, %B %-d, %y", "%H:%M:%S %p %j %I %-H", "%%d is %d", "%c|%x|%X", "no directive"]


def words(template: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    made.chat_template = template
    return made


def rendered(template: str, own: bool) -> str:
    messages, tokenizer = [{"role": "user", "content": "Hi"}], words(template)
    if own:
        return render(tokenizer, messages, tokenize=False)
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "template",
    [
        "{{ strftime_now('FORM') }}",
        "{% set form = 'FORM' %}{% macro now() %}{{ strftime_now(form) }}{% endmacro %}{{ now() }}",
        "{% if strftime_now is defined %}{% set date_string = strftime_now('FORM') %}{% endif %}{{ date_string }}",
    ],
)
def test_the_clock_is_not_read(form: str, template: str) -> None:
    assert rendered(template.replace("FORM", form), own=True) == DAY.strftime(form)


@pytest.mark.parametrize(
    "template",
    ["\n\n{{ messages[0].content }}\n", "  {% if true %}\na{% endif %}", "\n {% if true %}\n b{% endif %}", "x"],
)
def test_all_else_is_as_transformers_renders_it(template: str) -> None:
    with_clock = template + "{% if false %}{{ strftime_now('%Y') }}{% endif %}"
    assert rendered(with_clock, own=True) == rendered(with_clock, own=False)
    assert rendered(template, own=True) == rendered(template, own=False)


def test_a_template_for_one_turn_only() -> None:
    """It refuses a second question: the end of a turn is read from one question and one answer."""
    tokenizer = words(
        "{% if messages | length > 2 %}{{ raise_exception('one turn') }}{% endif %}"
        "{{ messages[0].content }}{% for m in messages[1:] %} {{ m.content }}</s>{% endfor %}"
    )
    assert turn_end(tokenizer).text == "</s>"
    assert prompt_ids(tokenizer, "Hi") == [0]


def test_a_template_that_shows_no_replies_ends_like_plain_text() -> None:
    tokenizer = words("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    assert turn_end(tokenizer).ids == (tokenizer.eos_token_id,)
