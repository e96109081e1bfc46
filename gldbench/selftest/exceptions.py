"""Known failures: single cases of our own grader, and the bugs of other harnesses that explain their failures."""

from __future__ import annotations

from gldbench.schema import Task
from gldbench.selftest.cases import Kind

KNOWN: dict[tuple[str, str, str, Kind], str] = {}
"""(grader, benchmark, item id, kind) -> why the case fails. There is none today; each new one needs a reason here"""

UPSTREAM: dict[tuple[str, str], str] = {
    ("lm_eval", "gsm8k"): "flexible-extract takes the last run of digits, $, commas and points in the output: "
    'a lone "$" or the ".00" after a number becomes the answer or a part of it, and a box that never closes counts',
    ("lm_eval", "bbh"): 'get-answer takes the text after the first "the answer is " without the last character of the '
    "line, and compares it unchanged: without a full stop it loses a bracket, and quotes, emphasis, capitals, a second "
    "sentence or the text of the option make it wrong",
    ("lm_eval", "arc_c"): "the whole output is compared with the letter, because lm-eval's own prompt ends with "
    '"The best answer is"; the letter is not looked for in longer outputs',
    ("lm_eval", "mmlu"): "only the first line of the output is compared with the letter",
    ("lm_eval", "math"): "math_verify reads 25 and 25\\% as different numbers, and accepts a box that never closes",
    ("lm_eval", "math500"): "exact_match compares the text between the first and the last dollar sign, or else the "
    "whole output, as strings; the box is not looked for",
    ("lm_eval", "drop"): "process_results takes the whole output as the answer: words of the reasoning lower F1, and "
    "a gold answer in the reasoning raises it",
    ("lm_eval", "ifeval"): "what a model thinks between tags counts as a part of its response; paragraphs are counted "
    "together with blank lines; a letter that is no letter is replaced by a random one",
    ("opencompass", "gsm8k"): "without a box, the text up to the first point or its first sentence with "
    '"answer is" is compared as text: words around the number make it wrong',
    ("opencompass", "bbh"): 'multiple choice takes the first capital letter of the text after the first "answer is ", '
    "or of the whole output: the T of The",
    ("opencompass", "arc_c"): "a letter between spaces anywhere, such as the article A, becomes the answer",
    ("opencompass", "mmlu"): "a letter between spaces anywhere, such as the article A, becomes the answer",
    ("opencompass", "hellaswag"): "a letter between spaces anywhere, such as the article A, becomes the answer",
    ("opencompass", "math"): "boxes are compared as normalised text: 0.5 and \\frac{1}{2} differ",
    ("opencompass", "drop"): "an answer is right where it contains a gold answer or is a part of one: 13 for 3",
    ("opencompass", "theoremqa"): "the answer is what Python makes of it, 4 % off is right, and yes or no anywhere in "
    "it becomes True or False",
    ("opencompass", "mbpp"): "240.0 is not equal to 240, and code outside its patterns is run as it is",
    ("opencompass", "mbpp_plus"): "only the base tests are run, and 240.0 is not equal to 240",
    ("evalplus", "humaneval_plus"): "in EvalPlus 0.3.1 no program can pass HumanEval/32",
    ("evalplus", "mbpp_plus"): "Mbpp/255 exceeds EvalPlus's limit of 4 GB, and Mbpp/392 exceeds its time limit",
}
"""(grader, benchmark) -> why cases fail under the harness's own protocol"""


def why_upstream(grader: str, task: Task) -> str:
    """The upstream bug that explains failures of another harness's grader. "" where none is known."""
    return UPSTREAM.get((grader, task.benchmark), "")
