"""Writes signatures.json: names and parameters of vLLM and datasets that this project calls, read from their wheels.

    python tests/gldbench/generate/make_signatures.py WHEEL... > tests/gldbench/generate/signatures.json

A wheel comes from `pip download --no-deps vllm`. It is read and not installed: vLLM needs a GPU.
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from typing import Any

WANTED: dict[str, dict[str, tuple[str, str]]] = {
    "vllm": {
        "LLM": ("vllm/entrypoints/llm.py", "LLM.__init__"),
        "LLM.generate": ("vllm/entrypoints/llm.py", "LLM.generate"),
        "LLMEngine": ("vllm/v1/engine/llm_engine.py", "LLMEngine.__init__"),
        "EngineArgs": ("vllm/engine/arg_utils.py", "EngineArgs"),
        "SamplingParams": ("vllm/sampling_params.py", "SamplingParams"),
        "TokensPrompt": ("vllm/inputs/llm.py", "TokensPrompt"),
        "LoRARequest": ("vllm/lora/request.py", "LoRARequest"),
        "RequestOutput": ("vllm/outputs.py", "RequestOutput.__init__"),
        "CompletionOutput": ("vllm/outputs.py", "CompletionOutput"),
        "Logprob": ("vllm/logprobs.py", "Logprob"),
        "vllm.tokenizers.get_tokenizer": ("vllm/tokenizers/registry.py", "get_tokenizer"),
        "vllm.renderers.hf.resolve_chat_template": ("vllm/renderers/hf.py", "resolve_chat_template"),
    },
    "datasets": {
        "load_dataset": ("datasets/load.py", "load_dataset"),
        "DownloadManager": ("datasets/download/download_manager.py", "DownloadManager.__init__"),
        "DownloadManager.download": ("datasets/download/download_manager.py", "DownloadManager.download"),
    },
}
"""package -> our name -> (file in the wheel, name in the file)"""


def signature(tree: ast.Module, name: str) -> dict[str, Any]:
    """The parameters of a function, or the fields of a class."""
    body: list[ast.stmt] = tree.body
    node: ast.stmt | None = None
    for part in name.split("."):
        node = next(
            n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and n.name == part
        )
        body = node.body
    if isinstance(node, ast.ClassDef):
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        return {
            "fields": [n.target.id for n in fields if isinstance(n.target, ast.Name)],
            "bases": [ast.unparse(base) for base in node.bases],
        }
    assert isinstance(node, ast.FunctionDef)
    arguments = node.args
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args) if a.arg != "self"]
    required = len(positional) - len(arguments.defaults)
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {
        "positional": positional,
        "keyword_only": [a.arg for a in arguments.kwonlyargs],
        "required": [*positional[: max(0, required)], *(a.arg for a, default in named if default is None)],
        "var_positional": arguments.vararg is not None,
        "var_keyword": arguments.kwarg is not None,
        "assigns": sorted(
            n.attr
            for n in ast.walk(node)
            if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and ast.unparse(n.value) == "self"
        ),
    }


def main(wheels: list[str]) -> None:
    """Prints the signatures of all wheels as JSON."""
    found: dict[str, Any] = {}
    for wheel in wheels:
        package, version = wheel.rpartition("/")[2].split("-")[:2]
        with zipfile.ZipFile(wheel) as files:
            found[package] = {"version": version}
            for name, (file, place) in WANTED[package].items():
                found[package][name] = signature(ast.parse(files.read(file)), place)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
