"""What every entry of a registry must have: a source, a docstring, and refusals in words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import ModuleType

import pytest

from gldbench import grade, methods
from gldbench.generate import generate
from gldbench.grade import GRADERS
from gldbench.grade.judges import JUDGES
from gldbench.grade.rows import graders_named
from gldbench.methods.method import Method
from gldbench.tasks import load_task, task_names
from gldbench.tasks.readers import READERS
from gldfusion.errors import InputError, require_known

SOURCE = r"\((?:[^()]* )?(?:19|20)\d\d\)|this project"
"""a year in parentheses, as in the citation of a publication"""
REGISTRIES: dict[str, tuple[ModuleType, str]] = {
    "GRADERS": (grade, SOURCE),
    "METHODS": (methods, SOURCE),
    "BACKENDS": (generate, SOURCE),
}


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_entry_names_its_source(name: str) -> None:
    """The comment lines above an entry, or the docstring of its module, say who published it."""
    module, source = REGISTRIES[name]
    lines = inspect.getsource(module).split("\n")
    for key, entry in vars(module)[name].items():
        place = next(number for number, line in enumerate(lines) if re.match(rf'.*"{key}": ', line))
        above = lines[place - 1] if lines[place - 1].strip().startswith("#") else ""
        home = inspect.getmodule(entry)
        assert re.search(source, above + ((home and home.__doc__) or "")), f"{name}[{key}] names no source"


def function_of(entry: object) -> Callable[..., object]:
    if isinstance(entry, Method):
        return entry.make
    return entry.grade if isinstance(entry, grade.Grader) else entry  # type: ignore[return-value]


ENTRIES = [
    (f"{name}[{key}]", function_of(entry))
    for name in REGISTRIES
    for key, entry in vars(REGISTRIES[name][0])[name].items()
]
ENTRIES += [(f"READERS[{key}]", reader) for key, reader in READERS.items()]
ENTRIES += [(f"JUDGES[{key}]", judge.judge) for key, judge in JUDGES.items()]


@pytest.mark.parametrize(("name", "function"), ENTRIES, ids=[name for name, _ in ENTRIES])
def test_every_entry_is_described(name: str, function: Callable[..., object]) -> None:
    home = inspect.getmodule(function)
    assert inspect.getdoc(function) or (home and home.__doc__), f"{name} has no docstring"


@pytest.mark.parametrize("name", GRADERS)
def test_a_grader_has_a_version_and_a_headline_for_its_tasks(name: str) -> None:
    grader = GRADERS[name]
    assert grader.version()
    if grader.missing():
        pytest.skip(grader.missing())
    applied = [load_task(task) for task in task_names() if grader.applies(load_task(task))]
    assert applied
    assert all(all(grader.headline(task)) for task in applied)


def test_unknown_names_are_refused_in_words() -> None:
    with pytest.raises(InputError, match='did you mean "ours"'):
        graders_named("our")
    for name, (module, _) in REGISTRIES.items():
        with pytest.raises(InputError, match="known: "):
            require_known(name, "no-such-entry", vars(module)[name])
    for task in ("no_such_task", "bbh/no_such_subtask"):
        with pytest.raises(InputError, match=r"is called|has no subtask"):
            load_task(task)


@pytest.mark.parametrize("name", task_names())
def test_a_task_carries_its_citation_and_builds(name: str) -> None:
    task = load_task(name)
    assert re.search(r"(?:19|20)\d\d", task.citation), task.citation
    assert "FILL IN" not in f"{task.title}{task.citation}{task.dataset.licence}"
    assert task.scorer in JUDGES
    assert not task.reader or task.reader in READERS
    assert 0 <= task.chance < 1
    assert task.headline.grader in GRADERS


@pytest.mark.parametrize("name", sorted(set(READERS)))
def test_a_reader_refuses_a_row_of_another_shape_in_words(name: str) -> None:
    """`load_items` turns what a reader raises into an InputError. It must raise one of the errors that are turned."""
    with pytest.raises((KeyError, IndexError, TypeError, AttributeError, ValueError)):
        READERS[name](0, {"nothing": "of use"})
