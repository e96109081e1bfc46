"""Causal judgement: does the outcome of a structural causal model of switches depend on one of the switches?

In "but for X: G=A1|X0 H=G&C1 ..." every equation defines a variable. It combines the previous variable (in the first
equation: a background variable) with a background variable, by & (and), | (or) or ^ (one but not both). The digit after
the name of a background variable is its value. The last variable is the outcome. The answer is "yes" if the outcome
would be different with the other value of X (the but-for test), and "no" otherwise.

Canonical form: the background variables other than X are renamed in order of first use. Of the two orders in which the
first equation can be read, the one with the smaller text counts.
Space at difficulty 1: 15 * 3 first equations, (6 * 3)^4 others, and up to 2^6 values. Renaming joins at most 5! = 120
of them.
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
    """`left operator right`; an empty `left` stands for the previous variable."""

    left: str
    operator: str
    right: str


def _equations(random: Random, count: int) -> list[_Equation]:
    first, second = random.sample(BACKGROUND, 2)
    pairs = [(first, second)] + [("", random.choice(BACKGROUND)) for _ in range(count - 1)]
    return [_Equation(left, random.choice("&|^"), right) for left, right in pairs]


def _evaluate(equations: list[_Equation], background: dict[str, bool]) -> list[bool]:
    """Computes the values of the variables that have equations, in order."""
    values: list[bool] = []
    for left, operator, right in equations:
        first, second = background[left] if left else values[-1], background[right]
        values.append(first and second if operator == "&" else first or second if operator == "|" else first != second)
    return values


def _spell(equations: list[_Equation], background: dict[str, bool], names: dict[str, str]) -> str:
    """Writes the equations, with the background variables renamed as in `names`."""
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
    """Writes the model with two digits for each variable: its actual value, and its value with X changed."""
    pairs = {variable: f"{int(actual[variable])}{int(otherwise[variable])}" for variable in BACKGROUND}
    results = zip(_evaluate(equations, actual), _evaluate(equations, otherwise), strict=True)
    return "".join(
        f"{pairs.get(left, '')}{operator}{pairs[right]}={int(one)}{int(other)}"
        for (left, operator, right), (one, other) in zip(equations, results, strict=True)
    )


def generate(random: Random, difficulty: int) -> Instance:
    """Draws five equations (difficulty 1) or eight. "yes" and "no" are equally likely. The rationale is `_trace`."""
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
