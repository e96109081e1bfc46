"""Texts that models choose: no control character, half surrogate pair or tag gets into rows, reports and errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gldbench import cli
from gldbench.printable import markdown, printable, table_cell, well_formed
from gldbench.schema import Response, Row
from gldbench.store import Store
from gldfusion.errors import InputError

HOSTILE = "the program raised \x1b[31mRed\x07\ud800<script>alert(1)</script>\u202e"
ROW = Row(
    run_id="", env_id="", suite="", task="", task_version=1, variant="", subject="", method="", world_seed=0, seed=0,
    item="", cluster="", grader="", filter="", metric="", value=0.0, unit="", status="error", reason="",
)  # fmt: skip
any_text = st.text(st.characters())  # with surrogates


@given(any_text)
def test_a_printable_text_can_be_printed_and_stored(text: str) -> None:
    clean = printable(text)
    assert all(c.isprintable() or c in "\n\t" for c in clean)
    assert printable(clean) == clean
    assert clean.encode().decode() == clean
    well_formed(text).encode()
    assert text != "".join(c for c in text if c.isprintable()) or clean == text


def test_what_is_escaped_is_named() -> None:
    assert printable("\x1b[0m\ud800\r\n\ta\u202e\xe9") == "\\x1b[0m\\ud800\\r\n\ta\\u202e\xe9"
    assert well_formed("a\ud800b\n\x1b\U0001f600") == "a\ufffdb\n\x1b\U0001f600"
    assert markdown("<script>1 < 2 </p><!-- <?x a<b") == "&lt;script>1 < 2 &lt;/p>&lt;!-- &lt;?x a&lt;b"
    assert table_cell("a|b\nc") == "a\\|b c"


def test_one_bad_text_does_not_keep_the_other_rows_from_being_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bad = dataclasses.replace(ROW, reason=HOSTILE, found="\udfff", item="bad")
    store.append_rows([ROW, bad, ROW], "unit")
    assert [row.item for row in store.rows()] == ["", "bad", ""]
    assert "\x1b" not in store.rows()[1].reason
    assert "\\x1b[31mRed\\x07\\ud800" in store.rows()[1].reason
    assert store.rows()[1].found == "\\udfff"


def test_one_bad_output_does_not_keep_the_other_responses_from_being_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    response = Response("", "", "", "", "", "a\ud800\x1b", 0, 0, False, False, 0.0, prompt="\udfff", gold="\ud800")
    store.append_responses([response, dataclasses.replace(response, output="good")], "unit")
    assert [one.output for one in store.responses()] == ["a\ufffd\x1b", "good"]


def test_an_error_message_changes_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise InputError(f"no such item: {HOSTILE}\nthe fix")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert "\x1b" not in told
    assert "\ud800" not in told
