"""The grader "opencompass" with the real OpenCompass. `make test-opencompass` sets it up and runs these tests."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gldbench import overlay
from gldbench.evaluate.evaluate import evaluate
from gldbench.evaluate.results import as_json
from gldbench.evaluate.score import score
from gldbench.grade import GRADERS, Grade
from gldbench.grade.opencompass import worker
from gldbench.grade.opencompass.catalogue import CONFIGURATIONS
from gldbench.grade.rows import bare_response
from gldbench.schema import Item
from gldbench.tasks import PAPER11, load_items, load_task, take
from tests.gldbench.grade.opencompass.hostile import MARKER, hostile_outputs

pytestmark = [pytest.mark.opencompass, pytest.mark.timeout(900)]
OPENCOMPASS = GRADERS["opencompass"]


@pytest.fixture(autouse=True, scope="module")
def _set_up() -> None:
    if reason := OPENCOMPASS.missing():
        pytest.fail(reason)


def some(name: str, data: Path, count: int) -> list[Item]:
    return take(load_items(load_task(name), data), count)


def graded(name: str, items: Sequence[Item], outputs: Sequence[str]) -> list[Grade]:
    """The grades under the grader's headline, one for each output. Equal items become items of their own."""
    task = load_task(name)
    own = [dataclasses.replace(item, item_id=f"{item.item_id}~{n}") for n, item in enumerate(items)]
    responses = [bare_response(item, output) for item, output in zip(own, outputs, strict=True)]
    grades = OPENCOMPASS.grade(task, own, responses)
    found = [grade for grade in grades if (grade.filter, grade.metric) == OPENCOMPASS.headline(task)]
    assert [grade.item_id for grade in found] == [item.item_id for item in own]
    return found


def right_answer(name: str, item: Item) -> str:
    """The gold answer in the form that OpenCompass's prompt asks for."""
    if name in ("gsm8k", "math", "math500"):
        return f"So \\boxed{{{item.target}}}"
    if name in ("mbpp", "mbpp_plus"):
        return f"```python\n{item.target}\n```"
    if name.startswith("humaneval"):
        return f"```python\n{item.record['prompt']}{item.record['canonical_solution']}\n```"
    return f"Answer: {item.target}" if name == "drop" else f"The answer is {item.target}"


def test_paper11_on_a_checkpoint(chain, benchmark_data: Path, tmp_path: Path) -> None:
    """All eleven benchmarks on stored responses of a tiny checkpoint: every item has a row with the configuration."""
    path = chain({"\n": "t", "t": "h", "h": "e", "e": " ", " ": "a", "a": "n", "n": "s"}, context=8192)
    result = evaluate([path], ["paper11"], benchmark_data, 20, tmp_path / "out", graders=("ours", "opencompass"))
    assert len(result.scores) == 11
    for score_of in result.scores:
        filter_name, metric = OPENCOMPASS.headline(score_of.task)
        rows = score_of.under("opencompass", filter_name, metric)
        assert len(rows) == len({row.item for row in rows}) == 20, score_of.task.name
        assert {row.status for row in rows} <= {"ok", "no_answer", "truncated", "timeout", "skipped"}
        configuration = CONFIGURATIONS[score_of.task.benchmark].name
        version, name, digest = rows[0].grader_version.split()
        assert (version, name, len(digest)) == ("0.5.4", configuration, 12)
    assert {entry["task"] for entry in as_json(result)["scores"]} == set(PAPER11)


# what OpenCompass gives right answers, where it is less than 1, is a fault of its own
UNDER_ONE = {"theoremqa": 0.9, "mbpp": 0.95, "mbpp_plus": 0.95}


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name != "ifeval"])
def test_gold_answers_are_right_and_answers_of_others_are_wrong(name: str, benchmark_data: Path) -> None:
    items = some(name, benchmark_data, 20)
    right = graded(name, items, [right_answer(name, item) for item in items])
    kept = [grade for grade in right if grade.status != "skipped"]
    values = [grade.value for grade in kept if grade.value is not None]
    assert len(values) == len(kept)
    assert sum(values) / len(values) >= UNDER_ONE.get(name, 1.0)
    empty = graded(name, items, [""] * len(items))
    assert [grade.value for grade in empty if grade.status != "skipped"] == [0.0] * len(values)


