"""Writes the report of `along_training` in Markdown, with one figure. It depends on the stored rows only."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportReturnType=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gldbench.benches.draw_along_training import LOSSES, PIVOT, draw, same_vocabulary
from gldbench.gw.claims import FORMS, NORMALISATIONS, bound
from gldbench.gw.report import markdown_table
from gldbench.printable import markdown
from gldfusion.files import atomic_write
from gldfusion.reading import read_object


def write_report(csv: Path, spec: str) -> Path:
    """Writes the report and its figure beside the rows, with the same name.

    Args:
        csv: the file of the rows. The description of the environment lies beside it.
        spec: name of the spec, for the text.

    Returns:
        The path of the report.
    """
    rows, target = pd.read_csv(csv), csv.with_suffix(".md")
    environment = read_object(csv.with_suffix(".environment.json"), "environment", "run the bench again")
    with atomic_write(csv.with_suffix(".png")) as file:
        file.write(draw(rows))
    with atomic_write(target, "w") as file:
        file.write(as_markdown(rows, spec, environment, csv.with_suffix(".png").name))
    return target


def as_markdown(rows: pd.DataFrame, spec: str, environment: Mapping[str, Any], image: str) -> str:
    """The text of the report.

    Args:
        rows: all rows.
        spec: name of the spec.
        environment: the fields of `Environment`.
        image: file name of the figure.
    """
    nodes = _nodes(rows)
    sections = [
        "# gGW and the gradients of the losses along training",
        _setting(rows, spec, environment),
        "## How far gGW is from exact distances",
        "gGW is computed from the co-activation graphs of pivot and source as the loss gld computes it. `ggw_sum` is "
        "the loss itself, and `ggw_mean` is `ggw_sum` divided by the number of nodes. For the exact distance GW the "
        "solvers of `gldbench gw` prove a lower and an upper bound. The paper does not say which power of GW it "
        "approximates, and by which of the two numbers, so each reading is compared. The first table shows means over "
        "the texts, for node values `logprob`, before the first and after the last step.",
        markdown_table(_distances(rows)),
        _intervals(rows),
        "In the second table, `from` is how far gGW is above the upper bound of GW or, if negative, below its lower "
        "bound. It is a mean over all trainings, sources and texts, before the first and after the last step. "
        "`largest` is the largest distance at any moment, and `inside` is the share of all measurements in which gGW "
        f"lies between the bounds. The paper's bound on the error is {bound(nodes, nodes):.3g} for graphs of {nodes} "
        "nodes.",
        markdown_table(_readings(rows)),
        "## Gradients of the losses",
        "Each number is the norm of the gradient of a loss, divided by its number of units, with respect to the "
        "pivot's logits at all positions of a text. gld has raw logits as node values here, as in the paper. `noise` "
        "is the standard deviation of Gaussian noise that is added to the logits. `first` and `last` are means over "
        "the texts and trainings before the first and after the last step. `largest` is the largest norm at any moment "
        "and text. `change` is the largest |gradient at x + e - gradient at x| / |e| for the noise e, an empirical "
        "Lipschitz constant of the gradient. The source has the pivot's vocabulary, which kl needs.",
        markdown_table(_gradients(rows)),
        _order(rows),
        f"![gGW, exact distances and gradients along training]({image})",
        "Above: gGW and the exact distances for node values `logprob`, means over texts and sources. Below: the "
        "gradient norms against the source with the pivot's vocabulary, means over texts. The thick lines are for the "
        "logits as they are, and the thin lines for noise of 0.1, 0.3, 1 and 3.",
    ]
    return "\n\n".join(map(markdown, sections)) + "\n"


def _setting(rows: pd.DataFrame, spec: str, environment: Mapping[str, Any]) -> str:
    settings = rows[rows["task"] == "setting"]
    weights = [
        f"{method} ({', '.join(f'{r.subject} {r.value:g}' for r in part.itertuples()) or 'no term'})"
        for method, whole in settings[settings["metric"] == "learning_rate"].groupby("method", sort=False)
        for part in [settings[(settings["method"] == method) & (settings["metric"] == "weight")]]
        if len(whole)
    ]
    rates = settings[settings["metric"] == "learning_rate"]
    texts = settings[settings["metric"] == "texts"]["value"].iloc[0]
    steps = sorted({*rows[rows["task"] == "distance"]["item"]})
    changes = " with uncommitted changes" if environment["dirty"] else ""
    return (
        f"World {rows['world_seed'].iloc[0]} of the spec {spec}, fusion seed {rates['seed'].iloc[0]}. Methods with the "
        f"weights of their terms: {', '.join(weights)}. The learning rate is {rates['value'].iloc[0]:g}. The pivot is "
        f"measured at the steps {', '.join(map(str, steps))}, on {texts:g} texts of the validation set. Environment "
        f"{environment['env_id']}, commit {environment['commit']}{changes}."
    )


def _nodes(rows: pd.DataFrame) -> int:
    return int(rows[rows["metric"] == "k"]["value"].iloc[0])


def _ends(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of step 0 and, for each method, those of its last step."""
    measured = rows[rows["task"].isin(["distance", "gradient"])]
    found = [(PIVOT, measured[measured["method"] == PIVOT])]
    for method, part in measured[measured["method"] != PIVOT].groupby("method", sort=False):
        found.append((str(method), part[part["item"] == part["item"].max()]))
    return found


