"""The program that runs inside the sandbox: it calls a function and writes each output as one line of tagged JSON.

The system's python3 receives this whole file as text, so that the file needs no import outside the standard library.
The parent process imports it for `encode` and `decode`, so that both sides use the same format. The format is plain
data, and nothing is unpickled:

    null, true, 1, 1.5, "text", [...]      None, bool, int, finite float, str, list
    {"tuple": [...]}                       also set, frozenset, iterator
    {"dict": [[key, value], ...]}
    {"int": "0x..."}                       an integer of more than 63 bits
    {"float": "nan"}, {"complex": ["1.0", "inf"]}, {"bytes": "00ff"}
    {"object": "deque"}                    anything else: only the name of its type
"""

from __future__ import annotations

import collections.abc
import json
import math
import os
import random
import resource
import sys
import time
import types
from typing import Any

_SMALL = 2**63


class Opaque:
    """Stands for an output that is no plain value. It equals only itself."""

    def __init__(self, kind: str) -> None:
        """Takes the name of the output's type."""
        self.kind = kind

    def __repr__(self) -> str:
        """The text in messages."""
        return f"a {self.kind} object"


def encode(value: Any) -> Any:
    """The value as data for JSON.

    An object of a subclass becomes the plain type that it extends. A single number of numpy or sympy becomes a plain
    number.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        value = int(value)
        return value if -_SMALL < value < _SMALL else {"int": hex(value)}
    if isinstance(value, float):
        value = float(value)
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [encode(part) for part in value]
    numbers = sys.modules.get("numbers")  # where it is not loaded, no number of numpy or sympy can be there
    if numbers is not None and isinstance(value, numbers.Integral):
        return encode(int(value))
    if numbers is not None and isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational):
        return encode(float(value))
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:  # its truth values
        return encode(value.item())
    return _encode_tagged(value)


def _encode_tagged(value: Any) -> dict[str, Any]:
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(part)] for key, part in value.items()]}
    if isinstance(value, complex):
        return {"complex": [repr(value.real), repr(value.imag)]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, collections.abc.Iterator):
        return {"iterator": [encode(part) for part in value]}
    return {"object": value.kind if isinstance(value, Opaque) else type(value).__name__}


def decode(data: Any) -> Any:
    """The value that `encode` turned into this data.

    Raises:
        ValueError: the data is not in the format.
        TypeError: the data is not in the format.
        RecursionError: the data is nested too deeply.
    """
    if isinstance(data, list):
        return [decode(part) for part in data]
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise ValueError("a tagged value has one tag")
    ((tag, content),) = data.items()
    if tag in _SEQUENCES:
        parts = [decode(part) for part in content]
        return _SEQUENCES[tag](_hashable(parts) if "set" in tag else parts)
    if tag == "dict":
        pairs = [(decode(key), decode(part)) for key, part in content]
        _hashable([key for key, _ in pairs])
        return dict(pairs)
    if tag == "int":
        return int(content, 16)
    if tag == "float":
        return float(content)
    if tag == "complex":
        real, imaginary = content
        return complex(float(real), float(imaginary))
    if tag == "bytes":
        return bytes.fromhex(content)
    if tag == "object" and isinstance(content, str):
        return Opaque(content[:80])
    raise ValueError("unknown tag")


def _hashable(parts: list[Any]) -> list[Any]:
    """The parts, unless they were chosen to have equal hashes, which would make building a set extremely slow."""
    if len(parts) > 1000 and 2 * len({hash(part) for part in parts}) < len(parts):
        raise ValueError("members chosen to collide")
    return parts


_SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "iterator": iter}


def _named(error: BaseException, place: str) -> str:
    """What a row says about an error. A missing module is not the program's mistake, and is named as such."""
    if isinstance(error, ModuleNotFoundError) and isinstance(error.name, str):
        return f"module: {error.name[:80]} is missing"
    return f"{place} raised {type(error).__name__}"


def main() -> None:
    """Reads the job from standard input, limits this process, and answers one call after the other."""
    job = json.load(sys.stdin)
    results = os.dup(1)
    sink = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # discards what the program prints; results have a descriptor of their own
        os.dup2(sink, descriptor)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.putenv(name, "1")  # for libraries only: the program finds no environment variables
    for name in ("MALLOC_ARENA_MAX", "PYTHONHASHSEED"):
        os.environ.pop(name, None)  # the C library and Python have read them
    # without the working folder, and with the folder of the packages that are offered
    sys.path[:] = [*filter(None, sys.path), sys.argv.pop()]
    for name, value in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))

    def report(status: str, value: Any) -> None:
        line = json.dumps([status, value], allow_nan=False).encode() + b"\n"
        if len(line) > job["value_bytes"]:
            line = json.dumps(["error", f"the program returned more than {job['value_bytes']} bytes"]).encode() + b"\n"
        while line:
            line = line[os.write(results, line) :]

    # BaseException is caught, because foreign code may raise anything
    random.seed(0)
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module  # dataclasses look up their module
    try:
        exec(compile(job["source"], "candidate", "exec"), module.__dict__)
        exec(compile(job["setup"], "setup", "exec"), module.__dict__)
        function = getattr(module, job["entry"])
    except BaseException as error:
        failure = _named(error, "defining the program")
        for _ in job["calls"]:
            report("error", failure)
    else:
        started = time.process_time()
        for call in job["calls"]:
            try:
                value = eval(call, module.__dict__) if isinstance(call, str) else function(*decode(call))
                report("ok", encode(value))
            except BaseException as error:
                report("error", _named(error, "the program"))
        report("end", time.process_time() - started)
    os._exit(0)


if __name__ == "__main__":
    main()
