"""Causal judgement: in a structural causal model of switches, does the outcome depend on one of them?

In "but for A: G=A1|B0 H=G&C1 ..." each equation gives a variable by the one before it (the first: by a background variable)
and a background variable, under & (and), | (or) or ^ (one but not both). The value of a background variable stands beside
its name. The last variable is the outcome. The answer is "yes" if the outcome would have been different had the named
variable had its other value (the but-for test), and "no" otherwise.

Canonical form: the background variables renamed in order of first use, in the lesser of the two orders in which the
first equation may be read. Space at difficulty 1: 15 * 3 first equations, (6 * 3)^4 others, up to 2^6 values and six questions;
6! renamings join at most 720 of them.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from gldbench.worlds.families.base import Family, Instance, check_exact, pick, same_answer

NAME = "causal_judgement"
BACKGROUND = "ABCDEF"
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
        values.append((first and second) if operator == "&" else (first or second) if operator == "|" else first != second)
    return values


def _spell(equations: list[_Equation], background: dict[str, bool], names: dict[str, str]) -> str:
    """The equations with the background variables called as `names` says."""
    spelled = {variable: f"{names[variable]}{int(background[variable])}" for variable in names}
    return " ".join(
        f"{OUTCOMES[i]}={spelled[left] if left else OUTCOMES[i - 1]}{operator}{spelled[right]}"
        for i, (left, operator, right) in enumerate(equations)
    )


def _canonical(equations: list[_Equation], background: dict[str, bool], asked: str) -> str:
    first, rest = equations[0], equations[1:]
    forms = []
    for start in (first, first._replace(left=first.right, right=first.left)):
        order = dict.fromkeys((start.left, start.right, *(equation.right for equation in rest)))
        names = {variable: BACKGROUND[place] for place, variable in enumerate(order)}
        forms.append(f"{names[asked]}: {_spell([start, *rest], background, names)}")
    return min(forms)


def generate(random: Random, difficulty: int) -> Instance:
    """Five equations (difficulty 1) or eight; yes and no are equally likely.

    The rationale gives each variable that has an equation with two values: as it is, and as it would have been.
    """
    wanted = random.random() < 0.5
    while True:
        background = {name: random.random() < 0.5 for name in BACKGROUND}
        equations = _equations(random, pick(EQUATIONS, difficulty))
        asked = random.choice([equations[0].left, *(equation.right for equation in equations)])
        factual = _evaluate(equations, background)
        counterfactual = _evaluate(equations, {**background, asked: not background[asked]})
        if (factual[-1] != counterfactual[-1]) == wanted:
            break
    spelled = _spell(equations, background, {name: name for name in BACKGROUND})
    pairs = zip(OUTCOMES, factual, counterfactual, strict=False)
    return Instance(
        family=NAME,
        difficulty=difficulty,
        prompt=f"but for {asked}: {spelled}",
        rationale=" ".join(f"{name}{int(actual)}{int(otherwise)}" for name, actual, otherwise in pairs),
        answer="yes" if wanted else "no",
        canonical=_canonical(equations, background, asked),
    )


FAMILY = Family(
    name=NAME,
    title="Causal judgement: does the outcome depend on a variable (but-for test)",
    citation="after BIG-Bench Hard causal_judgement (Suzgun et al., 2022, arXiv:2210.09261); the but-for test on "
    "structural causal models: Halpern and Pearl (2005, arXiv:cs/0011012)",
    chance=0.5,
    space=1_000_000,
    generate=generate,
    check=check_exact,
    agrees=same_answer,
)
