"""The sandbox: values that go in and out, data that is refused, limits, and what its command line hides."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import struct
import subprocess
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gldbench import sandbox
from gldbench.doctor import examine
from gldbench.sandbox import (
    Check,
    Checked,
    Limits,
    Opaque,
    Program,
    check_programs,
    execute,
    launch,
    packages,
    plain,
    run_programs,
    seccomp,
)
from gldbench.sandbox.system_calls import ALLOWED, CLONE, FORKS
from gldfusion.errors import InputError

PYTHON = Path("/usr/bin/python3")
SHORT = Limits(cpu_seconds=5, wall_seconds=30)


@pytest.fixture(params=["sandbox", "unsafe"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways to run a program, which share one implementation."""
    if request.param == "sandbox":
        if reason := launch.trouble():
            pytest.skip(f"no sandbox: {reason}")
        yield "sandbox"
        return
    monkeypatch.setattr(launch, "trouble", lambda: "taken away by a test")
    with sandbox.unsafe_code_allowed():
        yield "unsafe"


def outcome(source: str, *arguments: Any, limits: Limits = SHORT) -> Any:
    (result,) = run_programs([Program(source, "f", (arguments,), limits=limits)])
    return result.outcomes[0]


# --- the format of values

DEEP = "the program returned a value nested more than 100 levels deep"


