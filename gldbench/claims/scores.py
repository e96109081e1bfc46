"""Claims about scores: the numbers of the abstract, and what the comparison of this project found."""

from __future__ import annotations

from functools import partial

from gldbench.claims.claim import Claim, Finding
from gldbench.claims.evidence import Evidence
from gldbench.tables.definition import Table

ROUNDING = 0.01
"""points; published values have two decimals"""


def _differences(table: Table, row: str) -> dict[str, float]:
    """Title of each difference that the table defines -> its value in one row, in points."""
    published = table.rows[row].published
    return {d.title: published[d.of] - published[d.minus] for d in table.differences.values()}


def in_text(evidence: Evidence, number: int) -> Finding:
    """Is a number of the text the difference that the text names?"""
    claim = evidence.table.claims[number]
    named = evidence.table.differences[claim.difference].title
    values = _differences(evidence.table, claim.row)
    equal = [title for title, value in values.items() if abs(value - claim.value) <= ROUNDING + 1e-9]
    text = "; ".join(f"{title}: {value:+.2f}" for title, value in values.items())
    return Finding(
        f"Table 3, {claim.row}: {text}. The number is the difference {' and '.join(equal) or 'of no two columns'}.",
        "holds" if named in equal else "fails",
    )


def averages(evidence: Evidence) -> Finding:
    """Are the printed averages those of the printed rows?"""
    table = evidence.table
    own = {name: [row.published[name] for row in table.rows.values()] for name in table.averages}
    off = {name: sum(values) / len(values) - table.averages[name] for name, values in own.items()}
    worst = max(off, key=lambda name: abs(off[name]))
    return Finding(
        f"{len(off)} averages of {len(table.rows)} rows; the largest difference is {off[worst]:+.3f} points "
        f"({table.models[worst].title}).",
        "holds" if abs(off[worst]) <= ROUNDING + 1e-9 else "fails",
    )


TEXT = ("multistep-over-sft", "causal-over-sft")
SCORES = {
    claim_id: Claim(
        source=f"Abstract: {quote}.",
        test="The published values of Table 3: InfiGFusion minus Phi-4-SFT, and minus the base Phi-4.",
        decides="Holds if the number is the difference that the text names, to the two printed decimals.",
        judge=partial(in_text, number=number),
    )
    for number, (claim_id, quote) in enumerate(
        zip(TEXT, ("+35.6 on Multistep Arithmetic over SFT", "+37.06 on Causal Judgement over SFT"), strict=True)
    )
}
SCORES |= {
    "table3-averages": Claim(
        source="Table 3, last row: the averages of 18 subtasks.",
        test="The mean of the published rows of each model.",
        decides="Holds if all equal the printed averages, to the two printed decimals.",
        judge=averages,
    ),
}
