"""Describes the environment of a run: commit, versions, device, threads. Only numbers with equal env_id compare."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gldbench.schema import Environment
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, hash_json, write_json
from gldfusion.manifest import MANIFEST, change_manifest, read_manifest, verify_manifest
from gldfusion.reading import plain_line, read_object, read_text

PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "safetensors",
    "lm-eval",
    "numpy",
    "scipy",
    "pandas",
    "POT",
    "evalplus",
    "math-verify",
    "triton",
    "mergekit",
)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """Output of git in the folder of this source, or None without git or a repository."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # some are optional; an absent package is not part of the environment
    return found


def _device() -> tuple[str, str | None]:
    driver = Path("/proc/driver/nvidia/version")
    if not driver.is_file():
        return "cpu", None
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        name, version = (
            subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(", ")
        )
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "cpu", None
    return name, version


def environment(threads: int, workers: int) -> Environment:
    """The environment of this process.

    Args:
        threads: torch threads of each worker.
        workers: number of worker processes.
    """
    device, driver = _device()
    facts = {
        "python": platform.python_version(),
        "packages": _packages(),
        "device": device,
        "driver": driver,
        "cpu": _cpu(),
        "threads": {"cores": os.cpu_count() or 1, "per_worker": threads, "workers": workers},
    }
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name)  # None for a wheel inside some other repository
    status = _git("status", "--porcelain") if ours else None
    return Environment(
        **facts,
        env_id=hash_json(facts)[:12],
        commit=_git("rev-parse", "HEAD") if ours else None,
        dirty=None if status is None else bool(status),
    )


ENVIRONMENT, SPEC = "environment.json", "spec.yaml"
"""names of the files that say how the results of a folder were made"""


def claim(folder: Path, env: Environment, spec: str | None = None) -> None:
    """Writes environment and spec into a new output folder, or checks those of an existing one.

    Args:
        folder: folder of the results; environment.json and, with a spec, spec.yaml are written to it.
        env: the environment of this process.
        spec: the YAML text of the experiment; None for a folder that can hold several.

    Raises:
        InputError: the folder holds results of another spec or another environment, or one of the files is damaged.
    """
    mend = "move the folder away, or choose another one with --output"
    verify_claim(folder)
    environment_path, spec_path = folder / ENVIRONMENT, folder / SPEC
    if spec is not None and spec_path.exists() and read_text(spec_path, "spec", mend) != spec:
        raise InputError(
            f"{folder} holds another version of this experiment: its spec.yaml differs from this spec\n{mend}"
        )
    if (environment_path if spec is None else spec_path).exists():
        before = read_environment(folder).env_id
        if before != env.env_id:
            raise InputError(
                f"{folder} was begun in another environment ({before}, this one is {env.env_id}): numbers of different "
                f"machines or package versions cannot be compared\n{mend}"
            )
    else:
        write_json(environment_path, dataclasses.asdict(env))
        if spec is not None:
            with atomic_write(spec_path, "w") as file:
                file.write(spec)
    # those of an earlier process that was killed before it listed them are listed now
    written = [ENVIRONMENT] if spec is None else [ENVIRONMENT, SPEC]
    change_manifest(folder, add=[name for name in written if name not in _listed(folder)])


def verify_claim(folder: Path) -> None:
    """Compares environment.json and spec.yaml of a folder with its manifest. Older versions wrote no manifest.

    Raises:
        InputError: a file is damaged or missing.
    """
    mend = "put the file back, or move the folder away and make it again"
    names = [name for name in (ENVIRONMENT, SPEC) if name in _listed(folder)]
    if names:
        verify_manifest(folder, "run", mend, names)


def read_environment(folder: Path) -> Environment:
    """Reads environment.json of a folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / ENVIRONMENT
    mend = "give the folder of a run; `gldbench run` makes one"
    content = read_object(path, "environment of the run", mend)
    try:
        return TypeAdapter(Environment).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path} is damaged: {where}: {plain_line(ValueError(first['msg']))}\n{mend}") from None


def _listed(folder: Path) -> Collection[str]:
    mend = "delete this file and run the same command again; it makes a new one"
    return read_manifest(folder, "run", mend) if (folder / MANIFEST).exists() else ()
