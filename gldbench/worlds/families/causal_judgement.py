"""Causal judgement: in a structural causal model of switches, does the outcome depend on one of them?

In "but for X: G=A1|X0 H=G&C1 ..." each equation gives a variable by the one before it (the first: by a background
variable) and a background variable, under & (and), | (or) or ^ (one but not both). The value of a background variable
stands beside its name. The last variable is the outcome. The answer is "yes" if the outcome would have been different
had X had its other value (the but-for test), and "no" otherwise.

Canonical form: the background variables but X renamed in order of first use, in the lesser of the two orders in which
the first equation may be read. Space at difficulty 1: 15 * 3 first equations, (6 * 3)^4 others, up to 2^6 values; 5!
renamings join at most 120 of them.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from gldbench.worlds.families.family import Family, Instance, check_exact, pick, same_answer

NAME = "causal_judgement"
ASKED = "X"
BACKGROUND = f"ABCDE{ASKED}"
OUTCOMES = "GHIJKLMN"
EQUATIONS = (5, 8)


class _Equation(NamedTuple):
    """`left operator right`; `left` is empty where it is the variable before."""

    left: str
    operator: str
    right: str


def _equations(random: Random, count: int) -> list[_Equation]:
    first, second = random.sample(BACKGROUND, 2)
    pairs = [(first, second)] + [("", random.choice(BACKGROUND)) for _ in range(count - 1)]
    return [_Equation(left, random.choice("&|^"), right) for left, right in pairs]


def _evaluate(equations: list[_Equation], background: dict[str, bool]) -> list[bool]:
    """The values of the variables that have equations, in order."""
    values: list[bool] = []
    for left, operator, right in equations:
        first, second = background[left] if left else values[-1], background[right]
        values.append(first and second if operator == "&" else first or second if operator == "|" else first != second)
    return values


def _spell(equations: list[_Equation], background: dict[str, bool], names: dict[str, str]) -> str:
    """The equations with the background variables called as `names` says."""
    spelled = {variable: f"{name}{int(background[variable])}" for variable, name in names.items()}
    return " ".join(
        f"{OUTCOMES[i]}={spelled[left] if left else OUTCOMES[i - 1]}{operator}{spelled[right]}"
        for i, (left, operator, right) in enumerate(equations)
    )


def _canonical(equations: list[_Equation], background: dict[str, bool]) -> str:
    first, rest = equations[0], equations[1:]
    forms = []
    for start in (first, first._replace(left=first.right, right=first.left)):
        met = dict.fromkeys((start.left, start.right, *(equation.right for equation in rest)))
        names = dict(zip((name for name in met if name != ASKED), BACKGROUND, strict=False))
        forms.append(_spell([start, *rest], background, {**names, ASKED: ASKED}))
    return min(forms)


def _trace(equations: list[_Equation], actual: dict[str, bool], otherwise: dict[str, bool]) -> str:
    """The model with each variable replaced by two digits: its value as it is, and as it would have been."""
    pairs = {variable: f"{int(actual[variable])}{int(otherwise[variable])}" for variable in BACKGROUND}
    results = zip(_evaluate(equations, actual), _evaluate(equations, otherwise), strict=True)
    return "".join(
        f"{pairs.get(left, '')}{operator}{pairs[right]}={int(one)}{int(other)}"
        for (left, operator, right), (one, other) in zip(equations, results, strict=True)
    )


def generate(random: Random, difficulty: int) -> Instance:
    """Five equations (difficulty 1) or eight; yes and no are equally likely; the rationale is `_trace`."""
    wanted = random.random() < 0.5
    while True:
        actual = {name: random.random() < 0.5 for name in BACKGROUND}
        otherwise = {**actual, ASKED: not actual[ASKED]}
        equations = _equations(random, pick(EQUATIONS, difficulty))
        mentioned = any(ASKED in (left, right) for left, _, right in equations)
        depends = _evaluate(equations, actual)[-1] != _evaluate(equations, otherwise)[-1]
        if mentioned and depends == wanted:
            break
    return Instance(
        family=NAME,
        difficulty=difficulty,
        prompt=f"but for {ASKED}: {_spell(equations, actual, {name: name for name in BACKGROUND})}",
        rationale=_trace(equations, actual, otherwise),
        answer="yes" if wanted else "no",
        canonical=_canonical(equations, actual),
    )


FAMILY = Family(
    name=NAME,
    title="Causal judgement: does the outcome depend on a variable (but-for test)",
    citation="after BIG-Bench Hard causal_judgement (Suzgun et al., 2022, arXiv:2210.09261); the but-for test on "
    "structural causal models: Halpern and Pearl (2005, arXiv:cs/0011012)",
    chance=0.5,
    space=800_000,
    generate=generate,
    check=check_exact,
    agrees=same_answer,
)
