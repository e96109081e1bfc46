"""Damages and distorts files: single bits, pieces of bytes, and values inside JSON and YAML."""

from __future__ import annotations

import copy
import gzip
import io
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml


def flip(content: bytes, random: Random) -> bytes:
    """Flips one bit."""
    if not content:
        return b"\x01"
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, random: Random) -> bytes:
    """Cuts off an end, which may be everything."""
    return content[: random.randrange(len(content))] if content else b"x"


def hole(content: bytes, random: Random) -> bytes:
    """Overwrites a piece with zeros, as a disk block that was never written."""
    if not content:
        return b"\0"
    start = random.randrange(len(content))
    end = min(len(content), start + random.choice([1, 16, 512, 4096]))
    changed = content[:start] + b"\0" * (end - start) + content[end:]
    return changed if changed != content else flip(content, random)


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {"flip": flip, "cut": cut, "hole": hole}
"""what a disk does to a file"""


def piece(content: bytes, random: Random) -> bytes:
    """Replaces, repeats, inserts or removes a piece."""
    start = random.randrange(len(content) + 1)
    end = min(len(content), start + random.choice([0, 1, 2, 8, 64]))
    middle = random.choice(
        [
            b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\r\n", b"{", b"]", b'"', b"\\", b"- ",
            b": ", b"&a ", b"*a", b"!!", b"<<: ", b"\t", b"%", b"@", b"#", b"---\n", b"\xe2\x80\xa8", b"1e999",
            b"NaN", b"9" * 40, content[start:end] * 2, random.randbytes(random.randrange(1, 9)),
        ]
    )  # fmt: skip
    return content[:start] + middle + content[end:]


DEEP = 3000
"""levels of a value that no recursive reader survives"""


def hostile_value(random: Random) -> Any:
    """A value that may stand anywhere in JSON."""
    return copy.deepcopy(random.choice(_VALUES))


_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 10**18, 2**63, 2**64, 10**400, -(10**400), 0.0, -0.5, 1e308, float("nan"),
    float("inf"), "", " ", "x", "0", "-1", "1e5", "nan", "null", "\0", "\n", "\u2028", "\ud800", "a" * 300,
    "a/" * 2000, "../../../etc/passwd", "/", ".", "/dev/null", "/dev/zero", "\x1b[31mred",
    "<script>alert(1)</script>", "{", "{x}", "{0}", "{prompt.__class__}", "%s%n", "(", "(a+)+$", "[", "*", "é" * 50,
    "🙂", [], {}, [None], [[]], [0] * 1000, ["x"] * 3, {"a": 1}, {"": ""}, {"__class__": "x"}, [{"a": [{"b": [{}]}]}],
    {"name": "x"},
]  # fmt: skip


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value inside a value."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from paths_of(inner, (*path, key))


def distort(value: Any, random: Random) -> Any:
    """Changes one value inside: another value, no value, another key, a key twice as deep."""
    value = copy.deepcopy(value)
    places = list(paths_of(value))
    path = random.choice(places)
    if not path:
        return hostile_value(random)
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    last, action = path[-1], random.randrange(7)
    if action == 0:
        del holder[last]
    elif action == 1 and isinstance(holder, dict):
        holder[random.choice(["", "x", str(last) * 2, str(last)[:-1], "a" * 300, "\ud800", "\0"])] = holder.pop(last)
    elif action == 2 and isinstance(holder, dict):
        holder[random.choice(["unknown", "extends", "name", "__init__", "0"])] = hostile_value(random)
    elif action == 3:
        holder[last] = [holder[last]] * random.choice([1, 2, 50])
    elif action == 4:
        holder[last] = str(holder[last])
    else:
        holder[last] = hostile_value(random)
    return value


