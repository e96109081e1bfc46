"""Each claim has its verdict from rows, and other rows give another verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gldbench.benches import graph_facts
from gldbench.claims import CLAIMS, Evidence, judged, read_evidence
from gldbench.claims.evidence import REPORTS
from gldbench.claims.page import page, summary
from gldbench.cli import app
from gldfusion.errors import InputError

KEYS = {"id", "source", "test", "measured", "verdict", "decides"}
NOTHING = Path("no reports here")


@pytest.fixture
def empty() -> Evidence:
    return read_evidence(reports=NOTHING)


def verdict(evidence: Evidence, name: str) -> str:
    return judged(evidence, [name])[0]["verdict"]


def timed(exponents: dict[tuple[str, str], float], sizes: tuple[int, ...] = (512, 1024, 2048, 4096)) -> pd.DataFrame:
    """Results whose time grows with the given exponent for each (family, solver)."""
    lines = [
        {"family": family, "item": f"{n}x{n}", "instance": 0, "device": "cpu", "solver": solver, "kind": "paper"}
        | {"seconds": 1e-9 * n**exponent, "value": 1.0, "n": n, "m": n}
        for (family, solver), exponent in exponents.items()
        for n in sizes
    ]
    return pd.DataFrame(lines)


def problem(family: str, n: int, low: float, high: float, value: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One problem whose GW_2^2 and GW_1^2 lie between `low` and `high`, and on which gGW is `value`."""
    key = {"family": family, "item": f"{n}x{n}", "instance": 0, "device": "cpu", "n": n, "m": n}
    facts = {"divisor": 1.0, "largest": 1.0, "lower": low, "upper": high, "gw1_lower": low**0.5, "gw1_upper": high**0.5}
    solved = key | {"solver": "ggw", "kind": "paper", "seconds": 1e-4, "value": value}
    return pd.DataFrame([solved]), pd.DataFrame([key | facts])


def test_every_claim_is_told_in_full(empty: Evidence) -> None:
    for claim in judged(empty):
        assert set(claim) == KEYS
        assert all(claim.values())
        assert claim["verdict"] in ("holds", "fails", "vacuous", "undecided")


def test_without_rows_only_the_published_table_decides(empty: Evidence) -> None:
    decided = {claim["id"] for claim in judged(empty) if claim["verdict"] != "undecided"}
    assert decided == {"multistep-over-sft", "causal-over-sft", "table3-averages"}


def test_the_numbers_of_the_abstract_are_differences_to_the_base(empty: Evidence) -> None:
    multistep, causal = judged(empty, ["multistep-over-sft", "causal-over-sft"])
    assert multistep["verdict"] == causal["verdict"] == "fails"
    assert "+37.60" in multistep["measured"]
    assert "over the base" in multistep["measured"].rpartition("The number")[2]
    assert "+34.22" in causal["measured"]


def test_a_changed_table_changes_the_verdict(empty: Evidence) -> None:
    table = empty.table
    row = table.rows["Multistep Arithmetic"]
    published = row.published | {"phi4_sft_14b": row.published["infigfusion_14b"] - 35.6}
    rows = table.rows | {"Multistep Arithmetic": row.model_copy(update={"published": published})}
    other = replace(empty, table=table.model_copy(update={"rows": rows}))
    assert verdict(other, "multistep-over-sft") == "holds"
    assert verdict(other, "table3-averages") == "fails"


@pytest.mark.parametrize(("exponent", "expected"), [(1.05, "holds"), (2.0, "fails")])
@pytest.mark.parametrize(
    ("claim", "family"), [("cost-sorting", "sparse-vocabulary"), ("cost-with-features", "synthetic-rank-raw")]
)
def test_the_exponent_of_the_time_decides(
    empty: Evidence, claim: str, family: str, exponent: float, expected: str
) -> None:
    solved = timed({(family, "ggw"): exponent}, sizes=(1024, 2048, 4096, 8192))
    assert verdict(replace(empty, solved=solved), claim) == expected


