"""Writes `.eval` logs through inspect-ai's own library, so that `inspect view` shows every item with all its grades."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gldbench import __version__
from gldbench.export.results import TaskResult, label, whole
from gldbench.items.records import Answer, ItemView, Mark
from gldfusion.errors import InputError
from gldfusion.files import hash_json

MEND = "install it with `pip install 'gldbench[inspect]'`"


def write(results: Sequence[TaskResult], folder: Path) -> None:
    """Writes one log for each checkpoint and task.

    Raises:
        InputError: inspect-ai is not installed.
    """
    try:
        from inspect_ai.log import write_eval_log  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("inspect_ai"):
            raise
        raise InputError(f"logs of Inspect are written by inspect-ai, which is not installed\n{MEND}") from None
    created = datetime.now(UTC).isoformat(timespec="seconds")
    for result in results:
        name = re.sub(r"[^\w.@-]+", "-", f"{result.name}_{result.subject}")
        write_eval_log(_log(result, created), str(folder / f"{name}.eval"), format="eval")


def _log(result: TaskResult, created: str) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec, EvalStats  # pyright: ignore[reportMissingImports]
    from inspect_ai.model import GenerateConfig  # pyright: ignore[reportMissingImports]

    settings = result.settings
    identity = hash_json([result.subject, result.task, result.variant, created])
    spec = EvalSpec(
        eval_id=identity[:22],
        run_id=identity[22:44],
        task_id=identity[:22],
        created=created,
        task=result.task,
        task_version=result.version,
        dataset=EvalDataset(
            name=result.task, samples=len(result.items), sample_ids=[view.item for view, _ in result.items]
        ),
        model=f"gldbench/{result.subject}",
        model_generate_config=GenerateConfig(
            temperature=0.0, max_tokens=settings.get("max_tokens"), stop_seqs=list(settings.get("stop", ())) or None
        ),
        config=EvalConfig(epochs=1, limit=len(result.items)),
        packages={"gldbench": __version__},
        metadata={
            "prompt_variant": result.variant,
            "settings": dict(settings),
            "grader_versions": dict(result.grader_versions),
        },
    )
    return EvalLog(
        version=2,
        status="success",
        eval=spec,
        results=_results(result),
        stats=EvalStats(started_at=created, completed_at=created),
        samples=[_sample(result, view, answer) for view, answer in result.items],
    )


def _results(result: TaskResult) -> Any:
    """The mean of each grader, filter and metric; the headline comes first."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore  # pyright: ignore[reportMissingImports]

    values: dict[str, list[float]] = {}
    for _, answer in result.items:
        for mark in whole(answer):
            own = values.setdefault(label(mark), [])
            own += [] if mark.value is None else [mark.value]
    return EvalResults(
        total_samples=len(result.items),
        completed_samples=len(result.items),
        scores=[
            EvalScore(
                name=name,
                scorer=name,
                scored_samples=len(own),
                unscored_samples=len(result.items) - len(own),
                metrics={"mean": EvalMetric(name="mean", value=sum(own) / len(own))} if own else {},
            )
            for name, own in values.items()
        ],
    )


def _sample(result: TaskResult, view: ItemView, answer: Answer) -> Any:
    from inspect_ai.log import EvalSample  # pyright: ignore[reportMissingImports]
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput  # pyright: ignore[reportMissingImports]

    output = answer.output or ""
    model = f"gldbench/{result.subject}"
    parts = {f"{label(mark)}#{mark.part}": mark.value for mark in answer.marks if mark.part}
    return EvalSample(
        id=view.item,
        epoch=1,
        input=view.prompt,
        target=view.gold.split(" | "),
        messages=[
            ChatMessageUser(content=view.prompt, source="input"),
            ChatMessageAssistant(content=output, source="generate", model=model),
        ],
        output=ModelOutput.from_content(model, output),
        scores={label(mark): _score(mark) for mark in whole(answer)},
        metadata={
            "cluster": view.cluster,
            **({"parts": parts} if parts else {}),
            **({"note": answer.note} if answer.note else {}),
        },
    )


def _score(mark: Mark) -> Any:
    """The grade of one grader: what it found is the answer, and how and why stands in the explanation."""
    from inspect_ai.scorer import Score  # pyright: ignore[reportMissingImports]

    how = f"found by {mark.how}" if mark.how else ""
    return Score(
        value=math.nan if mark.value is None else mark.value,
        answer=mark.found or None,
        explanation="; ".join(part for part in (mark.status, how, mark.reason) if part),
        metadata={"status": mark.status, "how": mark.how, "reason": mark.reason},
    )
