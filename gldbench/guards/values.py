"""Plain values of losses, kernels and graders on small fixed inputs that are made here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gldbench.guards.baseline import Values

if TYPE_CHECKING:
    from torch import Tensor

    from gldfusion.signals import PivotSignal


def loss_values() -> Values:
    """Every loss, some in several settings, on fixed logits of one batch: the sum and the norm of its gradient."""
    import torch

    from gldfusion.losses import LOSSES, make_loss

    gld = ({"distance": d} for d in ("flb", "anova", "slb", "exact"))
    nodes = ({"nodes": "vocab", "values": v} for v in ("raw", "standard", "softmax"))
    local = ({"form": "features"}, {"labelled": False, "window": "all"})
    cases = [*((name, {}) for name in LOSSES), *(("gld", options) for options in (*gld, *nodes))]
    cases += [*(("gld_local", options) for options in local), ("gold", {"merge": "first"}), ("xtoken", {"form": "hkl"})]
    cases.append(("minced", {"positions": "start"}))
    pairs = torch.tensor([[[0, 0], [1, 2], [2, 3]], [[0, 1], [1, 1], [-1, -1]]])
    values = {}
    for name, options in cases:
        hidden = _numbers(2, 3, 7, seed=1).requires_grad_()
        loss = make_loss(name, options)
        total = loss(_signal(hidden), _signal(_numbers(2, 4, 7, seed=2)) if loss.needs_source else None, pairs)
        (gradient,) = torch.autograd.grad(total, hidden)
        case = " ".join([name, *map(str, options.values())])
        values[case] = {"sum": float(total.detach()), "gradient": float(gradient.norm())}
    return values


def kernel_values() -> Values:
    """Every output of the fused cross-entropy and the norms of its gradients, naive and chunked."""
    import torch

    from gldfusion.kernels import topk_cross_entropy

    values = {}
    for impl in ("naive", "chunked"):
        hidden = _numbers(6, 5, seed=3).requires_grad_()
        weight = _numbers(11, 5, seed=4).requires_grad_()
        labels = torch.tensor([0, 3, -100, 10, 5, 1])
        out = topk_cross_entropy(hidden, weight, labels, 4, impl=impl)
        parts = {"nll": out.nll, "values": out.values, "lse": out.lse, "mean": out.mean, "var": out.var}
        found = {name: float(part.detach().square().sum()) for name, part in parts.items()}
        gradients = torch.autograd.grad(torch.stack([x.square().sum() for x in parts.values()]).sum(), (hidden, weight))
        found |= {f"gradient of {n}": float(g.norm()) for n, g in zip(("hidden", "weight"), gradients, strict=True)}
        values[impl] = found
    return values


def grader_values() -> Values:
    """The marks of our judges on a few made-up outputs each: right, paraphrased, wrong, and without an answer."""
    from gldbench.grade.judges import JUDGES
    from gldbench.schema import Item
    from gldbench.tasks import load_task

    values = {}
    for task_name, (target, choices, record, outputs) in ANSWERS.items():
        task = load_task(task_name)
        item = Item(
            task=task.name,
            variant="default",
            item_id="0",
            prompt="",
            target=target,
            cluster="0",
            golds=(target,),
            choices=choices,
            record=record,
        )
        marks = JUDGES[task.scorer].judge(task, [item] * len(outputs), outputs)
        values[task_name] = {
            f"{number} {mark.filter} {mark.metric}": mark.value for number, own in enumerate(marks) for mark in own
        }
    for name, pairs in NORMAL_FORMS.items():
        form = JUDGES[name].form
        assert form is not None, "this judge compares normal forms"
        normalise = form.normalise
        values[name] = {f"{a} = {b}": float(normalise(a) == normalise(b)) for a, b in pairs}
    return values


ANSWERS: dict[str, tuple[str, tuple[str, ...], dict[str, object], list[str]]] = {
    "arc_c": (
        "C",
        ("iron", "salt", "wood", "air"),
        {},
        ["C", "The answer is (C).", "**C. wood**", "A or B? No: the answer is C", "B", "A man went home. (C)", ""],
    ),
    "math": (
        "\\frac{1}{2}",
        (),
        {},
        ["\\boxed{\\frac12}", "so $\\boxed{0.5}$.", "\\boxed{\\frac{1}{3}}", "It is \\frac12 but \\boxed{2}", "no"],
    ),
    "theoremqa": (
        "1.5",
        (),
        {"Answer": 1.5, "Answer_type": "float"},
        ["The answer is 1.5", "The answer is 3/2", "The answer is 15", "__import__('os')", ""],
    ),
}
"""task -> gold answer, choices, record, outputs"""
NORMAL_FORMS = {
    "number": [("$1,234.50", "1234.5"), ("18 dollars", "18"), ("\\frac{1}{2}", "0.5"), ("18", "180")],
    "short_answer": [("(B) the ball", "B"), ('"yes"', "Yes"), ("True", "False")],
}
"""judge -> pairs of answers that are compared"""


def _numbers(*shape: int, seed: int) -> Tensor:
    import torch

    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _signal(logits: Tensor, k: int = 5) -> PivotSignal:
    """Everything that any loss reads, from logits [B, T, V]; the labels are 0, 1, 2, ..."""
    import torch

    from gldfusion.kernels import topk_cross_entropy
    from gldfusion.signals import PivotSignal

    b, t, v = logits.shape
    labels = torch.arange(b * t) % v
    flat = topk_cross_entropy(logits.flatten(0, 1), torch.eye(v, dtype=logits.dtype), labels, k, impl="naive")
    fields = ("nll", "values", "ids", "lse", "mean", "std")
    held = {name: getattr(flat, name).unflatten(0, (b, t)) for name in fields}
    mask = torch.ones(b, t, dtype=torch.bool)
    held |= {"mapped": held["ids"], "projected": held["ids"], "shares": torch.ones_like(held["values"])}
    return PivotSignal(mask=mask, logits=logits, labels=labels.view(b, t), **held)
