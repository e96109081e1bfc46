"""Made-up rows of a run, as the demo would leave them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gldbench.report import names
from gldbench.schema import Environment, Row
from gldbench.spec import load_spec

CHANCE = {
    "world_boolean_expressions": 0.5,
    "world_causal_judgement": 0.5,
    "world_dyck_languages": 0.005,
    "world_list_functions": 0.0,
    "world_multistep_arithmetic": 0.013,
    "world_object_counting": 0.08,
    "world_tracking_shuffled_objects": 1 / 3,
}
OWN = {
    "source-a": ["multistep_arithmetic", "list_functions"],
    "source-b": ["boolean_expressions", "dyck_languages", "causal_judgement"],
    "source-c": ["tracking_shuffled_objects", "object_counting"],
}
SKILL = {
    "pivot": 0.3,
    "sft": 0.42,
    "sft+uld": 0.45,
    "sft+uld+gld": 0.47,
    "sft+kl": 0.56,
    "sft+kl-shuffled": 0.4,
    "sft+uld+gld-shuffled": 0.41,
    "sft+uld+gld-constant": 0.46,
    "sft+uld+gld-permuted": 0.47,
    "control": 0.93,
}


def _spec() -> dict[str, Any]:
    """The shipped spec "tiny" with the sources, the control and the methods of the made-up rows."""
    spec = load_spec("tiny").model_dump(mode="json", by_alias=True)
    spec["world"]["wrong_labels"] = 0.35
    spec["world"]["control"] = spec["world"]["pivot"]
    del spec["world"]["families"]
    for name, families in OWN.items():
        spec["world"]["sources"][name]["families"] = families
    spec.pop("gates")  # the default: the gate of the control source
    spec["methods"] = {name: {} for name in SKILL if name not in ("pivot", "control")}
    spec["fusion"] |= {"seeds": [0, 1, 2], "examples": 6000}
    spec["fusion"]["train"] |= {"steps": 150, "batch_size": 64}
    return spec


SPEC = _spec()
ENVIRONMENT = Environment(
    python="3.11.7",
    packages={"torch": "2.13.0", "transformers": "5.23.0", "lm-eval": "0.4.13", "numpy": "2.4.6"},
    device="cpu",
    driver=None,
    cpu="Example CPU @ 2.5 GHz",
    threads={"cores": 2, "per_worker": 1, "workers": 2},
    env_id="1f2e3d4c5b6a",
    commit="0123456789abcdef0123456789abcdef01234567",
    dirty=False,
)
TERMS = {"sft": ("sft",), "sft+uld": ("sft", "uld"), "sft+uld+gld": ("sft", "uld", "gld"), "sft+kl": ("sft", "kl")}


def row(**changes: Any) -> Row:
    base = Row(
        run_id="tiny",
        env_id=ENVIRONMENT.env_id,
        suite="world",
        task="world_dyck_languages",
        task_version=1,
        variant="test",
        subject="",
        method="sft",
        world_seed=0,
        seed=0,
        item="",
        cluster="",
        grader="lm_eval",
        filter="answer",
        metric="exact_match",
        value=0.0,
        unit="",
        status="ok",
        reason="",
    )
    return dataclasses.replace(base, **changes)


def world_rows(
    skill: dict[str, float], items: int = 50, seeds: int = 3, variants: tuple[str, ...] = ("test", "harder")
) -> list[Row]:
    """Graded answers: an item is right where its difficulty is below the skill of the subject, with noise or luck."""
    rows, rng = [], np.random.default_rng(5)
    for variant in variants:
        for task, chance in CHANCE.items():
            n = items if variant == "test" else items // 2
            difficulty, luck = rng.random(n), rng.random(n) < chance
            for method in (*skill, *OWN):
                level = skill[method] if method in skill else 0.92 if names.family_of(task) in OWN[method] else 0.35
                for seed in range(seeds if method.startswith("sft") else 1):
                    # Methods share the noise of a seed, so that equal skill gives equal answers.
                    noise = np.random.default_rng([seed, n]).normal(0, 0.12, n)
                    right = (difficulty + noise < level - 0.2 * (variant == "harder")) | luck
                    rows += _answers(task, variant, method, seed, right)
    return rows


def _answers(task: str, variant: str, method: str, seed: int, right: np.ndarray) -> list[Row]:
    """One graded answer for each of `right` [items]; every ninth wrong one is unreadable or cut."""
    family = names.family_of(task)
    shared = {"task": task, "variant": variant, "method": method, "seed": seed, "cluster": family}
    return [
        row(
            **shared,
            subject=_subject(method, seed),
            item=f"{family}/{variant}/{index}",
            value=float(value),
            status="ok" if value or index % 9 else "truncated" if index % 2 else "no_answer",
        )
        for index, value in enumerate(right)
    ]


def _subject(method: str, seed: int) -> str:
    return f"{method}-seed{seed}" if method.startswith("sft") else method


UNITS = {"sft": "nats per token", "kl": "nats per token", "uld": "per position", "gld": "per sequence"}
SCALES = {"sft": 1.1, "uld": 0.5, "gld": 0.02, "kl": 0.8}
SHARES = {1: (0.9,), 2: (0.6, 0.3), 3: (0.5, 0.3, 0.1)}


def training_rows(steps: int = 150, seeds: int = 3) -> list[Row]:
    """Logs of each fused method, and totals of every checkpoint."""
    rows = []
    for method in (*SKILL, *OWN):
        fused = names.group_of(method) != "reference"
        terms = TERMS.get(names.controlled(method) or method, ("sft",))
        for seed in range(seeds if fused else 1):
            total = {
                "seconds": (14 if fused else 60) + 4 * len(terms) + seed,
                "peak_memory_bytes": (600 + 40 * len(terms)) * 2**20,
                "tokens": 1.1e6,
                "flops": 3.1e12 * len(terms),
                "truncated_examples": 0,
            }
            if "uld" in terms:
                total |= {f"coverage/{source}": 0.61 + 0.1 * (source == "source-b") for source in OWN}
            rows += [_logged(method, seed, "total", metric, value, "") for metric, value in total.items()]
            rows += [line for step in range(1, steps + 1) for line in _step(method, seed, step, terms)]
    return rows


def _step(method: str, seed: int, step: int, terms: tuple[str, ...]) -> list[Row]:
    decay = float(np.exp(-step / 40))
    lines = [_logged(method, seed, str(step), "loss", len(terms) * (0.6 + decay), "weighted sum")]
    for place, term in enumerate(terms):
        wobble = 1 + 0.05 * np.sin(step * (seed + 1) + len(method))
        value = SCALES[term] * (0.5 + decay) * wobble + 0.01 * len(terms)
        share = SHARES[len(terms)][place] + 0.02 * seed
        lines.append(_logged(method, seed, str(step), f"loss/{term}", value, UNITS[term]))
        lines.append(_logged(method, seed, str(step), f"gradient_share/{term}", share, "share"))
    return lines


def _logged(method: str, seed: int, item: str, metric: str, value: float, unit: str) -> Row:
    shared = {"suite": "training", "task": "fusion", "variant": "", "grader": "", "filter": "", "unit": unit}
    return row(
        **shared, subject=_subject(method, seed), method=method, seed=seed, item=item, metric=metric, value=value
    )


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """The generator of rows and the facts that go with them."""
    return SimpleNamespace(
        chance=CHANCE,
        spec=SPEC,
        environment=ENVIRONMENT,
        skill=SKILL,
        row=row,
        world_rows=world_rows,
        training_rows=training_rows,
    )


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """A whole run: scores on both tests and training logs."""
    return world_rows(SKILL) + training_rows()


@pytest.fixture(scope="session")
def small() -> list[Row]:
    """World rows only, of the methods that the gate needs and one more; quick to analyse."""
    chosen = ("pivot", "sft", "sft+uld", "sft+kl", "sft+kl-shuffled")
    return world_rows({name: SKILL[name] for name in chosen}, items=30, variants=("test",))