@pytest.mark.parametrize(("exponent", "expected"), [(2.0, "fails"), (4.0, "holds")])
def test_the_fastest_exact_evaluation_decides(empty: Evidence, exponent: float, expected: str) -> None:
    solved = timed({("synthetic-rank-raw", "naive"): 4.0, ("synthetic-rank-raw", "factored"): exponent})
    assert verdict(replace(empty, solved=solved), "cost-exact") == expected


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [
        (0.5, 0.5, 0.0, "fails"),  # an error of .5 against a bound of 2 * 15/256 = .117
        (0.04, 0.04, 0.2, "holds"),  # GW_2^2 below the bound, but GW_1 = GW_2 = .2 above it and equal to gGW
        (1e-6, 1e-6, 0.0, "vacuous"),
        (1e-6, 0.9, 0.0, "undecided"),
    ],
)
def test_certified_intervals_decide_the_bound(
    empty: Evidence, low: float, high: float, value: float, expected: str
) -> None:
    solved, problems = problem("half-step", 16, low, high, value)
    assert verdict(replace(empty, solved=solved, problems=problems), "bound-gw1-mean") == expected


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [(1.0, 1.0, 0.5, "fails"), (1.0, 1.01, 1.0, "holds"), (0.1, 1.0, 0.5, "undecided")],
)
def test_the_share_of_gw_decides(empty: Evidence, low: float, high: float, value: float, expected: str) -> None:
    solved, problems = problem("synthetic-rank-raw", 16, low, high, value)
    assert verdict(replace(empty, solved=solved, problems=problems), "captures-gw") == expected


@pytest.fixture(scope="module")
def facts() -> pd.DataFrame:
    return pd.DataFrame([vars(row) for row in graph_facts.measure(draws=2, positions=4, vocabulary=60, k=5)])


def test_the_facts_about_graphs_decide(empty: Evidence, facts: pd.DataFrame) -> None:
    measured = replace(empty, facts=facts)
    assert verdict(measured, "gauge") == "fails"
    assert verdict(measured, "softmax-carries-graph") == "fails"
    assert verdict(measured, "sorting-matters") == "vacuous"
    assert verdict(measured, "graph-knows-tokens") == "fails"
    assert verdict(measured, "lipschitz-order") == "fails"


def test_other_facts_give_other_verdicts(empty: Evidence, facts: pd.DataFrame) -> None:
    def changed(task: str, value: float | np.ndarray) -> Evidence:
        other = facts.copy()
        other.loc[other["task"] == task, "value"] = value
        return replace(empty, facts=other)

    assert verdict(changed("gauge", 0.0), "gauge") == "holds"
    assert verdict(changed("collapse", 0.5), "softmax-carries-graph") == "holds"
    assert verdict(changed("order", 0.5), "sorting-matters") == "holds"
    assert verdict(changed("names", 0.5), "graph-knows-tokens") == "holds"
    gradients = facts[facts["task"] == "gradient"]["subject"].map({"gld": 1.0, "uld": 2.0, "kl": 3.0}).to_numpy()
    assert verdict(changed("gradient", gradients), "lipschitz-order") == "holds"


def test_gradients_along_training_can_refute_the_order(empty: Evidence, facts: pd.DataFrame, tmp_path: Path) -> None:
    values = {"gld": 1.0, "uld": 2.0, "kl": 3.0}
    ordered = facts["subject"].map(values).where(facts["task"] == "gradient", facts["value"])
    along = pd.DataFrame(
        {"task": "gradient", "method": "sft", "item": 3, "variant": "a noise=0", "subject": loss, "metric": "largest"}
        | {"value": value}
        for loss, value in values.items()
    )
    measured = replace(empty, facts=facts.assign(value=ordered), along=along)
    assert verdict(measured, "lipschitz-order") == "holds"
    along.loc[along["subject"] == "gld", "value"] = 2.5
    along.to_csv(tmp_path / "along_training.csv", index=False)
    other = replace(measured, along=read_evidence([tmp_path]).along)
    assert verdict(other, "lipschitz-order") == "fails"
    assert "holds in 0 of 1 settings of method" in judged(other, ["lipschitz-order"])[0]["measured"]


def test_the_committed_rows_decide_every_claim_about_graphs() -> None:
    undecided = {claim["id"] for claim in judged(read_evidence()) if claim["verdict"] == "undecided"}
    assert not undecided & {name for name in CLAIMS if not name.startswith("fusion-")}


def compared(
    passes: bool = True, tuned: bool = True, primary: bool = True, **intervals: tuple[float, float]
) -> dict[str, Any]:
    """The numbers of a comparison: "candidate__baseline" -> ends of the interval of the difference."""
    differences = []
    for pair, (low, high) in intervals.items():
        candidate, baseline = (METHODS[name] for name in pair.split("__"))
        estimate = {"value": (low + high) / 2, "low": low, "high": high, "n": 100, "method": "made up"}
        one = {"candidate": candidate, "baseline": baseline, "difference": estimate, "p": None, "correction": None}
        differences.append(one | {"n_seeds": 8})
    run = {"run_id": "made-up", "gate": {"passes": passes}, "tuned": tuned, "differences": differences}
    return run | {"primary": differences if primary else []}


