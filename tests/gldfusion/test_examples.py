"""Forms of training data: conversations of two kinds, files of several formats, the hub, mixtures."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from pyarrow import feather, parquet

from gldfusion.align import encode_messages
from gldfusion.errors import InputError
from gldfusion.examples import load_examples, mixture_sizes, read_examples
from gldfusion.fuse import fuse
from gldfusion.model import load_tokenizer
from gldfusion.recipe import DataPart, Recipe, load_recipe
from gldfusion.sources import Example, encode_example

USER, REPLY = {"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}
SYSTEM = {"role": "system", "content": "Be short."}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "5", "tool_call_id": "1"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
CHATML = (
    "{% if tools %}<|user|>{{ tools | length }} tools{% endif %}{% for m in messages %}<|user|>{{ m.role }}\n"
    "{{ m.content }}{% if m.tool_calls %}CALL{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|user|>assistant\n{% endif %}"
)


def written(path: Path, records: list[Any], before: str = "") -> Path:
    path.write_text(before + "".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def one(folder: Path, record: Any) -> Example:
    (example,) = read_examples(written(folder / "data.jsonl", [record]))
    return example


def test_a_conversation_with_a_system_turn_and_tools(tmp_path: Path) -> None:
    messages = [SYSTEM, USER, CALLING, RESULT, REPLY, {**USER, "content": "Thanks"}, {**REPLY, "content": "Yes"}]
    example = one(tmp_path, {"messages": messages, "tools": [TOOL]})
    assert example.messages == messages
    assert example.tools == [TOOL]
    assert example.replies == ["5", "Yes"]
    assert (example.prompt, example.response) == ("Thanks", "Yes")
    assert one(tmp_path, {"messages": messages, "tools": json.dumps([TOOL])}) == example
    assert one(tmp_path, {"messages": messages}).key != example.key


def test_a_plain_conversation_keeps_its_key(tmp_path: Path) -> None:
    example = one(tmp_path, {"messages": [USER, REPLY, USER, REPLY]})
    assert example == Example("0", "2 + 3?", "5", (("2 + 3?", "5"),))
    assert one(tmp_path, {"messages": [USER, REPLY]}).key == Example("1", "2 + 3?", "5").key
    assert one(tmp_path, {"messages": [SYSTEM, USER, REPLY]}).key != Example("1", "2 + 3?", "5").key


def test_parts_of_a_content_are_joined(tmp_path: Path) -> None:
    content = [{"type": "text", "text": "2 +"}, {"type": "text", "text": " 3?"}]
    assert one(tmp_path, {"messages": [{**USER, "content": content}, REPLY]}).prompt == "2 + 3?"
    picture = [{"type": "image", "url": "x"}]
    with pytest.raises(InputError, match=r"line 1: .*got the type 'image'"):
        one(tmp_path, {"messages": [{**USER, "content": picture}, REPLY]})


@pytest.mark.parametrize("said", [{"prompt": "1 + 1?", "response": "2"}, {"messages": [USER, REPLY]}])
def test_a_group_is_read_and_is_no_part_of_the_key(tmp_path: Path, said: dict[str, Any]) -> None:
    plain, grouped = read_examples(written(tmp_path / "data.jsonl", [said, said | {"group": "sums"}]))
    assert (plain.group, grouped.group) == ("", "sums")
    assert plain.key == grouped.key


def test_sharegpt(tmp_path: Path) -> None:
    said = [("system", "Be short."), ("human", "2 + 3?"), ("gpt", "5")]
    example = one(tmp_path, {"id": "s/1", "conversations": [{"from": who, "value": text} for who, text in said]})
    assert example.messages == [SYSTEM, USER, REPLY]
    assert example.id == "s/1"
    plain = one(tmp_path, {"conversations": [{"from": "human", "value": "2 + 3?"}, {"from": "gpt", "value": "5"}]})
    assert plain == Example("0", "2 + 3?", "5")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [SYSTEM, REPLY]}, "got \\['system', 'assistant'\\]"),
        ({"messages": [USER, USER, REPLY]}, "alternate"),
        ({"messages": [USER, SYSTEM, REPLY]}, "alternate"),
        ({"messages": [USER, RESULT, REPLY]}, "alternate"),
        ({"messages": [USER, CALLING]}, "the last turn calls a tool"),
        ({"messages": [{"role": "bot", "content": "x"}, REPLY]}, "no role is called 'bot'"),
        ({"messages": [{"role": ["user"], "content": "x"}, REPLY]}, "no role is called"),
        ({"messages": {"a": 1}}, '"messages" must be a list'),
        ({"messages": ["x"]}, "a turn must be an object"),
        ({"messages": [{"role": "user"}, REPLY]}, "no 'content'"),
        ({"messages": [USER, REPLY], "tools": "{"}, "Expecting property name"),
        ({"messages": [USER, {**REPLY, "content": "\ud800"}]}, "surrogates"),
        ({"conversations": [{"from": "human"}, {"from": "gpt", "value": "x"}]}, "no 'content'"),
        ({"conversations": [{"value": "x"}]}, "no 'role'"),
    ],
)
def test_wrong_conversations_are_named(tmp_path: Path, record: Any, reason: str) -> None:
    with pytest.raises(InputError, match=rf"data\.jsonl, line 1: .*{reason}") as caught:
        one(tmp_path, record)
    assert len(str(caught.value).splitlines()) == 2
    key = "conversations" if "conversations" in record else "messages"
    assert f'expected {{"{key}"' in str(caught.value)


def test_byte_order_mark_empty_lines_and_arrays(tmp_path: Path) -> None:
    records = [{"prompt": "a", "response": "b\u2028"}, {"id": "x", "prompt": "c", "response": "d"}]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + f"{lines[0]}\r\n\n   \n{lines[1]}\n\n".encode())
    assert read_examples(tmp_path / "a.jsonl") == [Example("0", "a", "b\u2028"), Example("x", "c", "d")]
    for mark in (b"", b"\xef\xbb\xbf", b" \n"):
        (tmp_path / "b.json").write_bytes(mark + json.dumps(records, indent=1).encode())
        assert read_examples(tmp_path / "b.json") == [Example("0", "a", "b\u2028"), Example("x", "c", "d")]
    (tmp_path / "c.json").write_text('[{"prompt": "a", "response": "b"}, {"prompt": "a"}]')
    with pytest.raises(InputError, match=r"c\.json, entry 2: no 'response'"):
        read_examples(tmp_path / "c.json")
    for content in (b"", b"\xef\xbb\xbf", b"\n\n", b"[]"):
        (tmp_path / "d.json").write_bytes(content)
        with pytest.raises(InputError, match="holds no examples"):
            read_examples(tmp_path / "d.json")
    (tmp_path / "e.jsonl").write_text(f"{lines[0]}\n\n{{\n")
    with pytest.raises(InputError, match=r"e\.jsonl, line 3: "):
        read_examples(tmp_path / "e.jsonl")


RECORDS = [
    {"id": "1", "prompt": "a", "response": "b"},
    {"id": "2", "messages": [SYSTEM, USER, CALLING, RESULT, REPLY]},
    {"id": "3", "conversations": [{"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}]},
]


FIELDS = ("id", "prompt", "response", "messages", "conversations")
WHOLE = [{name: record.get(name) for name in FIELDS} for record in RECORDS]
"""the records as rows of a table, which all have all fields"""


def as_stream(table: pyarrow.Table, path: str) -> None:
    with pyarrow.OSFile(path, "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


WRITERS: Mapping[str, Callable[[pyarrow.Table, str], Any]] = {
    "data.parquet": parquet.write_table,
    "data.arrow": as_stream,
    "data.feather": feather.write_feather,
}


@pytest.mark.parametrize("name", WRITERS)
def test_tables_hold_the_examples_of_json_lines(tmp_path: Path, name: str) -> None:
    """In a table every row has all fields; those that a record lacks are null."""
    WRITERS[name](pyarrow.Table.from_pylist(WHOLE), str(tmp_path / name))
    expected = read_examples(written(tmp_path / "data.jsonl", RECORDS))
    assert read_examples(tmp_path / name) == expected
    assert [example.key for example in read_examples(tmp_path / name)] == [example.key for example in expected]
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"{name} cannot be read as") as caught:
        read_examples(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 2
    WRITERS[name](pyarrow.table({"text": ["x"]}), str(tmp_path / name))
    with pytest.raises(InputError, match=rf"{name}, row 1: no 'prompt'"):
        read_examples(tmp_path / name)


def test_files_of_datasets_are_read(tmp_path: Path) -> None:
    datasets.Dataset.from_list(RECORDS[:1] * 3).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    assert read_examples(file) == [Example("1", "a", "b")] * 3


def test_the_hub_is_asked_by_the_signature_of_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = inspect.signature(datasets.load_dataset), []

    def load(*arguments: Any, **named: Any) -> datasets.Dataset:
        made.append(real.bind(*arguments, **named).arguments)
        return datasets.Dataset.from_list(WHOLE)

    monkeypatch.setattr(datasets, "load_dataset", load)
    part = DataPart(hub="owner/name", subset="small", split="test", revision="abc")
    assert [example.id for example in load_examples([part])] == ["1", "2", "3"]
    assert made == [{"path": "owner/name", "name": "small", "split": "test", "revision": "abc"}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list([{"text": "x"}]))
    with pytest.raises(InputError, match="owner/name, row 1: no 'prompt'"):
        load_examples([part])


def test_without_a_network_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"data set owner/none-such-data cannot be loaded from the hub: .*\n.*HF_HUB_OFFLINE"
    ):
        load_examples([DataPart(hub="owner/none-such-data")])


def mixture(folder: Path, **weights: float | None) -> list[DataPart]:
    sizes = {"a": 30, "b": 50, "c": 20}
    return [
        DataPart(
            path=written(
                folder / f"{name}.jsonl", [{"prompt": f"{name}{i}", "response": "x"} for i in range(sizes[name])]
            ),
            weight=weight,
        )
        for name, weight in weights.items()
    ]


def test_a_mixture_has_the_shares_of_its_weights(tmp_path: Path) -> None:
    parts = mixture(tmp_path, a=3, b=1, c=1)
    found = load_examples(parts)
    counts = {name: sum(e.id.startswith(f"{name}/") for e in found) for name in "abc"}
    assert counts == {"a": 30, "b": 10, "c": 10}  # 30 of `a` are 3 fifths
    assert load_examples(parts) == found
    assert len({e.key for e in found}) == 50, "an example is repeated"
    assert [e.prompt for e in found] != [e.prompt for e in load_examples(parts, seed=1)]
    order = [int(e.prompt[1:]) for e in found if e.id.startswith("b/")]
    assert order == sorted(order)
    smaller = load_examples(mixture(tmp_path, a=3, b=0.5, c=1))
    kept = {e.id for e in found if e.id.startswith("b/")}
    assert {e.id for e in smaller if e.id.startswith("b/")} < kept


def test_without_weights_everything_is_read(tmp_path: Path) -> None:
    found = load_examples(mixture(tmp_path, a=None, b=None))
    assert [e.id for e in found[:2]] == ["a/0", "a/1"]
    assert len(found) == 80


def test_a_part_without_a_share_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the share of c in the mixture holds no example"):
        load_examples(mixture(tmp_path, a=1, c=0.001))
    assert mixture_sizes([3, 10], np.array([0.5, 0.5])) == [3, 3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[{path: a.jsonl, weight: 1}, {path: b.jsonl}]", "give all a weight, or none"),
        ("{path: a.jsonl, hub: x}", "give either `path` or `hub`"),
        ("{split: x}", "give either `path` or `hub`"),
        ("{path: a.jsonl, split: test}", "give `hub`, not `path`"),
        ("{hubb: x}", r'unknown key "data.0.hubb" .*did you mean "hub"'),
        ("{hub: x, weight: -1}", "data.0.weight"),
        ("[]", "data"),
        ("3", "data.0"),
        ("{path: nowhere.jsonl}", "not found"),
    ],
)
def test_wrong_data_of_a_recipe_are_named(tmp_path: Path, data: str, message: str) -> None:
    from gldfusion.recipe_paths import check_paths

    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: x\npivot: p\ndata: {data}\ntrain: {{steps: 1, batch_size: 1, learning_rate: 0.1}}\n")
    with pytest.raises(InputError, match=message) as caught:
        check_paths(load_recipe(path))
    assert len(str(caught.value).splitlines()) <= 3


def test_tool_calls_are_read_and_replies_are_labelled(models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(models["pivot"])
    tokenizer.chat_template = CHATML
    messages = [SYSTEM, USER, CALLING, RESULT, REPLY, {**USER, "content": "Thanks"}, {**REPLY, "content": "Yes"}]
    encoded = encode_messages(tokenizer, messages, 1000, [TOOL])
    assert encoded.replies is not None
    assert [tokenizer.decode(encoded.ids[first:last]) for first, last in encoded.replies] == ["5<|end|>", "Yes<|end|>"]
    text = tokenizer.decode(encoded.ids)
    assert text.startswith("<|user|>1 tools<|user|>system\nBe short.<|end|><|user|>user\n2 + 3?<|end|>")
    assert "CALL<|end|><|user|>tool\n5<|end|><|user|>assistant\n5<|end|>" in text


def test_a_model_without_template_reads_the_contents(models: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(models["llama"])
    example = Example("x", "", "", chat=json.dumps({"messages": [SYSTEM, USER, REPLY, USER, REPLY]}))
    encoded = encode_example(tokenizer, example, 1000)
    assert tokenizer.decode(encoded.ids) == "<s>Be short.\n\n2 + 3?5<|end|>2 + 3?5<|end|>"
    assert encoded.starts == [0, 1, 2, 3]


def test_a_fusion_on_a_mixture_of_forms(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path
) -> None:
    parquet.write_table(pyarrow.Table.from_pylist([RECORDS[0]] * 4), tmp_path / "a.parquet")
    said = [{"conversations": [{"from": "human", "value": f"q{i}"}, {"from": "gpt", "value": "d"}]} for i in range(4)]
    written(tmp_path / "b.jsonl", said, "\ufeff")
    data = [{"path": tmp_path / "a.parquet", "weight": 1}, {"path": tmp_path / "b.jsonl", "weight": 1}]
    output = fuse(make_recipe(data=data, steps=1, batch_size=4), tmp_path / "out")
    provenance = json.loads((output / "fusion.json").read_text())
    assert provenance["chat_date"] == "2024-07-26"
    assert [part["path"] for part in provenance["recipe"]["data"]] == [str(p["path"]) for p in data]
    assert "a.parquet, b.jsonl" in (output / "README.md").read_text()
    stops = json.loads((output / "generation_config.json").read_text())["eos_token_id"]
    tokenizer = load_tokenizer(models["pivot"])
    assert stops == [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|user|>")]
