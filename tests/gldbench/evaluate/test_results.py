"""Results of an evaluation, computed from rows: graded scores, several metrics, clusters, averages."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from gldbench.commands.eval import HEADER, table
from gldbench.evaluate.results import Evaluation, as_json, averages, graders_json
from gldbench.evaluate.samples import sample_json
from gldbench.evaluate.task_score import TaskScore, quoted
from gldbench.grade import GRADERS
from gldbench.schema import Headline, Row, Task
from gldbench.stats import wilson
from gldbench.stats.averages import averaged, subtask_mean
from gldbench.tasks import load_task
from gldfusion.errors import InputError


def rows_of(
    task: Task,
    values: Sequence[float | None],
    clusters: Sequence[str] = (),
    metric: str = "",
    grader: str = "",
    filter_: str = "",
) -> list[Row]:
    headline = task.headline
    return [
        Row(
            run_id="out",
            env_id="here",
            suite="eval",
            task=task.name,
            task_version=task.version,
            variant="default",
            subject="m@1",
            method="checkpoint",
            world_seed=0,
            seed=0,
            item=str(i),
            cluster=clusters[i] if clusters else str(i),
            grader=grader or headline.grader,
            filter=filter_ or headline.filter,
            metric=metric or headline.metric,
            value=value,
            unit="fraction",
            status="error" if value is None else "ok" if value else "no_answer",
            reason="the harness failed" if value is None else "",
        )
        for i, value in enumerate(values)
    ]


def score_of(task: Task, rows: list[Row]) -> TaskScore:
    return TaskScore(
        subject="m@1",
        checkpoint="m",
        task=task,
        n=len({r.item for r in rows}),
        n_task=99,
        rows=rows,
        truncated_prompts=0,
        truncated_outputs=0,
        max_tokens=task.generation.max_tokens,
    )


def graded_task(headline: Headline | None = None) -> Task:
    headline = headline or Headline("ours", "answer", "f1")
    return dataclasses.replace(load_task("gsm8k"), name="drop", headline=headline)


def test_graded_scores_and_a_second_metric_under_the_same_filter() -> None:
    task, passages = graded_task(), ["p", "p", "q", "q", "r", "r"]
    f1 = [1.0, 0.5, 0.25, 0.0, 0.4, 0.6]
    rows = rows_of(task, f1, passages) + rows_of(task, [1.0, 0, 0, 0, 0, 0], passages, metric="em")
    score = score_of(task, rows)
    assert score.score is not None
    assert score.mean is not None
    assert score.score.value == pytest.approx(sum(f1) / 6)
    assert score.score.n == 6
    assert score.score.method == "cluster bootstrap over 3 clusters of 6 items, t-stretched"
    assert score.mean.n_units == 3
    grader = graders_json(rows, task)["ours"]
    assert (grader["metric"], grader["score"], grader["no_answer"]) == ("f1", score.score.value, 1)
    assert grader["filters"] == {"answer": {"f1": score.score.value, "em": pytest.approx(1 / 6)}}


def test_the_bracket_ends_at_any_rule_and_not_at_fewer_tests() -> None:
    """A program that passes the benchmark's own tests only (the planted bug counted it) is found by no other rule."""
    task = load_task("humaneval_plus")
    headline = rows_of(task, [1.0, 0.0, 0.0])
    own = rows_of(task, [1.0, 1.0, 0.0], filter_="base")
    theirs = rows_of(task, [1.0, 0.0, 1.0], grader="evalplus")
    assert score_of(task, headline + own).bracket == pytest.approx((1 / 3, 1 / 3))
    assert score_of(task, headline + own + theirs).bracket == pytest.approx((1 / 3, 2 / 3))


def test_binary_scores_of_independent_items_have_wilsons_interval() -> None:
    task = load_task("gsm8k")
    assert score_of(task, rows_of(task, [1, 1, 0, 1, 0])).score == wilson(3, 5)


