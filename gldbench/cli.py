"""The command line, assembled from `commands/`. Exit code 0, 1 (a check failed) or 2 (usage, bad input);
`compare --gate` also has 3 (inconclusive).

Commands load the library when they are called: `gldbench --help` and most errors come before torch is imported.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from gldbench import __version__
from gldbench.commands.cache import cache_app
from gldbench.commands.check import check
from gldbench.commands.claims import claims
from gldbench.commands.compare import compare
from gldbench.commands.data import data_app
from gldbench.commands.disagree import disagree
from gldbench.commands.doctor import doctor
from gldbench.commands.eval import evaluate
from gldbench.commands.export import export
from gldbench.commands.fuse import fuse
from gldbench.commands.gw import gw_app
from gldbench.commands.items import items
from gldbench.commands.losses import losses
from gldbench.commands.plan_fusion import plan
from gldbench.commands.report import report
from gldbench.commands.run import run
from gldbench.commands.score import score
from gldbench.commands.selftest import selftest_app
from gldbench.commands.setup import setup_app
from gldbench.commands.tasks import tasks_app
from gldfusion.errors import InputError
from gldfusion.reading import shown_path

app = typer.Typer(
    name="gldbench",
    help="Fuse language models by graph-on-logits distillation, evaluate them, and check every claim.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(plan)
app.command()(run)
app.command()(report)
app.command()(fuse)
app.command()(losses)
app.add_typer(cache_app, name="cache")
app.add_typer(data_app, name="data")
app.command("eval")(evaluate)
app.command()(score)
app.command()(items)
app.command()(compare)
app.command()(disagree)
app.command()(export)
app.command()(claims)
app.add_typer(tasks_app, name="tasks")
app.add_typer(gw_app, name="gw")
app.command()(check)
app.add_typer(setup_app, name="setup")
app.add_typer(selftest_app, name="selftest")
app.command()(doctor)

INTERRUPTED, TERMINATED = 130, 143
"""exit codes after Ctrl-C and after SIGTERM"""


UNUSABLE = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EEXIST)
"""errors of the system about a path that the user gave: too long, a file where a folder is needed, or the reverse"""


def main() -> None:
    """Entry point: what a user can mend is told in one to three lines on standard error, with exit code 2."""
    before = signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _end_in_spite_of_this
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno in UNUSABLE:
            _fail(f"the path {shown_path(Path(error.filename or ''))} cannot be used: {error.strerror}\ngive another")
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = f" at {error.filename}" if error.filename else ""
        _fail(
            f"cannot write{where}: {error.strerror}\n"
            "nothing half-written was left; make room or choose another output, then run the same command again"
        )
    except SystemExit as ended:
        if ended.code in (INTERRUPTED, TERMINATED):  # typer turns Ctrl-C into a code, without a word
            print("interrupted: run the same command again to resume", file=sys.stderr)
        raise
    finally:
        sys.unraisablehook = sys.__unraisablehook__
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(number: int, frame: object) -> None:
    """Ends this process as Ctrl-C does, so that temporary files are deleted and worker processes are stopped."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal would cut the cleaning up short
    sys.exit(TERMINATED)


def _end_in_spite_of_this(ignored: sys.UnraisableHookArgs) -> None:
    """Sends a signal again that came while Python ran a finalizer or a callback: what is raised there ends nothing."""
    ends = {SystemExit: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
    number = ends.get(ignored.exc_type)
    if number is None:
        sys.__unraisablehook__(ignored)
        return
    if number == signal.SIGTERM:
        signal.signal(signal.SIGTERM, _terminate)
    later = threading.Timer(0.02, os.kill, (os.getpid(), number))  # this hook itself runs where nothing can be raised
    later.daemon = True
    later.start()


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(f"gldbench {__version__}")
        raise typer.Exit


if __name__ == "__main__":
    main()