def read(line: bytes) -> plain.Outcome:
    """What a line says about the only call of a program."""
    (found,) = plain.outcomes(line + b"\n", 1, plain.Outcome("error", reason="no line"))
    return found


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.fractions()
    | st.decimals(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.integers())
        | st.dictionaries(st.integers() | st.text() | st.tuples(st.integers()), inner)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and have equal types at every depth."""
    return left == right and repr(type(left)) == repr(type(right)) and (not isinstance(left, list | tuple) or all(
        same(a, b) for a, b in zip(left, right, strict=True)
    ))  # fmt: skip


@given(PLAIN)
def test_plain_values_come_back_unchanged(value: Any) -> None:
    text = json.dumps(plain.encode(value), allow_nan=False)
    assert same(plain.decode(json.loads(text)), value)


def test_the_format_is_the_documented_one() -> None:
    assert plain.encode((1, {2: {"a"}})) == {"tuple": [1, {"dict": [[2, {"set": ["a"]}]]}]}
    assert plain.encode([2**63, 2**63 - 1, True, None]) == [{"int": "0x8000000000000000"}, 2**63 - 1, True, None]
    assert plain.encode(10**6000)["int"].startswith("0x")  # more digits than Python would print
    assert plain.encode(math.inf) == {"float": "inf"}
    assert math.isnan(plain.decode(plain.encode(math.nan)))
    assert plain.encode(b"\0\xff") == {"bytes": "00ff"}
    assert plain.encode([Decimal("1.50"), Fraction(1, 2)]) == [{"decimal": "1.50"}, {"fraction": ["0x1", "0x2"]}]


def test_subclasses_come_out_as_plain_types() -> None:
    class Always(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    assert type(plain.encode(Always("a"))) is str
    assert plain.decode(plain.encode(Counter("aab"))) == {"a": 2, "b": 1}
    assert type(plain.decode(plain.encode(OrderedDict(a=1)))) is dict
    assert plain.encode(bytearray(b"a")) == {"bytes": "61"}


def test_what_is_no_plain_value_is_only_named() -> None:
    value = plain.decode(plain.encode([deque([1]), range(3), print]))
    assert [part.kind for part in value] == ["deque", "range", "builtin_function_or_method"]
    assert value[0] != deque([1])
    assert value[0] is not None
    assert isinstance(plain.decode(plain.encode(value[0])), Opaque)
    assert list(plain.decode(plain.encode(map(str, [1, 2])))) == ["1", "2"]


@pytest.mark.parametrize(
    "data",
    [
        {"evil": []}, {}, {"tuple": [], "set": []}, {"tuple": 3}, {"set": [[]]}, {"int": "x"}, {"int": 5},
        {"float": "x"}, {"bytes": "zz"}, {"dict": [[1]]}, {"dict": [[[], 1]]}, {"object": 5}, {"complex": []},
        {"set": [n * (2**61 - 1) for n in range(1, 3000)]},
        {"dict": [[n * (2**61 - 1), 0] for n in range(1, 3000)]},
    ],
)  # fmt: skip
def test_other_data_is_refused(data: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        plain.decode(data)
    assert read(json.dumps(["ok", data]).encode()).status == "error"


@pytest.mark.parametrize("line", [b"", b"[", b"[]", b"null", b'["ok"]', b'["no", 1]', b'["error", 1]', b"[" * 50000])
def test_lines_that_are_no_result_are_errors(line: bytes) -> None:
    assert read(line).reason in ("the program's output is no plain value", DEEP)


@pytest.mark.parametrize("kind", ["list", "tuple", "iterator", "dict"])
def test_a_value_that_is_nested_too_deeply_is_an_error_of_its_call(kind: str) -> None:
    """It would raise RecursionError in the process that reads it."""
    begin, end = {"list": ("[", "]"), "dict": ('{"dict": [[1, ', "]]}")}.get(kind, (f'{{"{kind}": [', "]}"))
    for levels in (101, 330, 450, 5_000, 100_000):
        assert read(f'["ok", {begin * levels}1{end * levels}]'.encode()).reason == DEEP
    assert read(f'["ok", {begin * 100}1{end * 100}]'.encode()).status == "ok"


def test_the_number_of_parts_is_bounded() -> None:
    assert "parts" in read(b'["ok", [' + b"0," * plain.MOST_PARTS + b"0]]").reason
    assert read(b'["ok", [' + b"0," * 1000 + b"0]]").status == "ok"


@pytest.mark.parametrize("levels", [101, 450, 2000])
def test_the_process_of_a_program_says_that_its_value_is_too_deep(levels: int, mode: str) -> None:
    source = "def f(x):\n    value = ()\n    for _ in range(x):\n        value = (value,)\n    return value\n"
    assert outcome(source, levels).reason == DEEP
    assert outcome(source, 99).status == "ok"


# --- running


def test_values_come_back_in_order(mode: str) -> None:
    source = "def f(x, y=1):\n    return (x, y, {x: [y]})\n"
    program = Program(source, "f", ((1,), ("a", 2.5), "f(7, y=8)", "f(z)"), setup="z = f(9)")
    (result,) = run_programs([program])
    values = [(1, 1, {1: [1]}), ("a", 2.5, {"a": [2.5]}), (7, 8, {7: [8]}), None]
    assert [o.value for o in result.outcomes] == values
    assert "TypeError" in result.outcomes[3].reason  # a dictionary cannot be a key
    assert 0 <= result.cpu_seconds < 5
    assert len(result.output) > 0


def test_one_failing_call_leaves_the_others(mode: str) -> None:
    (result,) = run_programs([Program("def f(x):\n    return 6 // x\n", "f", ((1,), (0,), (2,)))])
    assert [o.status for o in result.outcomes] == ["ok", "error", "ok"]
    assert "ZeroDivisionError" in result.outcomes[1].reason


def test_a_call_does_not_see_what_another_did_to_its_arguments(mode: str) -> None:
    shared = [1]
    (result,) = run_programs([Program("def f(x):\n    x.append(2)\n    return x\n", "f", ((shared,), (shared,)))])
    assert [o.value for o in result.outcomes] == [[1, 2], [1, 2]]
    assert shared == [1]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(x:", "defining the program raised SyntaxError"),
        ("1 // 0", "defining the program raised ZeroDivisionError"),
        ("def g(x): return x", "defining the program raised AttributeError"),
        ("def f(x): raise SystemExit", "raised SystemExit"),
        ("def f(x): return input()", "raised EOFError"),
        ("def f(x): return f(x)", "raised RecursionError"),
        ("import os\nos._exit(0)", "ended before it answered"),
        ("def f(x): return 'a' * 10**7", "returned more than"),
    ],
)
def test_errors_are_named(mode: str, source: str, reason: str) -> None:
    got = outcome(source, 3)
    assert got.status == "error"
    assert reason in got.reason


def test_processor_time_is_bounded(mode: str) -> None:
    source = "def f(x):\n    while True: pass\n"
    got = outcome(source, 1, limits=Limits(cpu_seconds=1, wall_seconds=60))
    assert (got.status, got.reason) == ("timeout", "the program was killed (limit: 1 s of processor time)")


def test_wall_time_is_bounded_and_earlier_answers_kept(mode: str) -> None:
    source = "import time\ndef f(x):\n    time.sleep(x)\n    return x\n"
    program = Program(source, "f", ((0,), (600,), (0,)), limits=Limits(wall_seconds=2))
    (result,) = run_programs([program])
    assert [o.status for o in result.outcomes] == ["ok", "timeout", "timeout"]


def test_memory_is_bounded_by_the_limit(mode: str) -> None:
    source = "def f(x):\n    return len(bytearray(x * 2**20))\n"
    assert outcome(source, 100, limits=Limits(memory_mb=512)).status == "ok"
    assert "MemoryError" in outcome(source, 100, limits=Limits(memory_mb=64)).reason


def test_one_value_that_is_too_long_leaves_the_others(mode: str) -> None:
    program = Program("def f(x):\n    return 'a' * x\n", "f", ((9,), (99,), (9,)), limits=Limits(value_bytes=64))
    (result,) = run_programs([program])
    assert [o.status for o in result.outcomes] == ["ok", "error", "ok"]
    assert result.outcomes[1].reason == "the program returned more than 64 bytes"


def test_dataclasses_and_prints_work(mode: str) -> None:
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n    x: int\ndef f(x):\n    print('[\"ok\", 99]')\n    return Point(x).x\n"
    )
    assert outcome(source, 3).value == 3


def test_many_programs_keep_their_order(mode: str) -> None:
    programs = [Program(f"def f(x):\n    return x + {n}\n", "f", ((1,),)) for n in range(9)]
    assert [r.outcomes[0].value for r in run_programs(programs, workers=3)] == [n + 1 for n in range(9)]


def test_no_descriptor_leaks(mode: str) -> None:
    outcome("def f(x): return x", 1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        outcome("def f(x): return x", 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_sets_of_texts_have_the_same_order_every_time(mode: str) -> None:
    """max(set("aabbc"), key="aabbc".count) depends on it."""
    source = "def f(x):\n    return list(set(x))\n"
    programs = [Program(source, "f", (("abcdefghij",),), limits=SHORT)] * 4
    first, *others = (result.outcomes[0].value for result in run_programs(programs))
    assert sorted(first) == list("abcdefghij")
    assert others == [first] * 3


@pytest.mark.parametrize("source", ["import none_such.part", "def f(x):\n    import none_such\n"])
def test_a_missing_module_is_named(mode: str, source: str) -> None:
    got = outcome(source, 3)
    assert (got.status, got.reason) == ("error", "module: none_such is missing")


def test_an_import_error_that_hides_itself_is_an_error(mode: str) -> None:
    source = (
        "class Hidden(ModuleNotFoundError):\n    @property\n    def name(self): raise SystemExit\n"
        "class Odd(ModuleNotFoundError):\n    name = 7\n"
        "def f(x):\n    raise (Hidden if x else Odd)\n"
    )
    assert outcome(source, 0).reason == "the program raised Odd"
    assert outcome(source, 1).status == "error"


THREADS = (
    "import threading\ndef f(x):\n    go, done = threading.Event(), []\n"
    "    threads = [threading.Thread(target=lambda: done.append(go.wait())) for _ in range(x)]\n"
    "    for thread in threads: thread.daemon = True\n    for thread in threads: thread.start()\n"
    "    go.set()\n    for thread in threads: thread.join()\n    return len(done)\n"
)


def sandboxed() -> None:
    if reason := launch.trouble():
        pytest.skip(f"no sandbox: {reason}")


def test_threads_work_within_the_limit() -> None:
    sandboxed()
    assert outcome(THREADS, 32).value == 32
    assert outcome(THREADS, 4, limits=Limits(threads=4, memory_mb=256)).value == 4
    assert "RuntimeError" in outcome(THREADS, 5, limits=Limits(threads=4)).reason
    source = "from concurrent.futures import ThreadPoolExecutor\ndef f(x):\n    with ThreadPoolExecutor(3) as pool:\n"
    assert outcome(source + "        return list(pool.map(abs, range(-x, 0)))\n", 3).value == [3, 2, 1]


def test_many_sandboxes_do_not_share_the_limit_of_threads() -> None:
    sandboxed()
    programs = [Program(THREADS, "f", ((32,),))] * 6
    assert [result.outcomes[0].value for result in run_programs(programs, workers=6)] == [32] * 6


@pytest.mark.parametrize("call", ["os.fork()", "os.posix_spawn('/usr/bin/python3', ['x'], {})", "os.popen('x')"])
def test_no_program_starts_a_process(call: str) -> None:
    sandboxed()
    assert outcome(f"import os\ndef f(x):\n    return {call} is not None\n", 3).status == "error"


@pytest.mark.parametrize("package", ["numpy", "pandas", "scipy.linalg", "sympy"])
def test_a_package_that_is_offered_can_be_imported(package: str) -> None:
    sandboxed()
    if package.partition(".")[0] not in sandbox.offered():
        pytest.skip(f"{package} is not offered here")
    got = outcome(f"import {package} as m\ndef f(x):\n    return m.__name__\n", 1)
    assert got.value == package


def test_numbers_of_packages_come_back_as_plain_numbers() -> None:
    sandboxed()
    if len(sandbox.offered()) < 4:
        pytest.skip("not all packages are offered here")
    source = (
        "import numpy as np, sympy, fractions\ndef f(x):\n    return [np.int64(3), np.float32(.5), np.bool_(True),"
        " {np.int8(1): (np.float64(2),)}, sympy.Integer(4), sympy.Float(.25), np.array(5), np.array([1]),"
        " sympy.Rational(1, 2), fractions.Fraction(1, 2), np.linalg.inv(np.eye(200))[0, 0]]\n"
    )
    value = outcome(source, 1).value
    assert value[:7] == [3, 0.5, True, {1: (2.0,)}, 4, 0.25, 5]
    assert [type(part) for part in value[:7]] == [int, float, bool, dict, int, float, int]
    assert [part.kind for part in value[7:9]] == ["ndarray", "Half"]
    assert value[9] == Fraction(1, 2)
    assert value[10] == 1.0


def test_packages_come_from_the_first_folder_where_they_work(tmp_path: Path) -> None:
    for place in (
        "own/numpy",
        "own/sympy",
        "own/mpmath",
        "own/other",
        "system/numpy",
        "system/numpy.libs",
        "system/pandas",
    ):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "system" / "six.py").write_text("")
    works = {"own": ["sympy"], "system": ["numpy", "pandas"]}
    asked: list[tuple[str, ...]] = []

    def importable(bindings: tuple[packages.Binding, ...], names: Sequence[str]) -> list[str]:
        asked.append(tuple(names))
        return works[bindings[0][0].parent.name]

    offered, bound = packages.choose([tmp_path / "own", tmp_path / "system"], importable)
    assert offered == ("numpy", "pandas", "sympy")
    assert asked == [("numpy", "sympy"), ("numpy", "pandas")]
    assert {str(place): str(source.relative_to(tmp_path)) for source, place in bound} == {
        "/packages/sympy": "own/sympy", "/packages/mpmath": "own/mpmath", "/packages/numpy": "system/numpy",
        "/packages/numpy.libs": "system/numpy.libs", "/packages/pandas": "system/pandas",
        "/packages/six.py": "system/six.py",
    }  # fmt: skip
    assert packages.choose([], importable) == ((), ())


def test_a_program_sees_its_own_job_and_no_more(mode: str) -> None:
    source = "import sys\ndef f(x):\n    return sorted(sys._getframe(1).f_locals['job'])\n"
    assert outcome(source, 3).value == ["calls", "entry", "given", "limits", "plain", "setup", "source", "value_bytes"]


# --- checking what foreign programs returned

COUNT = "def check_outcomes(wanted, outcomes):\n    return [[one.value for one in outcomes] == wanted]\n"
HASHES = "[number * (2**61 - 1) for number in range(1, 60_000)] + list(range(60_010))"


def test_a_check_reads_what_a_program_returned(mode: str) -> None:
    programs = [Program(f"def f(x):\n    return (x, {n})\n", "f", ((1,), (2,))) for n in range(3)]
    checks = [Check(COUNT, ([(1, 1), (2, 1)],))] * 3
    assert [checked.value for checked in check_programs(programs, checks)] == [[False], [True], [False]]


def test_a_check_gets_what_a_trusted_program_returned(mode: str) -> None:
    source = "def check_outcomes(expected, outcomes):\n    return [expected == outcomes, outcomes.failed().reason]\n"
    program = Program("def f(x):\n    return 6 // x\n", "f", ((1,), (0,)))
    checks = [Check(source, expected=tuple(run_programs([program])))]
    assert check_programs([program], checks) == [Checked([True, "the program raised ZeroDivisionError"])]


def test_reading_a_flood_ends_at_the_limit_and_costs_only_its_own_item(mode: str) -> None:
    """Building the set takes minutes. The process that grades never builds it."""
    flood = Program(f"def f(x):\n    return {HASHES}\n", "f", ((1,),))
    good = Program("def f(x):\n    return x\n", "f", ((1,),))
    check = Check(
        "def check_outcomes(outcomes):\n    return [len(set(outcomes[0].value)) if outcomes[0].value != 1 else 0]\n",
        limits=Limits(cpu_seconds=2),
    )
    before = time.process_time()
    first, flooded, last = check_programs([good, flood, good], [check] * 3)
    assert first == last == Checked([0])
    assert flooded.value == []
    assert flooded.reason.startswith("checking what the program returned failed: the program was killed (limit: 2 s")
    assert time.process_time() - before < 2


def test_memory_of_this_process_does_not_grow_with_what_a_program_writes(mode: str) -> None:
    source = (
        "import os\ndef f(x):\n    while True:\n        for d in range(3, 16):\n"
        "            try: os.write(d, b'x' * 65536)\n            except OSError: pass\n"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = Program(source, "f", ((1,),), limits=Limits(output_bytes=2**28))
    (checked,) = check_programs([flood], [Check(COUNT, (1,), limits=Limits(memory_mb=4096))])
    assert checked.value != [True]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


def test_an_exception_of_one_item_costs_only_its_own_item(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(message: bytes, ended: plain.Outcome) -> Checked:
        if b"false" in message:
            raise RecursionError("an error of ours")
        return read_message(message, ended)

    read_message = execute._message
    monkeypatch.setattr(execute, "_message", broken)
    programs = [Program(f"def f(x):\n    return {n}\n", "f", ((1,),)) for n in range(3)]
    found = check_programs(programs, [Check(COUNT, ([n if n != 1 else 9],)) for n in range(3)])
    assert [own.value for own in found] == [[True], [], [True]]
    assert found[1].reason == "grading failed: RecursionError: an error of ours"


def test_trouble_of_the_machine_is_no_error_of_an_item(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(execute, "communicate", full)
    with pytest.raises(OSError, match="No space left"):
        check_programs([Program("", "f", ((1,),))], [Check(COUNT, (1,))])


# --- where there is no sandbox


@pytest.mark.parametrize("reason", ["bubblewrap (bwrap) is not installed", "bubblewrap does not work here: no"])
def test_without_a_sandbox_code_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    monkeypatch.setattr(launch, "trouble", lambda: reason)
    with pytest.raises(InputError, match="make system") as caught:
        run_programs([Program("def f(x): return x", "f", ((1,),))])
    assert reason in str(caught.value)
    assert "--unsafe-code" in str(caught.value)
    with sandbox.unsafe_code_allowed():
        assert launch.require() is False
    with pytest.raises(InputError):
        launch.require()


def test_permission_to_be_unsafe_changes_nothing_where_a_sandbox_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "trouble", lambda: "")
    with sandbox.unsafe_code_allowed():
        assert launch.require() is True


def test_trouble_is_found_by_running_something(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bwrap that is installed but does not work counts as missing."""
    if not PYTHON.exists():
        pytest.skip("no sandbox: there is no /usr/bin/python3")
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "uid map: Permission denied" in launch.trouble.__wrapped__()
    fake.unlink()
    assert launch.trouble.__wrapped__() == "bubblewrap (bwrap) is not installed"


