"""Messages of errors may quote what others wrote: they are printable and short."""

from __future__ import annotations

import pickle

from gldfusion.errors import InputError


def test_a_message_escapes_what_moves_the_cursor_and_keeps_its_lines() -> None:
    error = InputError("no \x1b[31mred\u202e\nline \ud800 two\r\n  kept")
    assert str(error) == "no \\x1b[31mred\\u202e\nline \\ud800 two\\r\n  kept"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_long_line_is_cut() -> None:
    assert len(str(InputError("x " * 10**6 + "\nmend it"))) == 2000 + len("\nmend it")


def test_a_long_word_of_a_message_is_cut_and_the_rest_stays() -> None:
    assert (
        str(InputError(f'no family named "{"a/" * 2000}"\nknown: ring'))
        == f'no family named "{"a/" * 199}a...\nknown: ring'
    )