METHODS = {
    "sft": "sft",
    "uld": "sft+uld",
    "gld": "sft+uld+gld",
    "constant": "sft+uld+gld-constant",
    "ten": "sft+uld+gld-ten",
    "ten_constant": "sft+uld+gld-ten-constant",
    "topk": "sft+uld+topk",
    "kl": "sft+kl",
    "blind_uld": "sft+uld-blind",
    "blind_gld": "sft+gld-blind",
}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [((0.01, 0.09), "holds"), ((-0.09, -0.01), "fails"), ((-0.01, 0.01), "fails"), ((-0.05, 0.05), "undecided")],
)
@pytest.mark.parametrize(
    ("claim", "pair"),
    [("fusion-graph-improves", "gld__uld"), ("fusion-beats-sft", "gld__sft")],
)
def test_the_interval_of_a_difference_decides(
    empty: Evidence, claim: str, pair: str, ends: tuple[float, float], expected: str
) -> None:
    assert verdict(replace(empty, comparisons=(compared(**{pair: ends}),)), claim) == expected


def test_a_term_with_the_weight_zero_improves_nothing_and_the_text_says_why(empty: Evidence) -> None:
    run = compared(gld__uld=(0.0, 0.0)) | {"tuned_weights": {"sft+uld+gld": 0.0}}
    found = replace(empty, comparisons=(run,))
    assert verdict(found, "fusion-graph-improves") == "fails"
    finding = CLAIMS["fusion-graph-improves"].judge(found)
    assert "gives the same answers as sft+uld: the tuning chose the weight 0" in finding.measured


def test_a_comparison_that_is_not_primary_does_not_decide_whether_a_method_improves(empty: Evidence) -> None:
    found = replace(empty, comparisons=(compared(primary=False, gld__uld=(0.01, 0.09)),))
    assert verdict(found, "fusion-graph-improves") == "undecided"


@pytest.mark.parametrize("claim", ["fusion-graph-improves", "fusion-stability"])
def test_a_method_whose_weight_the_spec_gives_decides_nothing_about_the_tuned_one(empty: Evidence, claim: str) -> None:
    scores = [{"method": m, "seed_spread": s, "seeds": [0] * 32} for m, s in (("sft", 0.02), ("sft+uld+gld", 0.01))]
    run = compared(gld__uld=(0.01, 0.09)) | {"methods": scores, "worlds": [1, 2, 3, 4]}
    assert verdict(replace(empty, comparisons=(run,)), claim) == "holds"
    fixed = run | {"fixed_weights": ["sft+uld+gld"]}
    assert verdict(replace(empty, comparisons=(fixed,)), claim) == "undecided"


NONE, HARM = (-0.01, 0.01), (-0.09, -0.03)


@pytest.mark.parametrize(
    ("term", "constant", "ten", "ten_constant", "expected"),
    [
        (HARM, NONE, HARM, (0.01, 0.04), "fails"),
        (NONE, NONE, HARM, (0.01, 0.04), "holds"),
        (NONE, NONE, HARM, (-0.02, 0.04), "undecided"),
        (NONE, (0.01, 0.04), NONE, NONE, "vacuous"),
        (NONE, NONE, (-0.3, 0.2), NONE, "undecided"),
    ],
)
def test_edges_are_judged_at_the_smallest_weight_at_which_the_term_does_anything(
    empty: Evidence,
    term: tuple[float, float],
    constant: tuple[float, float],
    ten: tuple[float, float],
    ten_constant: tuple[float, float],
    expected: str,
) -> None:
    run = compared(primary=False, gld__uld=term, gld__constant=constant, ten__uld=ten, ten__ten_constant=ten_constant)
    assert verdict(replace(empty, comparisons=(run,)), "fusion-edges-matter") == expected


@pytest.mark.parametrize(
    ("graph", "top_k", "expected"),
    [
        ((0.03, 0.05), (-0.01, 0.02), "holds"),
        ((0.01, 0.05), (-0.01, 0.02), "undecided"),
        ((0.03, 0.05), (0.06, 0.08), "fails"),
        ((-0.03, 0.01), (-0.05, -0.04), "fails"),
    ],
)
def test_the_graph_is_compared_with_the_same_logits_without_a_graph(
    empty: Evidence, graph: tuple[float, float], top_k: tuple[float, float], expected: str
) -> None:
    run = compared(primary=False, gld__uld=graph, topk__uld=top_k)
    assert verdict(replace(empty, comparisons=(run,)), "fusion-graph-over-top-k") == expected