@pytest.mark.parametrize("name", [*CONFIGURATIONS])
def test_an_item_has_the_same_grade_alone_and_among_others(name: str, benchmark_data: Path) -> None:
    """A subset of the items is graded on just these items, and a whole call's score is the mean of single calls."""
    items = some(name, benchmark_data, 4)
    outputs = [right_answer(name, items[0]), right_answer(name, items[0]), "The answer is B.\n\\boxed{7}", "no"]
    together = [(grade.value, grade.found) for grade in graded(name, items, outputs)]
    alone = [graded(name, [item], [output])[0] for item, output in zip(items, outputs, strict=True)]
    assert [(grade.value, grade.found) for grade in alone] == together


def test_the_instructions_of_ifeval_are_graded_one_by_one(benchmark_data: Path) -> None:
    items = some("ifeval", benchmark_data, 12)
    task = load_task("ifeval")
    outputs = ["I do not know\n\n***\n\n*a* *b* *c* <<T>>"] * len(items)
    grades = OPENCOMPASS.grade(task, items, [bare_response(i, o) for i, o in zip(items, outputs, strict=True)])
    for item in items:
        own = [grade for grade in grades if grade.item_id == item.item_id]
        strict = {grade.part: grade.value for grade in own if grade.metric == "Inst-level-strict-accuracy"}
        (whole,) = (grade.value for grade in own if grade.metric == "Prompt-level-strict-accuracy")
        assert list(strict) == [str(n) for n in range(len(item.record["instruction_id_list"]))]
        assert whole == float(all(strict.values()))


def test_the_evaluation_mode_of_opencompass_gives_the_same_score(benchmark_data: Path, tmp_path: Path) -> None:
    """OpenCompass's own command on its predictions/MODEL/DATASET.json, against our call of its evaluator."""
    rows = [json.loads(line) for line in (benchmark_data / "gsm8k" / "test.jsonl").read_text().splitlines()[:40]]
    forms = ("\\boxed{%s}", "The answer is %s.", "#### %s", "**%s**", "%s dollars", "Answer: %s", "It is 7%s")
    outputs = [forms[n % 7] % row["answer"].rpartition(" ")[2] for n, row in enumerate(rows)]
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    for split in ("train", "test"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "data" / "gsm8k" / f"{split}.jsonl").write_text(text)
    predictions = {str(n): {"origin_prompt": "", "prediction": output} for n, output in enumerate(outputs)}
    stored = tmp_path / "work" / "stamp" / "predictions" / "stored" / "gsm8k.json"
    stored.parent.mkdir(parents=True)
    stored.write_text(json.dumps(predictions))
    (tmp_path / "cfg.py").write_text(
        "from mmengine.config import read_base\n"
        "with read_base():\n"
        "    from opencompass.configs.datasets.gsm8k.gsm8k_0shot_v2_gen_a58960 import gsm8k_datasets\n"
        "datasets = gsm8k_datasets\n"
        "models = [dict(abbr='stored', type='opencompass.models.HuggingFaceBaseModel', path='', run_cfg=dict())]\n"
    )
    command = [str(overlay.python(overlay.default_place())), "-W", "ignore", "-m", "opencompass.cli.main", "cfg.py"]
    subprocess.run(
        [*command, "-m", "eval", "-r", "stamp", "-w", "work", "--debug"],
        cwd=tmp_path, env={**os.environ, "COMPASS_DATA_CACHE": str(tmp_path)}, capture_output=True, check=True,
    )  # fmt: skip
    theirs = json.loads((tmp_path / "work" / "stamp" / "results" / "stored" / "gsm8k.json").read_text())
    lines = "".join(json.dumps({"item_id": str(n), "output": output}) + "\n" for n, output in enumerate(outputs))
    (tmp_path / "responses.jsonl").write_text(lines)
    ours = score("gsm8k", tmp_path / "responses.jsonl", benchmark_data, ["opencompass"])["graders"]["opencompass"]
    assert 0 < theirs["accuracy"] < 100
    assert ours["score"] == pytest.approx(theirs["accuracy"] / 100)
    mine = graded("gsm8k", some("gsm8k", benchmark_data, 40), outputs)
    assert [bool(grade.value) for grade in mine] == [detail["correct"][0] for detail in theirs["details"]]


