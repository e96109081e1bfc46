"""The format in which values leave the process of a program: tagged JSON, one line per call.

`inside.py` receives this whole file as text, so that the file needs no import outside the standard library. The parent
process imports it, so that both sides use the same format. The format is plain data, and nothing is unpickled:

    null, true, 1, 1.5, "text", [...]      None, bool, int, finite float, str, list
    {"tuple": [...]}                       also set, frozenset, iterator
    {"dict": [[key, value], ...]}
    {"int": "0x..."}                       an integer of more than 63 bits
    {"float": "nan"}, {"complex": ["1.0", "inf"]}, {"bytes": "00ff"}
    {"decimal": "1.50"}, {"fraction": ["0x1", "0x2"]}
    {"object": "deque"}                    anything else: only the name of its type

Decoding can take any time and memory. What a foreign program wrote is decoded in a process with limits only.
"""

from __future__ import annotations

import collections
import collections.abc
import json
import math
import sys

TYPE_CHECKING = False  # typing takes a sixth of the time in which the process of a program starts
if TYPE_CHECKING:
    from typing import Any

MOST_DEEP = 100
"""a value may be nested so deeply"""
MOST_PARTS = 10_000_000
"""a value may have so many parts"""
MOST_EQUAL_HASHES = 1000
"""so many members of a set may have the same hash"""
LONGEST_REASON = 1000
"""bytes of a line that states an error; a longer one is not read"""
_SMALL = 2**63


class NotPlainError(ValueError):
    """A value that is too deep or too large to be written or read. The message says which."""


class Opaque:
    """Stands for an output that is no plain value. It equals only itself."""

    def __init__(self, kind: str) -> None:
        """Takes the name of the output's type."""
        self.kind = kind

    def __repr__(self) -> str:
        """The text in messages."""
        return f"a {self.kind} object"


class Outcome(collections.namedtuple("Outcome", ("status", "value", "reason"), defaults=(None, ""))):
    """The result of one call.

    Fields:
        status: "ok", "error" or "timeout".
        value: the returned value, as a plain value or `Opaque`.
        reason: why there is no value; "" where there is one.
    """

    __slots__ = ()


class Outcomes(list):  # type: ignore[type-arg]
    """The `Outcome` of each call of one program, in order."""

    def failed(self) -> Outcome | None:
        """The first call that ran out of time, or else the first that failed. None where all returned a value."""
        for status in ("timeout", "error"):
            for outcome in self:
                if outcome.status == status:
                    return outcome
        return None


