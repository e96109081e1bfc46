"""What the command lines of all benchmark scripts share: checked options, `--quick`, `--json`, errors, exit codes."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gldfusion.errors import InputError, require_known

QUICK_NOTE = "--quick: a small size that shows that the benchmark works; its numbers are not those of the reports"
KERNEL_ROWS = Path("reports/kernels")
"""folder of the committed rows of the kernel benchmarks"""


class Script(argparse.ArgumentParser):
    """The command line of one script. Every option may have another default under `--quick`.

    Args:
        name: name of the module in `gldbench.benches`.
        description: what the script measures, for `--help`.
    """

    def __init__(self, name: str, description: str | None) -> None:
        super().__init__(
            prog=f"python -m gldbench.benches.{name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._by_size: dict[str, tuple[Any, Any]] = {}
        self._by_check: dict[str, Callable[[Any], object]] = {}
        self.add_argument("--json", action="store_true", help="Print one JSON document on standard output.")
        self.add_argument("--quick", action="store_true", help="Use a small size that ends within about 20 seconds.")

    def option(self, flag: str, default: Any, help: str, *, quick: Any = None, **settings: Any) -> None:
        """Adds an option; `quick` is its default under `--quick`, if that differs. The help text shows both."""
        small = default if quick is None else quick
        self._by_size[flag.removeprefix("--").replace("-", "_")] = (default, small)
        shown = "none" if default is None else _text(default)
        also = "" if small == default else f"; with --quick: {_text(small)}"
        self.add_argument(flag, help=f"{help} Default: {shown}{also}.", **settings)

    def whole(self, flag: str, default: int, help: str, *, quick: int | None = None, least: int = 1) -> None:
        """Adds an option whose value is a whole number of at least `least`."""
        self.option(flag, default, help, quick=quick, type=_whole(least), metavar="N")

    def threads(self) -> None:
        """Adds `--threads`."""
        self.whole("--threads", 1, "Threads of torch and of BLAS libraries.")

    def device(self) -> None:
        """Adds `--device`, which is checked by `require_device`."""
        self.option("--device", "cpu", "Device: cpu, cuda or cuda:N.")
        self._by_check["device"] = require_device

    def output(self, default: Path | None) -> None:
        """Adds `--output`. Under `--quick` rows are written only if the option is given."""
        written = "none" if default is None else f"{default}; with --quick: none"
        text = f"Folder for the rows, a CSV file. Quick rows get a file of their own. Default: {written}."
        self._by_size["output"] = (default, None)
        self._by_check["output"] = require_writable
        self.add_argument("--output", type=Path, metavar="FOLDER", help=text)

    def data(self) -> None:
        """Adds `--data`, the folder of benchmark files."""
        text = "Folder of benchmark files, as for `gldbench eval`. Default: the variable GLDBENCH_DATA."
        self._by_check["data"] = require_data
        self.add_argument("--data", type=Path, metavar="FOLDER", default=os.environ.get("GLDBENCH_DATA"), help=text)

    def error(self, message: str) -> NoReturn:
        """Turns an error of argparse into an InputError."""
        raise InputError(f"{message}\nsee `{self.prog} --help`")

    def run(self, work: Callable[[Namespace], int], arguments: Sequence[str] | None = None) -> int:
        """Parses the arguments and calls `work` with them; returns the exit code.

        Exit codes are those of `work` (0, or 1 if a check failed), 2 for bad input, and 130 after Ctrl-C.
        """
        try:
            given = self.parse_args(arguments)
            for name, (default, quick) in self._by_size.items():
                if getattr(given, name) is None:
                    setattr(given, name, quick if given.quick else default)
            for name, check in self._by_check.items():
                check(getattr(given, name))
            if given.quick:
                print(QUICK_NOTE, file=sys.stderr)
            return work(given)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text}")
        return number

    return parse


def require_device(device: str) -> None:
    """Checks the name of a device.

    Raises:
        InputError: it is neither "cpu" nor "cuda" nor "cuda:N", or this machine has no such device.
    """
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (":" in device and (kind == "cpu" or not number.isdecimal())):
        raise InputError(f'--device: expected cpu, cuda or cuda:N, got "{device}"')
    if kind == "cuda":
        import torch

        count = torch.cuda.device_count()
        if int(number or 0) >= count:
            found = f"{count} CUDA devices, cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
            raise InputError(
                f"--device: got {device}, but torch finds {found} on this machine\n"
                "use --device cpu, or a machine that has the device"
            )


def require_writable(folder: Path | None, option: str = "--output") -> None:
    """Makes a folder for results, if one is wanted, and checks that a file can be written there.

    Raises:
        InputError: that is not possible; the message names the `option`.
    """
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{option}: cannot write to the folder {folder}: {error.strerror}\nname another folder with {option}"
        ) from None


def require_data(folder: Path | None) -> None:
    """Checks the folder of benchmark files.

    Raises:
        InputError: none was given, or it is not a folder.
    """
    if folder is None:
        raise InputError("no data folder\nname the folder of benchmark files with --data, or set GLDBENCH_DATA")
    if not folder.is_dir():
        raise InputError(f"--data: {folder} is not a folder\nname the folder of benchmark files")


def require_names(what: str, names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Returns `names` without repetitions.

    Raises:
        InputError: one of them is not among the `known` names.
    """
    for name in names:
        require_known(what, name, known)
    return tuple(dict.fromkeys(names))
