"""`.ci/system` installs what is missing where it may, and names it where it may not. The commands are stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "system"
TOOLS = ("bash", "env", "dirname", "true")
"""the commands that the script itself needs"""


class Machine:
    """A PATH with stand-ins. `apt-get` notes how it was called, and installs by making the command of a package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in TOOLS:
            (folder / name).symlink_to(f"/usr/bin/{name}")
        self.command("id", "echo 0")

    def command(self, name: str, script: str = "exit 0") -> None:
        path = self.folder / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)

    def apt(self, *, before_update: str = "exit 0", installs: bool = True) -> None:
        """An apt-get whose `install` makes bwrap; before an update it does what `before_update` says."""
        calls, lists, bwrap = self.folder / "calls", self.folder / "lists", self.folder / "bwrap"
        done = f"echo '#!/usr/bin/env bash' >{bwrap}; /bin/chmod +x {bwrap}" if installs else "exit 100"
        self.command(
            "apt-get",
            f'echo "$*" >>{calls}\nif [ "$1" = update ]; then : >{lists}; exit 0; fi\n'
            f"if [ ! -e {lists} ]; then {before_update}; fi\n{done}",
        )

    @property
    def calls(self) -> list[str]:
        """The first word after each `apt-get`."""
        path = self.folder / "calls"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def run(self, *packages: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": str(self.folder)}
        return subprocess.run(["/bin/bash", str(SCRIPT), *packages], capture_output=True, text=True, env=environment)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_there_is_left_alone(machine: Machine) -> None:
    machine.apt()
    machine.command("bwrap")
    done = machine.run("bubblewrap")
    assert (done.returncode, done.stderr, machine.calls) == (0, "", [])


def test_root_installs_what_is_missing_without_an_update(machine: Machine) -> None:
    machine.apt(before_update=":")
    done = machine.run("bubblewrap")
    assert done.returncode == 0, done.stderr
    assert machine.calls == ["install"]


def test_it_updates_the_lists_only_where_the_first_attempt_fails(machine: Machine) -> None:
    machine.apt(before_update="exit 100")
    done = machine.run("bubblewrap")
    assert done.returncode == 0, done.stderr
    assert machine.calls == ["install", "update", "install"]


def test_an_ordinary_user_with_sudo_installs(machine: Machine) -> None:
    machine.apt(before_update=":")
    machine.command("id", "echo 1000")
    machine.command("sudo", 'shift; exec "$@"')
    done = machine.run("bubblewrap")
    assert done.returncode == 0, done.stderr
    assert machine.calls == ["install"]


def test_an_ordinary_user_is_told_what_is_missing(machine: Machine) -> None:
    machine.apt()
    machine.command("id", "echo 1000")
    machine.command("sudo", "exit 1")  # asks for a password
    done = machine.run()
    assert done.returncode == 1
    assert machine.calls == []
    assert done.stderr == (
        "missing system packages: bubblewrap chromium chromium-driver; "
        "this user may not install packages: run `sudo make system`\n"
    )


def test_other_systems_and_failed_installations_are_named(machine: Machine) -> None:
    done = machine.run("bubblewrap")
    assert done.returncode == 1
    assert done.stderr.startswith("missing system packages: bubblewrap; this system has no apt-get")
    machine.apt(installs=False)
    done = machine.run("bubblewrap")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("missing system packages: bubblewrap; apt-get did not install")


def test_ci_asks_for_the_packages_before_it_tests() -> None:
    lines = [line for line in (SCRIPT.parent / "run").read_text().splitlines() if line and not line.startswith("#")]
    tested = next(number for number, line in enumerate(lines) if line.startswith("make test"))
    assert lines.index(".ci/system") < tested


@pytest.mark.parametrize(
    ("failing", "ran"),
    [
        ("", ["setup", "check", "test", "test-browser"]),
        ("check", ["setup", "check", "test"]),
        ("test", ["setup", "check", "test"]),
        ("setup", ["setup"]),
    ],
)
def test_ci_fails_with_each_of_its_commands(tmp_path: Path, failing: str, ran: list[str]) -> None:
    """The checks run beside the tests, and their words are printed."""
    (tmp_path / ".ci").mkdir()
    for name, text in {
        ".ci/run": (SCRIPT.parent / "run").read_text(),
        ".ci/system": "#!/bin/sh\n",
        "make": f'#!/bin/sh\necho "$1" >> ran\necho "said $1"\n[ "$1" != "{failing}" ]\n',
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / ".ci/run"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(failing)
    assert sorted((tmp_path / "ran").read_text().split()) == sorted(ran)
    assert all(f"said {name}" in done.stdout for name in ran)


def skipping(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest, with our conftest, on a test that is skipped because there is no sandbox."""
    (tmp_path / "conftest.py").write_text((SCRIPT.parents[1] / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import pytest\ndef test_it():\n    pytest.skip('no sandbox: bubblewrap (bwrap) is not installed')\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")
    } | variables
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)


def test_a_missing_sandbox_fails_ci_and_is_the_last_line_elsewhere(tmp_path: Path) -> None:
    here = skipping(tmp_path)
    assert here.returncode == 0
    assert here.stdout.splitlines()[-1] == (
        "1 tests were skipped because there is no sandbox (bubblewrap (bwrap) is not installed); "
        "`sudo make system` installs what is missing"
    )
    there = skipping(tmp_path, CI="true")
    assert there.returncode == 1
    assert "skipped for a reason that tests/conftest.py does not list" in there.stdout
