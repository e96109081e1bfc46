"""The process that finds programs in outputs for `reading.py`, which runs this file as a script.

Its arguments are the budget in seconds and the reason that a reply gives where the budget does not suffice. Each line
of standard input is a JSON request [output, entry, prompt], and each line of standard output is the reply [program,
how, reason]. It runs no code of an output. The kernel ends this process where one output takes more processor time than
the budget.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import types
from pathlib import Path

MEMORY = 2 * 2**30
"""bytes of address space"""


def _import_light() -> None:
    """Makes the modules of this project importable without what their packages import, which takes a second."""
    root = Path(__file__).resolve().parents[2]
    for name in ("gldbench", "gldbench.grade", "gldbench.grade.programs"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package


def main(seconds: str, too_long: str) -> None:
    """Answers requests until standard input ends."""
    _import_light()
    from gldbench.grade.programs.extract import extract

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        output, entry, prompt = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, float(seconds))  # its signal ends the process, also inside of the parser
        try:
            reply = list(extract(output, entry, prompt))
        except (RecursionError, MemoryError):
            reply = [None, "none", too_long]
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
