"""Agreement of graders, against values computed by hand and by another library."""

from __future__ import annotations

import random

import pytest
from statsmodels.stats.inter_rater import cohens_kappa, to_table

from gldbench.compare.disagree import Verdict, compare_graders, kinds_of


def verdict(value: float | None, found: str = "", status: str = "ok") -> Verdict:
    return Verdict(value=value, status=status, how="", found=found, reason="")


def responses(*pairs: tuple[float | None, float | None]) -> dict[str, dict[str, Verdict]]:
    return {str(n): {"x": verdict(a), "y": verdict(b)} for n, (a, b) in enumerate(pairs)}


def test_counts_agreement_and_kappa_by_hand() -> None:
    (pair,) = compare_graders("t", responses((1, 1), (1, 1), (1, 0), (0, 0), (0, 1), (1, 0), (1, 0), (0, 0)))
    assert (pair.a, pair.b, pair.n, pair.a_only, pair.b_only, pair.lenient) == ("x", "y", 8, 3, 1, "x")
    assert pair.agreement == 0.5
    assert pair.kappa == pytest.approx((0.5 - (5 * 3 + 3 * 5) / 64) / (1 - (5 * 3 + 3 * 5) / 64))


def test_kappa_is_that_of_statsmodels() -> None:
    chance = random.Random(0)
    for _ in range(20):
        pairs = [(chance.randint(0, 1), chance.randint(0, 1)) for _ in range(30)]
        (pair,) = compare_graders("t", responses(*pairs))
        expected = cohens_kappa(to_table(pairs, bins=2)[0], return_results=False)
        assert pair.kappa == pytest.approx(expected)


def test_kappa_is_undefined_where_both_always_say_the_same() -> None:
    (pair,) = compare_graders("t", responses((1, 1), (1, 1)))
    assert (pair.agreement, pair.kappa, pair.lenient) == (1.0, None, "")
    (constant,) = compare_graders("t", responses((1, 1), (1, 0)))
    assert constant.kappa == 0.0


def test_a_response_without_a_grade_is_not_counted_as_wrong() -> None:
    (pair,) = compare_graders("t", responses((1, None), (1, 1), (0, 0)))
    assert (pair.n, pair.ungraded, pair.agreement) == (2, 1, 1.0)
    (none,) = compare_graders("t", responses((1, None)))
    assert (none.n, none.agreement, none.kappa) == (0, None, None)
    assert kinds_of({"x": verdict(1), "y": verdict(None, status="error")}) == []


def test_part_of_a_score_is_not_right() -> None:
    (pair,) = compare_graders("t", responses((0.5, 1), (1, 1)))
    assert (pair.a_only, pair.b_only) == (0, 1)


def test_three_graders_make_three_pairs() -> None:
    own = {"r": {"x": verdict(1), "y": verdict(0), "z": verdict(1)}}
    assert [(pair.a, pair.b) for pair in compare_graders("t", own)] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert [(kind.right, kind.wrong) for kind in kinds_of(own["r"])] == [("x", "y"), ("z", "y")]


@pytest.mark.parametrize(
    ("right", "wrong", "text"),
    [
        (verdict(1, "A"), verdict(0, "B"), "another answer found"),
        (verdict(1, "$0.5$"), verdict(0, "0.5 "), "same answer, judged wrong"),
        (verdict(1, "A"), verdict(0, "", "no_answer"), "no answer found"),
        (verdict(1, "A"), verdict(0, "", "timeout"), "the check ended with timeout"),
        (verdict(1, "A"), verdict(0.5, "B"), "part of the score only"),
        (verdict(1, "A"), verdict(0, ""), "judged wrong"),
    ],
)
def test_kinds_of_differences(right: Verdict, wrong: Verdict, text: str) -> None:
    assert [kind.text for kind in kinds_of({"x": right, "y": wrong})] == [text]