def encode(value: Any, deep: int = MOST_DEEP) -> Any:
    """The value as data for JSON.

    An object of a subclass becomes the plain type that it extends. A single number of numpy or sympy becomes a plain
    number.

    Raises:
        NotPlainError: the value is nested more than `deep` levels.
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
    if deep < 1:
        raise NotPlainError(f"a value nested more than {MOST_DEEP} levels deep")
    if isinstance(value, list):
        return [encode(part, deep - 1) for part in value]
    numbers = sys.modules.get("numbers")  # where it is not loaded, no number of numpy or sympy can be there
    if numbers is not None and isinstance(value, numbers.Integral):
        return encode(int(value))
    if numbers is not None and isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational):
        return encode(float(value))
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:  # its truth values
        return encode(value.item(), deep - 1)
    return _encode_tagged(value, deep - 1)


def _encode_tagged(value: Any, deep: int) -> dict[str, Any]:
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(part, deep) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, deep), encode(part, deep)] for key, part in value.items()]}
    if isinstance(value, complex):
        return {"complex": [repr(value.real), repr(value.imag)]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, collections.abc.Iterator):
        return {"iterator": [encode(part, deep) for part in value]}
    for module, name in (("fractions", "Fraction"), ("decimal", "Decimal")):
        if isinstance(value, getattr(sys.modules.get(module), name, ())):
            return _encode_number(name, value)
    return {"object": value.kind if isinstance(value, Opaque) else type(value).__name__}


def _encode_number(name: str, value: Any) -> dict[str, Any]:
    if name == "Decimal":
        return {"decimal": str(value)}
    return {"fraction": [hex(value.numerator), hex(value.denominator)]}


def decode(data: Any, deep: int = MOST_DEEP) -> Any:
    """The value that `encode` turned into this data.

    Raises:
        NotPlainError: the data is nested more than `deep` levels.
        ValueError: the data is not in the format.
        TypeError: the data is not in the format.
    """
    if not isinstance(data, (list, dict)):
        return data
    if deep < 1:
        raise NotPlainError(f"a value nested more than {MOST_DEEP} levels deep")
    if isinstance(data, list):
        return [decode(part, deep - 1) for part in data]
    if len(data) != 1:
        raise ValueError("a tagged value has one tag")
    ((tag, content),) = data.items()
    if tag in _SEQUENCES:
        parts = [decode(part, deep - 1) for part in content]
        return _SEQUENCES[tag](_hashable(parts) if "set" in tag else parts)
    if tag == "dict":
        pairs = [(decode(key, deep - 1), decode(part, deep - 1)) for key, part in content]
        _hashable([key for key, _ in pairs])
        return dict(pairs)
    if tag == "object" and isinstance(content, str):
        return Opaque(content[:80])
    if tag in _SCALARS:
        return _SCALARS[tag](content)
    raise ValueError("unknown tag")


def _hashable(parts: list[Any]) -> list[Any]:
    """The parts, unless they were chosen to have equal hashes, which would make building a set extremely slow."""
    if len(parts) > MOST_EQUAL_HASHES:
        counts = collections.Counter(hash(part) for part in parts)
        if max(counts.values()) > MOST_EQUAL_HASHES:
            raise ValueError("members chosen to collide")
    return parts


def _decimal(text: Any) -> Any:
    import decimal

    if not isinstance(text, str):
        raise TypeError("a decimal number is written as text")
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError("no decimal number") from None


def _fraction(parts: Any) -> Any:
    import fractions

    numerator, denominator = (int(part, 16) for part in parts)
    if denominator <= 0:
        raise ValueError("no fraction")
    return fractions.Fraction(numerator, denominator)


def _complex(parts: Any) -> complex:
    real, imaginary = parts
    return complex(float(real), float(imaginary))


_SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "iterator": iter}
_SCALARS: dict[str, Any] = {
    "int": lambda text: int(text, 16),
    "float": float,
    "complex": _complex,
    "bytes": bytes.fromhex,
    "decimal": _decimal,
    "fraction": _fraction,
}


def outcomes(output: bytes, calls: int, ending: Outcome) -> Outcomes:
    """What a program's lines say about its calls. Whatever the lines hold, they are only read as data.

    Args:
        output: what the program wrote.
        calls: number of calls.
        ending: the outcome of the calls for which there is no line.
    """
    found = Outcomes(_outcome(line) for line in output.split(b"\n", calls)[:-1][:calls])
    found.extend([ending] * (calls - len(found)))
    return found


def _outcome(line: bytes) -> Outcome:
    try:
        if line.count(b",") > MOST_PARTS:
            raise NotPlainError(f"a value of more than {MOST_PARTS} parts")
        status, value = json.loads(line)
        if status == "ok":
            return Outcome("ok", decode(value))
    except NotPlainError as error:
        return Outcome("error", reason=f"the program returned {error}")
    except RecursionError:
        return Outcome("error", reason=f"the program returned a value nested more than {MOST_DEEP} levels deep")
    except (ValueError, TypeError, OverflowError):
        pass
    return failure(line)


def failure(line: bytes) -> Outcome:
    """The outcome in a line that states an error. A line that states none is an error too."""
    try:
        status, value = json.loads(line[:LONGEST_REASON])
    except (ValueError, TypeError, RecursionError):
        status, value = None, None
    if status == "error" and isinstance(value, str):
        return Outcome("error", reason=value[:200])
    return Outcome("error", reason="the program's output is no plain value")