def test_a_benchmark_with_subtasks_says_both_means() -> None:
    task = load_task("bbh")
    clusters = ["navigate"] * 8 + ["snarks"] * 2
    rows = rows_of(task, [1] * 6 + [0, 0] + [0, 0], clusters)
    score = score_of(task, rows)
    assert score.score is not None
    assert score.score.value == 0.6
    assert "2 clusters" in score.score.method
    assert score.by_subtask is not None
    assert score.by_subtask.value == pytest.approx((6 / 8 + 0) / 2)
    lone = score_of(load_task("bbh/navigate"), rows_of(load_task("bbh/navigate"), [1, 0, 1], ["navigate"] * 3))
    assert lone.by_subtask is None
    assert lone.score == wilson(2, 3)


def test_the_number_beside_the_headline_has_its_graders_own_names() -> None:
    task = load_task("ifeval")
    filter_name, metric = GRADERS["lm_eval"].headline(task)
    rows = rows_of(task, [1, 0]) + rows_of(task, [1, 0.5], metric="instruction_level")
    rows += rows_of(task, [1, 1], grader="lm_eval", filter_=filter_name, metric=metric)
    rows += rows_of(task, [0, 0], grader="lm_eval", filter_=filter_name, metric="something else")
    found = graders_json(rows, task)
    assert {name: own["score"] for name, own in found.items()} == {"ours": 0.5, "lm_eval": 1.0}
    assert (found["lm_eval"]["filter"], found["lm_eval"]["metric"]) == (filter_name, metric)
    assert found["ours"]["filters"]["strict"] == {"prompt_level": 0.5, "instruction_level": 0.75}
    with pytest.raises(ValueError, match="no rows under its headline"):
        quoted(rows[2:], "ours", task)


@pytest.mark.parametrize("grader", ["ours", "opencompass"])
def test_no_mean_counts_a_response_that_the_grader_of_the_headline_could_not_grade(grader: str) -> None:
    """Planted bug: `_values` counted it as 0, while the mean beside the headline left it out."""
    filter_name, metric = GRADERS[grader].headline(load_task("gsm8k"))
    task = dataclasses.replace(load_task("gsm8k"), headline=Headline(grader, filter_name, metric))
    score = score_of(task, rows_of(task, [1, None, 1, 0, None]))
    assert score.score == wilson(2, 3)
    assert (score.ungraded, score.failed, score.bracket) == (2, 2, pytest.approx((2 / 3, 2 / 3)))
    (found,) = as_json(evaluation_of(score))["scores"]
    assert (found["headline"]["score"], found["headline"]["ungraded"]) == (pytest.approx(2 / 3), 2)
    assert found["headline"]["score"] == found["graders"][grader]["score"]
    assert found["graders"][grader]["ungraded"] == 2
    assert found["notes"] == [
        f"gsm8k: the grader {grader} gives 2 of 5 items no grade, which its score leaves out; "
        "the first says: the harness failed"
    ]
    line = dict(zip(HEADER, table(evaluation_of(score))[1], strict=True))
    assert (line["score"], line["no grade"]) == ("0.667", "2")


def test_a_task_without_any_grade_has_no_score_and_enters_no_average() -> None:
    gsm8k, bbh = load_task("gsm8k"), load_task("bbh")
    score = score_of(gsm8k, rows_of(gsm8k, [None, None]))
    assert (score.score, score.mean, score.bracket, score.ungraded) == (None, None, None, 2)
    evaluation = evaluation_of(score, score_of(bbh, rows_of(bbh, [1, 0], ["navigate", "snarks"])))
    head = as_json(evaluation)["scores"][0]["headline"]
    assert {name: head[name] for name in ("score", "low", "high", "se", "strict", "ungraded")} == {
        **dict.fromkeys(("score", "low", "high", "se", "strict")), "ungraded": 2,
    }  # fmt: skip
    assert averages(evaluation) == []
    line = dict(zip(HEADER, table(evaluation)[1], strict=True))
    assert (line["score"], line["95 % interval"], line["no grade"]) == ("no grade", "", "2")


