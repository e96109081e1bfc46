"""Cases for tasks with lettered options: ARC, HellaSwag, MMLU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gldbench.schema import Item, Task
from gldbench.selftest.cases import COSTLY, EMPTY, Case, adversarial, frames, garbage, made, unsaid

LETTERS = "ABCDE"


def _paraphrases(item: Item) -> list[str]:
    letter, text = item.target, item.choices[LETTERS.index(item.target)]
    first = next(other for other in LETTERS if other != letter)
    found = [
        f"({letter})",
        f"**{letter}**",
        f'"{letter}"',
        f"'{letter}'.",
        f"${letter}$",
        f"{letter})",
        f"{letter}\n\nExplanation: ({first}) would be another matter.",
        f"({letter}) {text}",
        f"**{letter}. {text}**",
        f"The answer is {letter}.",
        f"The correct answer is {letter}",
        f"The correct Answer is: ({letter})",
        f"Answer: ${letter}$",
        f"**Answer:** {letter}",
        f"\\boxed{{{letter}}}",
        f"$\\boxed{{\\text{{({letter})}}}}$",
        f"A man went home. ({letter})",
        f"({first}) is tempting, but it is wrong. The correct option is **{letter}. {text}**",
        f"## Step 1: Look\nIt could be {first}.\n\nThe answer is {letter}.",
        f"Option {letter} is correct.",
        f"So I would go with option ({letter}).",
        f"{first}: no.\nThe final answer is '{letter}'.",
        *frames(letter),
        f"Answer: \\( {letter} \\)",
        f"{letter}--{text}",
        f"The answer is surely {letter}",
        f"Hence:\n\n**Option {letter}: {text}**",
    ]
    bare = Counter(choice.strip().casefold() for choice in item.choices)
    if bare[text.strip().casefold()] == 1 and len(text.strip()) > 1:
        found += [text, f'"{text}"']
    return found


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """The gold letter in the forms that models write, other letters, and texts without a letter."""
    found = made("adversarial", items[0], COSTLY)
    for item in items:
        letters = LETTERS[: len(item.choices)]
        letter, text = item.target, item.choices[LETTERS.index(item.target)]
        wrong = [other for other in letters if other != letter]
        found += made("gold", item, [letter, f"{letter}. {text}", f"Let us see.\n\nThe answer is {letter}."])
        found += made("paraphrase", item, _paraphrases(item))
        found += made(
            "near_miss",
            item,
            [
                f"({letter}) looks right at first, but the answer is {wrong[0]}.",
                f"{letter} fits the reasoning. A man went home. ({wrong[-1]})",
                f"The answer is {letter}. No, the correct answer is ({wrong[0]}).",
                f"{wrong[0]}. {text}",
                f"The answer is {letter} or {wrong[0]}.",
                f"The answer is not {letter}.",
                f"({letter}) comes near.\n\nAnswer: None of the above",
                f"Maybe ({letter}).\n\nAnswer: ABCD",
                f"It is not ({letter}).",
                *unsaid(letter),
            ],
        )
        others = [item.choices[LETTERS.index(other)] for other in wrong]
        elsewhere = [other for other in others if other.strip().casefold() != text.strip().casefold()]
        found += made("other", item, [form % other for other in wrong for form in ("%s", "The answer is %s.")])
        found += made("other", item, elsewhere)
        listed = "\n".join(f"{name}. {choice}" for name, choice in zip(letters, item.choices, strict=True))
        found += made("empty", item, EMPTY) + made("garbage", item, garbage(item))
        found += made("adversarial", item, [*adversarial(item), listed, "(A) (B) (C) (D)", "A man went home."])
    return found