def _distances(rows: pd.DataFrame) -> pd.DataFrame:
    lines = []
    for method, part in _ends(rows):
        chosen = part[(part["task"] == "distance") & (part["subject"] == "logprob")]
        for source, own in chosen.groupby("variant", sort=False):
            value = own.set_index("metric")["value"]
            line: dict[str, Any] = {"method": method, "step": own["item"].iloc[0], "source": source}
            line |= {name: value[name] for name in reversed(NORMALISATIONS)}
            lines.append(line | {form: value[f"{form} upper"] for form in FORMS})
    return pd.DataFrame(lines)


def _intervals(rows: pd.DataFrame) -> str:
    """How wide the intervals are, and which part of the exact distances gGW is."""
    means = rows[(rows["task"] == "distance") & (rows["subject"] == "logprob")]
    wide = means.pivot_table(index=["method", "item", "variant"], columns="metric", values="value")
    width = max(float((1 - wide[f"{form} lower"] / wide[f"{form} upper"]).max()) for form in FORMS)
    shares = [wide["ggw_mean"] / wide[f"{form} upper"] for form in ("GW_1", "GW_2")]
    ends = [f"{share.min():.1%} to {share.max():.1%} of {form}" for share, form in zip(shares, FORMS, strict=False)]
    return (
        "The table shows upper bounds. The lower bounds are nearly equal: the widest interval has "
        f"{width:.2g} times the size of its upper end. `ggw_mean` is a lower bound of GW_1. Over all trainings, "
        f"moments and sources it is {' and '.join(ends)}."
    )


def _readings(rows: pd.DataFrame) -> pd.DataFrame:
    lines = []
    own = rows[rows["task"] == "distance"]
    for values, chosen in own.groupby("subject", sort=False):
        last = pd.concat([part for method, part in _ends(chosen) if method != PIVOT])
        first = chosen[chosen["method"] == PIVOT]
        for form in FORMS:
            for name in NORMALISATIONS:
                metric = f"{name} from {form}"
                mean = [part[part["metric"] == metric]["value"].mean() for part in (first, last)]
                most = chosen[chosen["metric"] == f"{metric}, largest"]["value"].max()
                inside = chosen[chosen["metric"] == f"{name} inside {form}"]["value"].mean()
                line = {"node values": values, "reading": f"{name} for {form}", "from, first": mean[0]}
                lines.append(line | {"from, last": mean[1], "largest": most, "inside": f"{inside:.0%}"})
    return pd.DataFrame(lines)


def _gradients(rows: pd.DataFrame) -> pd.DataFrame:
    lines = []
    ends = dict(_ends(rows))
    for source in same_vocabulary(rows):
        own = rows[rows["variant"].str.startswith(f"{source} noise=")]
        for variant in own["variant"].unique():
            for loss in LOSSES:
                chosen = own[(own["variant"] == variant) & (own["subject"] == loss)]
                change = chosen[(chosen["task"] == "change") & (chosen["metric"] == "largest")]["value"].max()
                norm = chosen[(chosen["task"] == "gradient")]
                first = ends[PIVOT].index
                last = [index for method, part in ends.items() if method != PIVOT for index in part.index]
                mean = [norm[norm.index.isin(at) & (norm["metric"] == "mean")]["value"].mean() for at in (first, last)]
                most = norm[norm["metric"] == "largest"]["value"].max()
                line = {"noise": variant.partition("=")[2], "loss": loss, "first": mean[0], "last": mean[1]}
                lines.append(line | {"largest": most, "change": change})
    return pd.DataFrame(lines)


def _order(rows: pd.DataFrame) -> str:
    """Which order the largest norms have, and how often."""
    chosen = rows[(rows["task"] == "gradient") & (rows["metric"] == "largest")]
    wide = chosen.pivot_table(index=["method", "item", "variant"], columns="subject", values="value").dropna()
    if wide.empty:
        return "No source has the pivot's vocabulary, so kl was not measured."
    orders = wide.apply(lambda line: " < ".join(line.sort_values().index), axis=1).value_counts()
    text = ", ".join(f"{order} in {count}" for order, count in orders.items())
    texts = rows[(rows["task"] == "order") & (rows["subject"] == "gld < uld < kl")]["value"].mean()
    across = rows[(rows["task"] == "order") & (rows["subject"] == "gld < uld")]["value"].mean()
    more = "" if pd.isna(across) else f" Against the other sources gld < uld holds in {across:.0%}."
    return (
        "The paper's order of Lipschitz constants is gld < uld < kl. There are "
        f"{len(wide)} settings of training, step and noise. The largest norms over the texts have these orders: "
        f"{text}. Of all single texts in these settings, the paper's order holds in {texts:.0%}.{more}"
    )