def test_doctor_says_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "trouble", lambda: "bubblewrap (bwrap) is not installed")
    (finding,) = [finding for finding in examine(tmp_path) if finding.name == "sandbox"]
    assert (finding.status, finding.found) == ("absent", "bubblewrap (bwrap) is not installed")
    assert "make system" in finding.advice


# --- the command line and the filter


@pytest.mark.parametrize("root", [True, False])
def test_the_command_line_shows_libraries_only(root: bool) -> None:
    line = launch.bwrap_command(launch.system_view(PYTHON), ["x"], 9, root)
    shown = {line[place + 1] for place, word in enumerate(line) if word.startswith("--ro-bind")}
    assert shown <= {str(PYTHON), "/usr/bin/setpriv", "/usr/lib", "/usr/lib64", "/lib", "/lib64"}
    written = [word for word in line if word in ("--bind", "--bind-try", "--tmpfs", "--dev", "--proc")]
    assert written == []
    for word in ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session", "--clearenv"):
        assert word in line
    assert line[line.index("--seccomp") + 1] == "9"
    assert line[line.index("--remount-ro") + 1] == "/"
    nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"] if root else ["--unshare-user", "--uid", "65534"]
    assert all(word in line for word in nobody)


def test_what_is_bound_elsewhere_is_read_only_too() -> None:
    view = launch.View((PYTHON,), ((Path("/env/numpy"), Path("/packages/numpy")),))
    line = launch.bwrap_command(view, ["x"], None, root=True, user_id="61200")
    place = line.index("/env/numpy")
    assert line[place - 1 : place + 2] == ["--ro-bind-try", "/env/numpy", "/packages/numpy"]
    assert line[line.index("/packages") - 3 : line.index("/packages")] == ["--perms", "0755", "--dir"]
    assert "--reuid=61200" in line
    assert [word for word in line if word in ("--bind", "--bind-try", "--tmpfs", "--dev", "--proc")] == []


