"""A small benchmark, and files about it that the real packages wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

ROWS = [
    {"q": "How many apples are\nleft of 5 after 2 are eaten?", "gold": "3", "note": "x"},
    {"q": "How many apples are left of 6 after 2 are eaten?", "gold": "4", "note": "x"},
    {"q": "left of 6 after 2 are eaten?", "gold": "5", "note": "x"},
    {"q": "What is x - 1 for x = 1?", "gold": "0", "note": "y"},
    {"q": "What is x + 1 for x = 1?", "gold": "2", "note": "y"},
]
Answer = Callable[[str, int], str]
"""(prompt, number of the repeat) -> output"""


def task_yaml(name: str, content: str, **changes: Any) -> dict[str, Any]:
    task = {
        "name": name,
        "version": 1,
        "title": name,
        "dataset": {
            "kind": "file",
            "file": f"{name}.jsonl",
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
            "count": content.count("\n"),
            "licence": "MIT",
            "target": "gold",
        },
        "prompt": "({note}) {q}\nAnswer with a number:",
        "scorer": "number",
        "generation": {"max_tokens": 40, "stop": []},
        "headline": {"grader": "ours", "filter": "answer", "metric": "exact_match"},
        "chance": 0.0,
        "citation": "nobody",
    }
    return task | changes


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tasks/toy and data/toy.jsonl. The ids of its items are row numbers."""
    content = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "tasks" / "toy").mkdir(parents=True)
    (tmp_path / "tasks" / "toy" / "task.yaml").write_text(yaml.safe_dump(task_yaml("toy", content)))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy.jsonl").write_text(content)
    monkeypatch.setattr("gldbench.tasks.load.tasks_root", lambda: tmp_path / "tasks")
    return tmp_path


class _Answering(LM):
    """A model of lm-eval that answers by a function."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.seen: dict[str, int] = {}

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        out = []
        for request in requests:
            prompt = request.args[0]
            self.seen[prompt] = self.seen.get(prompt, 0) + 1
            out.append(self.answer(prompt, self.seen[prompt] - 1))
        return out

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [(-float(len(request.args[1])), False) for request in requests]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        raise AssertionError


@pytest.fixture
def lm_eval_file(tmp_path: Path) -> Callable[..., Path]:
    """`lm_eval_file(rows, answer, **changes)`: runs lm-eval on rows in reverse order, and returns its samples file."""

    def make(rows: Sequence[dict[str, Any]], answer: Answer = lambda prompt, number: "", **changes: Any) -> Path:
        folder = tmp_path / "upstream"
        folder.mkdir()
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
        config = {
            "task": "upstream",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "Question: {{q}}\nAnswer:",
            "doc_to_target": "{{gold}}",
            "generation_kwargs": {"until": ["\n\n"]},
            "filter_list": [
                {
                    "name": name,
                    "filter": [{"function": "regex", "regex_pattern": "([0-9]+)"}, {"function": "take_first"}],
                }
                for name in ("first", "again")
            ],
            "metric_list": [{"metric": "exact_match"}],
        }
        changed = {key: value for key, value in (config | changes).items() if value is not None}
        (folder / "upstream.yaml").write_text(yaml.safe_dump(changed))
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        run: Any = simple_evaluate  # lm-eval's decorator hides its parameters
        results: Any = run(
            model=_Answering(answer), tasks=["upstream"], task_manager=manager, log_samples=True, bootstrap_iters=0
        )
        tracker = EvaluationTracker(output_path=str(folder / "out"))
        tracker.general_config_tracker.model_name_sanitized = "m"
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        tracker.save_results_samples(task_name="upstream", samples=samples["upstream"])
        (path,) = (folder / "out").rglob("samples_upstream_*.jsonl")
        return path

    return make
