"""The command line, assembled from `commands/`. Exit code 0, 1 (a check failed) or 2 (usage, bad input).

Commands load the library when they are called: `gldbench --help` and most errors come before torch is imported.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from gldbench import __version__
from gldbench.commands.cache import cache_app
from gldbench.commands.check import check
from gldbench.commands.compare import compare
from gldbench.commands.doctor import doctor
from gldbench.commands.eval import evaluate
from gldbench.commands.fuse import fuse
from gldbench.commands.gw import gw_app
from gldbench.commands.items import items
from gldbench.commands.losses import losses
from gldbench.commands.report import report
from gldbench.commands.run import run
from gldbench.commands.score import score
from gldbench.commands.selftest import selftest_app
from gldbench.commands.tasks import tasks_app
from gldbench.printable import printable
from gldfusion.errors import InputError

app = typer.Typer(
    name="gldbench",
    help="Fuse language models by graph-on-logits distillation, evaluate them, and check every claim.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(report)
app.command()(fuse)
app.command()(losses)
app.add_typer(cache_app, name="cache")
app.command("eval")(evaluate)
app.command()(score)
app.command()(items)
app.command()(compare)
app.add_typer(tasks_app, name="tasks")
app.add_typer(gw_app, name="gw")
app.command()(check)
app.add_typer(selftest_app, name="selftest")
app.command()(doctor)

INTERRUPTED = 130
"""exit code after Ctrl-C"""


def main() -> None:
    """Entry point: what a user can mend is told in one to three lines on standard error, with exit code 2."""
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = f" at {error.filename}" if error.filename else ""
        _fail(
            f"cannot write{where}: {error.strerror}\n"
            "nothing half-written was left; make room or choose another output, then run the same command again"
        )
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer turns Ctrl-C into this code, without a word
            print("interrupted: run the same command again to resume", file=sys.stderr)
        raise


def _fail(message: str) -> None:
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(f"gldbench {__version__}")
        raise typer.Exit


if __name__ == "__main__":
    main()