@pytest.mark.parametrize(
    ("name", "answer", "gold", "value"),
    [
        ("mmlu", "A man went home. (C)", "C", 0.0),  # reads A
        ("mmlu", "A man went home. (C)", "A", 1.0),
        ("bbh", "The correct Answer is C", "(T)", 1.0),  # reads the T of "The"
        ("bbh", "The correct Answer is C", "(C)", 0.0),
        ("drop", "Answer: 13", "3", 1.0),  # a part of the text is enough
        ("math", "\\boxed{0.5}", "\\frac{1}{2}", 0.0),
        ("math", "\\boxed{\\frac12}", "\\frac{1}{2}", 1.0),
        ("gsm8k", "\\boxed{18.0}", "18", 1.0),
    ],
)
def test_known_faults_are_shown_as_they_are(
    name: str, answer: str, gold: str, value: float, benchmark_data: Path
) -> None:
    item = some(name, benchmark_data, 1)[0]
    record = {**item.record, "ref_text": gold, "solution": f"\\boxed{{{gold}}}"}
    subtask = "geometric_shapes" if name == "bbh" else item.subtask
    (grade,) = graded(name, [dataclasses.replace(item, target=gold, record=record, subtask=subtask)], [answer])
    assert grade.value == value


def test_questions_without_four_options_are_skipped_and_counted(benchmark_data: Path) -> None:
    items = [item for item in load_items(load_task("arc_c"), benchmark_data) if len(item.choices) != 4]
    (grade, *_) = graded("arc_c", items, ["A"] * len(items))
    assert (grade.value, grade.status) == (None, "skipped")
    assert "four options" in grade.reason


def test_a_failure_inside_opencompass_costs_only_its_own_item(benchmark_data: Path) -> None:
    """A program that ends its process makes OpenCompass's MBPP evaluator raise IndexError for the whole benchmark."""
    items = some("mbpp", benchmark_data, 3)
    outputs = [right_answer("mbpp", item) for item in items]
    outputs[1] = "```python\nimport os\nos._exit(0)\n```"
    grades = graded("mbpp", items, outputs)
    assert [(grade.value, grade.status) for grade in grades] == [(1.0, "ok"), (None, "error"), (1.0, "ok")]
    assert "OpenCompass raised IndexError" in grades[1].reason


def test_a_grader_that_fails_on_everything_has_no_score(benchmark_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text(json.dumps({"item_id": "11", "output": "```python\nimport os\nos._exit(0)\n```"}) + "\n")
    result = score("mbpp", path, benchmark_data, ["opencompass"])
    assert result["graders"]["opencompass"]["score"] is None
    assert result["graders"]["opencompass"]["errors"] == 1
    assert result["graders"]["opencompass"]["ungraded"] == 1
    assert "gives 1 of 1 items no grade" in " ".join(result["notes"])


def test_the_process_that_is_killed_is_started_again(benchmark_data: Path) -> None:
    items = some("theoremqa", benchmark_data, 3)
    outputs = [right_answer("theoremqa", item) for item in items]
    outputs[1] = "The answer is __import__('os').kill(__import__('os').getppid(), 9)"
    grades = graded("theoremqa", items, outputs)
    assert [(grade.value, grade.status) for grade in grades] == [(1.0, "ok"), (None, "error"), (1.0, "ok")]


@pytest.mark.parametrize("name", PAPER11)
def test_hostile_answers_leave_the_host_as_it_was(name: str, benchmark_data: Path, tmp_path: Path) -> None:
    (item,) = some(name, benchmark_data, 1)
    file = tmp_path / "written"
    tmp_path.chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        outputs = list(hostile_outputs(item, file, server.getsockname()[1]))
        grades = graded(name, [item] * len(outputs), outputs)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not file.exists()
    assert all(grade.value is not None or grade.reason for grade in grades)
    processes = [Path("/proc", number) for number in os.listdir("/proc") if number.isdigit()]
    commands = [(place / "cmdline").read_bytes() for place in processes if (place / "cmdline").exists()]
    assert not [command for command in commands if MARKER.encode() in command and b"-c\0" not in command]


def test_the_process_sees_no_network_and_no_file_of_the_host(tmp_path: Path) -> None:
    """The view of the sandbox: nothing beside the environments and the system's libraries."""
    (tmp_path / "secret").write_text("secret")
    with worker._command(overlay.default_place()) as (command, _):
        assert str(tmp_path) not in " ".join(command)
        assert "--unshare-net" in command