def decision(program: bytes, architecture: int, number: int, argument: int = 0) -> int:
    """What a filter decides for a call, found by interpreting its bytecode."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, argument, 0, 0, 0, 0, 0)
    place, loaded = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, 8 * place)
        place += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return value
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            place += if_true if holds else if_false


@pytest.mark.parametrize(
    ("machine", "architecture", "clone"), [("x86_64", 0xC000003E, 56), ("aarch64", 0xC00000B7, 220)]
)
def test_the_filter_allows_what_it_lists(machine: str, architecture: int, clone: int) -> None:
    program = seccomp.filter_program(machine)
    assert program is not None
    place = seccomp._MACHINES[machine][0]
    allowed = {n for n in range(600) if decision(program, architecture, n) == 0x7FFF0000}
    assert allowed == {numbers[place] for numbers in ALLOWED.values()} - {None} | {CLONE[place], *FORKS[place]}
    assert decision(program, architecture, clone, 0x01200011) == 0x7FFF0000  # fork
    assert decision(program, architecture, clone, 0x10000000) != 0x7FFF0000  # a user namespace
    assert decision(program, architecture ^ 1, 0) != 0x7FFF0000
    assert decision(program, architecture, 0x40000000) != 0x7FFF0000
    assert seccomp.filter_program("m68k") is None


@pytest.mark.parametrize(
    ("machine", "architecture", "clone"), [("x86_64", 0xC000003E, 56), ("aarch64", 0xC00000B7, 220)]
)
def test_the_filter_of_programs_allows_threads_only(machine: str, architecture: int, clone: int) -> None:
    program = seccomp.filter_program(machine, threads_only=True)
    assert program is not None
    again = 0x00050000 | 11
    thread = 0x003D0F00  # the flags of pthread_create
    assert decision(program, architecture, clone, thread) == 0x7FFF0000
    assert decision(program, architecture, clone, 0x01200011) == again  # fork
    assert decision(program, architecture, clone, 0x00004111) == again  # vfork
    assert decision(program, architecture, clone, thread | 0x10000000) == 0x00050000 | 38  # a user namespace
    place = seccomp._MACHINES[machine][0]
    allowed = {n for n in range(600) if decision(program, architecture, n, thread) == 0x7FFF0000}
    assert allowed == {numbers[place] for numbers in ALLOWED.values()} - {None} | {CLONE[place]}
    later = {n for n in range(600) if decision(program, architecture, n, thread) == again}
    assert later == set(FORKS[place])
    assert decision(program, architecture ^ 1, 0) == 0x00050000 | 38
    assert decision(program, architecture, 0x40000000) == 0x00050000 | 38


def test_the_numbers_are_this_kernels() -> None:
    """The numbers in the filter's table block the right calls on this machine."""
    if reason := launch.trouble():
        pytest.skip(f"no sandbox: {reason}")
    source = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def f(name):\n    getattr(libc, name)(0, 0, 0)\n    return ctypes.get_errno()\n"
    )
    (result,) = run_programs([Program(source, "f", (("shmget",), ("msgget",), ("unshare",), ("socket",)))])
    if seccomp.filter_program() is not None:
        assert [o.value for o in result.outcomes] == [38, 38, 38, 38]


def test_a_process_that_seems_to_have_ended_keeps_nobody_waiting(mode: str) -> None:
    source = "import os, time\ndef f(x):\n    os.closerange(0, 99)\n    time.sleep(600)\n"
    assert outcome(source, 1, limits=Limits(wall_seconds=3)).status in ("error", "timeout")


def test_subprocess_is_what_starts_them(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program runs in this process: without Popen, none runs at all."""
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(TypeError):
        outcome("def f(x): return x", 1)