@pytest.mark.parametrize(("spread", "expected"), [(0.01, "holds"), (0.02, "undecided"), (0.05, "fails")])
def test_the_spread_between_seeds_decides_whether_a_method_is_stable(
    empty: Evidence, spread: float, expected: str
) -> None:
    scores = [{"method": m, "seed_spread": s, "seeds": [0] * 32} for m, s in (("sft", 0.02), ("sft+uld+gld", spread))]
    run = compared(gld__uld=NONE) | {"methods": scores, "worlds": [1, 2, 3, 4]}
    found = replace(empty, comparisons=(run,))
    assert verdict(found, "fusion-stability") == expected
    assert f"{spread / 0.02:.2f} times" in CLAIMS["fusion-stability"].judge(found).measured


def test_the_methods_of_one_claim_are_read_from_one_run(empty: Evidence) -> None:
    one, other = compared(kl__sft=(0.1, 0.3)), compared(blind_uld__sft=NONE, blind_gld__sft=NONE)
    assert verdict(replace(empty, comparisons=(one, other)), "fusion-without-names") == "undecided"
    whole = compared(primary=False, kl__sft=(0.1, 0.3), blind_uld__sft=NONE, blind_gld__sft=NONE)
    assert verdict(replace(empty, comparisons=(one, other, whole)), "fusion-without-names") == "fails"


def test_a_run_whose_gate_fails_decides_nothing(empty: Evidence) -> None:
    failed = compared(passes=False, gld__uld=(0.05, 0.09))
    assert verdict(replace(empty, comparisons=(failed,)), "fusion-graph-improves") == "undecided"


def test_a_run_whose_weights_were_not_tuned_decides_nothing(empty: Evidence) -> None:
    untuned = compared(tuned=False, gld__uld=(0.05, 0.09))
    assert verdict(replace(empty, comparisons=(untuned,)), "fusion-graph-improves") == "undecided"


@pytest.mark.parametrize(
    ("kl", "uld", "gld", "expected"),
    [
        ((0.1, 0.3), (-0.05, 0.05), (-0.1, 0.02), "fails"),
        ((0.1, 0.3), (0.05, 0.1), (-0.1, 0.02), "holds"),
        ((0.1, 0.3), (-0.05, 0.15), (-0.1, 0.02), "undecided"),
        ((-0.1, 0.3), (-0.05, 0.05), (-0.1, 0.02), "undecided"),
    ],
)
def test_what_a_loss_without_names_carries_over_decides(
    empty: Evidence, kl: tuple[float, float], uld: tuple[float, float], gld: tuple[float, float], expected: str
) -> None:
    run = compared(kl__sft=kl, blind_uld__sft=uld, blind_gld__sft=gld)
    assert verdict(replace(empty, comparisons=(run,)), "fusion-without-names") == expected


def test_the_numbers_of_a_committed_report_are_read(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text(json.dumps(compared(gld__uld=(0.01, 0.09))))
    assert verdict(read_evidence([tmp_path]), "fusion-graph-improves") == "holds"
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(InputError, match="is no summary of a comparison"):
        read_evidence([tmp_path])


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no rows that a claim is judged by"):
        read_evidence([tmp_path])


def test_rows_of_a_folder_replace_the_committed_ones(tmp_path: Path, facts: pd.DataFrame) -> None:
    changed = facts.assign(value=0.0)
    changed.to_csv(tmp_path / "graph_facts.csv", index=False)
    assert verdict(read_evidence([tmp_path]), "gauge") == "holds"


def test_the_page_holds_every_claim_and_loads_nothing(empty: Evidence) -> None:
    found = judged(empty)
    text = page(found, ["a place <here>"])
    assert all(f'id="{claim["id"]}"' in text for claim in found)
    assert "a place &lt;here&gt;" in text
    assert not any(part in text for part in ("http://", "https://", "<script"))


def test_the_summary_counts_the_verdicts() -> None:
    assert summary([{"verdict": "fails"}, {"verdict": "fails"}, {"verdict": "vacuous"}, {"verdict": "holds"}]) == (
        "Of 4 claims 2 fail, 1 is vacuous, 1 holds."
    )


def test_the_committed_verdicts_are_those_of_the_committed_rows() -> None:
    """Mend it by `gldbench claims --html reports/claims/claims.html --json > reports/claims/claims.json`."""
    evidence = read_evidence()
    found = judged(evidence, [])
    folder = REPORTS / "claims"
    assert json.loads((folder / "claims.json").read_text())["claims"] == found
    assert (folder / "claims.html").read_text() == page(found, evidence.found)


def test_the_command_prints_the_six_keys_and_writes_the_page(tmp_path: Path) -> None:
    target = tmp_path / "claims.html"
    given = ["claims", "--json", "--only", "multistep-over-sft,gauge", "--html", str(target)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)["claims"]
    assert [set(claim) for claim in printed] == [KEYS, KEYS]
    assert "multistep-over-sft" in target.read_text()
