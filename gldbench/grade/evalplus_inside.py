"""The program that runs inside the sandbox for the grader "evalplus": EvalPlus's own check of each solution.

`evalplus.py` passes this file as text to the Python of our environment, where evalplus is installed. It reads the job
from standard input and writes one JSON object to standard output: task id -> {"base": status, "plus": status}.
evalplus is imported late, because on import it reads from the environment where its data lies.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def check(work: tuple[str, dict[str, Any], str]) -> tuple[str, dict[str, str]]:
    """Checks one solution: (task id, its status on both sets of inputs: "pass", "fail", "timeout" or "error: why").

    The expected outputs are made here, one problem at a time, because those of Mbpp/255 do not fit into memory.
    """
    from evalplus.data.utils import CACHE_DIR
    from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS
    from evalplus.evaluate import check_correctness, get_groundtruth

    dataset, problem, solution = work
    name, key = problem["task_id"], f"expected-{os.getpid()}"
    try:
        not_none = MBPP_OUTPUT_NOT_NONE_TASKS if dataset == "mbpp" else []
        expected = get_groundtruth({name: problem}, key, not_none)[name]
    except (MemoryError, OSError) as error:
        return name, dict.fromkeys(("base", "plus"), f"error: the reference raises {type(error).__name__}")
    finally:
        cache = os.path.join(CACHE_DIR, f"{key}.pkl")
        if os.path.exists(cache):
            os.remove(cache)
    result = check_correctness(dataset, 0, problem, solution, expected, fast_check=True)
    return name, {part: result[part][0] for part in ("base", "plus")}


def main() -> None:
    """Reads the job, limits this process and its children, and checks every solution."""
    job = json.load(sys.stdin)
    results = os.dup(1)
    os.dup2(2, 1)  # evalplus prints its progress to standard output
    for name, value in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    os.environ["HOME"] = os.getcwd()  # for evalplus's cache of expected outputs
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    data = os.path.join(os.getcwd(), "problems.jsonl")
    with open(data, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(problem) + "\n" for problem in job["problems"])
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = os.environ["MBPP_OVERRIDE_PATH"] = data
    from evalplus.data import get_human_eval_plus, get_mbpp_plus

    dataset = job["dataset"]
    problems = get_human_eval_plus() if dataset == "humaneval" else get_mbpp_plus()
    work = [(dataset, problems[name], source) for name, source in job["solutions"].items()]
    with ProcessPoolExecutor(job["workers"]) as pool:
        found = dict(pool.map(check, work))
    os.write(results, json.dumps(found).encode())


if __name__ == "__main__":
    main()
