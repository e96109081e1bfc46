"""`gldbench losses`."""

from __future__ import annotations

from typing import Any

from gldbench.commands.options import Json, print_json


def losses(as_json: Json = False) -> None:
    """List the losses that a recipe can use: what each computes, its formula, its source and its options."""
    from gldfusion.losses.describe import describe

    entries = [
        {
            "name": loss.name,
            "summary": loss.summary,
            "formula": loss.formula,
            "source": loss.citation,
            "options": [
                {"name": o.name, "type": o.type, "default": o.default, "meaning": o.meaning} for o in loss.options
            ],
        }
        for loss in describe()
    ]
    if as_json:
        print_json(entries)
    else:
        _print(entries)


def _print(entries: list[dict[str, Any]]) -> None:
    from gldbench.console import print_wrapped

    print_wrapped(
        "A recipe or spec uses a loss as a term: {loss: NAME, weight: NUMBER, options: {OPTION: VALUE}}. "
        "sft is always part of the total loss, with the weight 1 - lambda."
    )
    for entry in entries:
        print(f"\n{entry['name']}")
        print_wrapped(entry["summary"], indent=2)
        print_wrapped(entry["formula"], indent=2, label="formula")
        print_wrapped(entry["source"], indent=2, label="source")
        for option in entry["options"]:
            values, default = (str(text).replace("None", "null") for text in (option["type"], option["default"]))
            print_wrapped(f"{option['name']}: {values} (default: {default})", indent=2, label="option")
            print_wrapped(option["meaning"], indent=14)
