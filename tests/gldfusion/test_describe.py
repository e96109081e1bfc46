"""Every loss explains itself and its options."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import pytest

from gldfusion.losses import LOSSES, make_loss
from gldfusion.losses.describe import LossDescription, describe

DESCRIBED = {found.name: found for found in describe()}


def test_every_loss_is_described_in_order() -> None:
    assert list(DESCRIBED) == list(LOSSES)
    assert json.loads(json.dumps([asdict(found) for found in describe()]))[1]["options"][0]["name"] == "temperature"


@pytest.mark.parametrize("found", DESCRIBED.values(), ids=list(DESCRIBED))
def test_nothing_is_left_empty(found: LossDescription) -> None:
    for text in (found.summary, found.formula, found.citation):
        assert text.strip()
    assert found.summary.endswith(".")
    for option in found.options:
        assert option.meaning.strip(), option.name
        assert option.type.strip(), option.name


@pytest.mark.parametrize("name", LOSSES)
def test_options_are_the_fields_and_their_defaults(name: str) -> None:
    loss = make_loss(name)
    given = {field.name: field.default for field in fields(loss)}  # pyright: ignore[reportArgumentType]
    assert {option.name: option.default for option in DESCRIBED[name].options} == given
    assert make_loss(name, given) == loss


def test_types_and_meanings_are_readable() -> None:
    options = {option.name: option for option in DESCRIBED["gld"].options}
    assert options["nodes"].type == "rank | vocab"
    assert options["k"].type == "int | None"
    assert options["nodes"].meaning.startswith("What a node of the graph is.")
    assert "\n" not in options["values"].meaning
    for value in options["values"].type.split(" | "):
        assert f'"{value}"' in options["values"].meaning