def test_a_mean_over_subtasks_needs_a_grade_in_each_of_them() -> None:
    bbh = load_task("bbh")
    clusters = ["navigate"] * 3 + ["snarks"] * 2
    one_left = score_of(bbh, rows_of(bbh, [1, 0, 1, 1, None], clusters)).by_subtask
    assert one_left is not None
    assert one_left.value == pytest.approx((2 / 3 + 1) / 2)
    assert score_of(bbh, rows_of(bbh, [1, 0, 1, None, None], clusters)).by_subtask is None


def test_a_sample_without_a_grade_is_no_try() -> None:
    task = load_task("gsm8k")
    samples = [score_of(task, rows_of(task, values)) for values in ([1, None], [None, None], [0, None])]
    found = sample_json(task, samples)
    assert (found["fewest"], found["most"]) == (3, 3)
    assert {k: own["score"] for k, own in found["pass_at"].items()} == {"1": 0.5, "2": 1.0}


def evaluation_of(*scores: TaskScore) -> Evaluation:
    return Evaluation(list(scores), 0, 0, 0, 0.0)


def test_averages_count_a_task_once_and_a_benchmark_by_its_subtasks() -> None:
    gsm8k, bbh, navigate = load_task("gsm8k"), load_task("bbh"), load_task("bbh/navigate")
    likelihood = dataclasses.replace(gsm8k, name="arc_c_ll", kind="loglikelihood")
    evaluation = evaluation_of(
        score_of(gsm8k, rows_of(gsm8k, [1, 1, 1, 1])),
        score_of(bbh, rows_of(bbh, [1, 1, 1, 0], ["navigate"] * 3 + ["snarks"])),
        score_of(navigate, rows_of(navigate, [1, 1, 1], ["navigate"] * 3)),
        score_of(likelihood, rows_of(likelihood, [0, 0])),
    )
    (average,) = averages(evaluation)
    assert average.tasks == ("gsm8k", "bbh")
    assert average.score.value == pytest.approx((1 + 0.5) / 2)
    assert as_json(evaluation)["averages"][0]["score"] == average.score.value
    names = [line[1] for line in table(evaluation)]
    assert names == ["task", "gsm8k", "bbh", "bbh, mean of 2 subtasks", "bbh/navigate", "arc_c_ll", "mean of 2 tasks"]
    assert {len(line) for line in table(evaluation)} == {len(HEADER)}
    assert [t.name for t in averaged([likelihood])] == ["arc_c_ll"]
    assert averages(evaluation_of(evaluation.scores[0])) == []


def test_a_headline_that_no_row_has_is_named() -> None:
    task = graded_task()
    with pytest.raises(InputError, match="gave no f1 under the filter answer"):
        _ = score_of(task, rows_of(task, [1.0], metric="em")).score


def coverage_of_subtask_mean(n_items: int, differences: bool, worlds: int = 150) -> float:
    """How often the interval holds the true mean of 27 subtasks whose own scores lie between 0.02 and 0.98."""
    rng, hits, p = np.random.default_rng(n_items), 0, np.linspace(0.02, 0.98, 27)
    clusters, bounds = (
        list(np.repeat([f"s{i}" for i in range(27)], n_items)),
        (-1.0, 1.0) if differences else (0.0, 1.0),
    )
    for _ in range(worlds):
        values = (rng.random((27, n_items)) < p[:, None]).ravel().astype(float)
        if differences:  # of two checkpoints with the same true scores
            values -= (rng.random((27, n_items)) < p[:, None]).ravel()
        estimate = subtask_mean(values, clusters, bounds)
        hits += estimate.low <= (0.0 if differences else 0.5) <= estimate.high
    return hits / worlds


@pytest.mark.parametrize(("n_items", "differences"), [(1, False), (1, True), (4, False), (10, False), (25, False)])
def test_coverage_of_the_mean_over_subtasks(n_items: int, differences: bool) -> None:
    assert coverage_of_subtask_mean(n_items, differences) >= 0.91


def test_coverage_of_a_difference_of_means_over_subtasks() -> None:
    assert coverage_of_subtask_mean(10, differences=True, worlds=60) >= 0.88
