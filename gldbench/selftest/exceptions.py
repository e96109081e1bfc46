"""Cases that are known to fail, one by one, and the upstream bugs behind them."""

from __future__ import annotations

from gldbench.schema import Task
from gldbench.selftest.cases import Kind

KNOWN: dict[tuple[str, str, str, Kind], str] = {}
"""(grader, benchmark, item id, kind) -> why it fails. Ours has none: each one that is added needs its reason here"""

UPSTREAM: dict[tuple[str, str], str] = {
    ("lm_eval", "gsm8k"): "flexible-extract takes the last run of digits, $, commas and points wherever it stands: "
    'a lone "$" or a ".00" behind the number is the answer or part of it, and a box that never closes counts',
    ("lm_eval", "bbh"): 'get-answer takes what follows the first "the answer is " up to the last character but one of '
    "the line, and compares it as it is written: a missing full stop costs a bracket, and quotes, emphasis, capitals, "
    "a second sentence or the option's text make it wrong",
    ("lm_eval", "arc_c"): "the whole output is compared with the letter: its own prompt ends in "
    '"The best answer is", and nothing looks for the letter in anything longer',
    ("lm_eval", "mmlu"): "the first line of the output is compared with the letter: nothing looks for it further down",
    (
        "lm_eval",
        "math",
    ): "math_verify reads 25 and 25\\% as different numbers, and takes the number out of a box that never closes",
    ("lm_eval", "math500"): "exact_match compares what stands between the first and the last dollar, or else the whole "
    "output, as strings: the box is not looked for",
    ("lm_eval", "drop"): "process_results takes the whole output for the answer: words of the reasoning lower F1, and "
    "a gold answer in the reasoning raises it",
    ("evalplus", "humaneval_plus"): "HumanEval/32 can never pass in 0.3.1",
    ("evalplus", "mbpp_plus"): "Mbpp/255 needs more than its 4 GB limit, Mbpp/392 more than its time limit",
}
"""(grader, benchmark) -> what in the harness's own protocol makes cases fail"""


def why_upstream(grader: str, task: Task) -> str:
    """The upstream bug behind a failure of another harness's grader; "" for our own."""
    return UPSTREAM.get((grader, task.benchmark), "")
