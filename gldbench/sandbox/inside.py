"""The program that runs inside the sandbox: it calls a function and writes each output as one line (`plain.py`).

The system's python3 receives this whole file as text, so that the file needs no import outside the standard library.
The text of `plain.py` comes with the job. The same program checks outputs: a check is a function that gets, beside its
arguments, what another program wrote. That stands after the job on standard input, and is decoded here, under limits.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _named(plain: Any, error: BaseException, place: str) -> str:
    """What a row says about an error. A missing module is not the program's mistake, and is named as such."""
    if isinstance(error, ModuleNotFoundError) and isinstance(error.name, str):
        return f"module: {error.name[:80]} is missing"
    if type(error) is plain.NotPlainError:
        return f"the program returned {error}"
    return f"{place} raised {type(error).__name__[:80]}"


def _call_each(plain: Any, job: Any, module: types.ModuleType, given: list[Any], report: Any) -> None:
    """Calls the function with each input, and reports what it returns."""
    function = getattr(module, job["entry"])
    started = time.process_time()
    for call in job["calls"]:
        # BaseException is caught, because foreign code may raise anything
        try:
            value = eval(call, module.__dict__) if isinstance(call, str) else function(*plain.decode(call), *given)
            report("ok", plain.encode(value))
        except BaseException as error:
            report("error", _named(plain, error, "the program"))
    report("end", time.process_time() - started)


def _prepare_process() -> None:
    """Discards what the program prints, and hides what is there for the interpreter and for libraries."""
    sink = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(sink, descriptor)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.putenv(name, "1")  # for libraries only: the program finds no environment variables
    for name in ("MALLOC_ARENA_MAX", "PYTHONHASHSEED"):
        os.environ.pop(name, None)  # the C library and Python have read them
    # without the working folder, and with the folder of the packages that are offered
    sys.path[:] = [*filter(None, sys.path), sys.argv.pop()]


def main() -> None:
    """Reads the job from standard input, limits this process, and answers one call after the other."""
    plain: Any = types.ModuleType("plain")
    with os.fdopen(os.dup(0), "rb") as stream:
        job = json.loads(stream.readline())
        for name, value in job["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        exec(compile(job["plain"], "plain", "exec"), plain.__dict__)
        given = [plain.outcomes(stream.read(size), calls, plain.Outcome(*end)) for size, calls, end in job["given"]]
    results = os.dup(1)  # results have a descriptor of their own
    _prepare_process()

    def report(status: str, value: Any) -> None:
        line = json.dumps([status, value], allow_nan=False).encode() + b"\n"
        if len(line) > job["value_bytes"]:
            line = json.dumps(["error", f"the program returned more than {job['value_bytes']} bytes"]).encode() + b"\n"
        while line:
            line = line[os.write(results, line) :]

    random.seed(0)
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module  # dataclasses look up their module
    try:  # BaseException is caught, because foreign code may raise anything
        exec(compile(job["source"], "candidate", "exec"), module.__dict__)
        exec(compile(job["setup"], "setup", "exec"), module.__dict__)
        getattr(module, job["entry"])
    except BaseException as error:
        failure = _named(plain, error, "defining the program")
        for _ in job["calls"]:
            report("error", failure)
    else:
        _call_each(plain, job, module, given, report)
    os._exit(0)


if __name__ == "__main__":
    main()