def json_text(value: Any, random: Random) -> bytes:
    """JSON of a distorted value, or of one that is nested too deeply."""
    choice = random.randrange(20)
    if choice == 0:
        return b"[" * DEEP + b"]" * DEEP
    if choice == 1:
        return b'{"a":' * DEEP + b"1" + b"}" * DEEP
    if choice == 2:
        return json.dumps(value).encode().replace(b"1", b"1" * 5000, 1)
    return json.dumps(distort(value, random), ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def json_document(content: bytes, random: Random) -> bytes:
    """A JSON document with a distorted value or damaged bytes."""
    if random.random() < 0.4:
        return raw(content, random)
    return json_text(json.loads(content), random)


def json_lines(content: bytes, random: Random) -> bytes:
    """JSON lines of which one is distorted, doubled, missing or damaged."""
    if random.random() < 0.3:
        return raw(content, random)
    lines = content.rstrip(b"\n").split(b"\n")
    place = random.randrange(len(lines))
    action = random.randrange(8)
    if action == 0:
        del lines[place]
    elif action == 1:
        lines.insert(random.randrange(len(lines) + 1), lines[place])
    elif action == 2:
        lines[place] = random.choice([b"", b" ", b"[]", b"null", b"1", b'"x"', b"{}", b"\xff\xfe", b"not json"])
    else:
        lines[place] = json_text(json.loads(lines[place]), random)
    return b"\n".join(lines) + random.choice([b"\n", b"", b"\n\n"])


BOMB = (
    "l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 9)) + "name: *l8\n"
)
"""a document of 500 bytes that means 43 million values"""
YAML_PIECES = (
    BOMB,
    "a: &a {a: *a}\n", "a: &a [*a]\nname: *a\n", '!!int ""', "!!float ''", "2020-99-99", "2020-02-30", "!!timestamp x",
    "9" * 5000, "0b" + "1" * 5000, "1:" * 500 + "1", "[" * DEEP, "{a: " * DEEP, "- " * DEEP + "x",
    "!!python/object:os.system {}", "!!python/object/apply:os.system ['true']", "!!binary x", "!!binary '!'",
    "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a]", "? [a, b]\n: c", "<<: x", "<<: [*x]", "*nothing", "&a &b c",
    "!<tag:x> y", "!u", "|\n x", ">\n\tx", '"\\ud800"', '"\\x00"', "~", "yes", "0o777", "0x", "1e400", ".nan", ".inf",
    "'", '"', "%YAML 9.9\n---\na", "---\na\n---\nb", "\u2028", "@a", "`a", "a: b: c",
)  # fmt: skip
"""texts that YAML readers stumble over"""


def yaml_document(content: bytes, random: Random) -> bytes:
    """A YAML document with a distorted value, a hostile piece of YAML, or damaged bytes."""
    action = random.randrange(10)
    if action < 3:
        return raw(content, random)
    if action < 6:
        lines = content.decode().split("\n")
        place = random.randrange(len(lines))
        piece_of_yaml = random.choice(YAML_PIECES)
        key, colon, _ = lines[place].partition(":")
        lines[place] = random.choice(
            [f"{key}{colon} {piece_of_yaml}", piece_of_yaml, f"{lines[place]}\n{piece_of_yaml}"]
        )
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    text = yaml.safe_dump(distort(yaml.safe_load(content), random), allow_unicode=random.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def raw(content: bytes, random: Random) -> bytes:
    """Damaged bytes, up to three times."""
    for _ in range(random.choice([1, 1, 2, 3])):
        content = random.choice([flip, cut, hole, piece, piece, piece])(content, random)
    return content


def packed(inner: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    """Gzip around distorted content, or a damaged gzip file."""

    def change(content: bytes, random: Random) -> bytes:
        if random.random() < 0.5:
            return raw(content, random)
        level, inside = random.choice([0, 1, 9]), inner(gzip.decompress(content), random)
        return gzip.compress(inside, level) + random.choice([b"", b"", b"\0" * 8, b"trailing"])

    return change


def parquet(content: bytes, random: Random) -> bytes:
    """A parquet file with other columns, types, values or metadata, or with damaged bytes."""
    action = random.randrange(8)
    if action < 3:
        return raw(content, random)
    table = pq.read_table(io.BytesIO(content))
    name = random.choice(table.column_names)
    place = table.column_names.index(name)
    if action == 3:
        table = table.drop_columns([name])
    elif action == 4:
        table = table.rename_columns([n if n != name else random.choice(["x", "", n * 50]) for n in table.column_names])
    elif action == 5:
        kind: Any = random.choice([pa.int64(), pa.string(), pa.null(), pa.list_(pa.int8()), pa.float32(), pa.binary()])
        table = table.set_column(place, name, pa.nulls(len(table), kind))
    elif action == 6:
        table = table.slice(0, random.randrange(len(table) + 1))
    else:
        table = table.replace_schema_metadata(
            random.choice([None, {"unit": b"\xff\xfe"}, {"unit": "x" * 5000}, {"a": "b"}])
        )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
