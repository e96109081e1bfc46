"""The packages outside the standard library that a sandbox offers, where they are installed.

Each package and what it needs is bound read-only below `PLACE`, and nothing else of the folder where it is installed is
shown. The packages come from our own environment where the system's python3 can import them, and else from the system.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

PLACE = Path("/packages")
"""where programs find the packages; `inside.py` puts this folder at the end of the search path of modules"""
NEEDS: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy.libs",),
    "pandas": ("pandas.libs", "numpy", "numpy.libs", "dateutil", "six", "pytz", "tzdata"),
    "scipy": ("scipy.libs", "numpy", "numpy.libs"),
    "sympy": ("mpmath",),
}
"""offered package -> the folders and modules beside it that it needs, where they exist"""

Binding = tuple[Path, Path]
"""(path on the host, path inside the sandbox)"""


def folders() -> list[Path]:
    """The folders in which packages may be installed: those of our environment, then the system's."""
    own = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    system = [
        Path("/usr/lib/python3/dist-packages"),
        *sorted(Path("/usr/local/lib").glob("python3*/dist-packages")),
        *sorted(Path("/usr/lib64").glob("python3*/site-packages")),
        *sorted(Path("/usr/lib").glob("python3*/site-packages")),
    ]
    return [folder for folder in dict.fromkeys(own + system) if folder.is_dir()]


def bindings(folder: Path, names: Iterable[str]) -> tuple[Binding, ...]:
    """What to bind so that packages of one folder can be imported."""
    parts = dict.fromkeys(part for name in names for part in (name, *NEEDS[name]))
    found = (path for part in parts for path in (folder / part, folder / f"{part}.py") if path.exists())
    return tuple((path, PLACE / path.name) for path in found)


def choose(
    places: Sequence[Path], importable: Callable[[tuple[Binding, ...], Sequence[str]], Iterable[str]]
) -> tuple[tuple[str, ...], tuple[Binding, ...]]:
    """The packages that can be offered, and their bindings. Each comes from the first folder where it can be imported.

    Args:
        places: the folders, in order of preference.
        importable: (bindings, names) -> the names that a sandbox with these bindings can import.
    """
    offered: list[str] = []
    bound: dict[Path, Path] = {}
    for folder in places:
        there = [name for name in NEEDS if name not in offered and (folder / name).is_dir()]
        works = set(importable(bindings(folder, there), there)) if there else set()
        chosen = [name for name in there if name in works]
        offered += chosen
        for source, place in bindings(folder, chosen):
            bound.setdefault(place, source)
    return tuple(sorted(offered)), tuple((source, place) for place, source in bound.items())
