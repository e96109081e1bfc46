"""The overlay environment of OpenCompass: found, refused, and never half made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from gldbench import overlay
from gldbench.doctor import examine
from gldfusion.errors import InputError


def pretend(place: Path, **other: str) -> Path:
    """A folder with the manifest of an overlay, but without packages."""
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").symlink_to(sys.executable)
    (place / overlay.MANIFEST).write_text(json.dumps(asdict(overlay.wanted()) | other))
    return place


def nothing(done: int, total: int) -> None:
    pass


def test_every_package_has_one_version() -> None:
    lines = overlay.PACKAGES.read_text().split()
    assert len(overlay.pinned()) == len(lines)
    assert all(line.count("==") == 1 for line in lines)
    assert overlay.pinned()["opencompass"] == "0.5.4"


def test_the_default_place_depends_on_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(overlay.VARIABLE, str(tmp_path / "named"))
    assert overlay.default_place() == tmp_path / "named"
    monkeypatch.delenv(overlay.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = overlay.default_place()
    assert own.parent == tmp_path / "gldbench"
    monkeypatch.setattr(overlay, "_own_packages", lambda: "/elsewhere")
    assert overlay.default_place() != own


def test_an_overlay_is_used_only_where_it_was_made_for_this_environment(tmp_path: Path) -> None:
    assert "is not set up" in overlay.trouble(tmp_path / "nowhere")
    assert overlay.trouble(pretend(tmp_path / "right")) == ""
    assert "made for other environment: /gone" in overlay.trouble(pretend(tmp_path / "moved", environment="/gone"))
    assert "made for other packages" in overlay.trouble(pretend(tmp_path / "old", packages="0" * 64))
    (tmp_path / "right" / overlay.MANIFEST).write_text("{")
    assert "is damaged" in overlay.trouble(tmp_path / "right")


def test_a_second_call_does_nothing(tmp_path: Path) -> None:
    place = pretend(tmp_path / "there")
    before = sorted(place.rglob("*"))
    assert overlay.set_up(place, nothing) is False
    assert sorted(place.rglob("*")) == before


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not delete")
    with pytest.raises(InputError, match=r"will not overwrite .*mine"):
        overlay.set_up(tmp_path / "mine", nothing)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not delete"


def test_without_an_index_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(InputError, match=r"pip could not install OpenCompass after .* s: ERROR") as caught:
        overlay.set_up(tmp_path / "place" / "overlay", nothing)
    assert len(str(caught.value).splitlines()) <= 3
    assert [path.name for path in (tmp_path / "place").iterdir()] == [".overlay.lock"]


def test_an_overlay_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = pretend(tmp_path / "empty")
    (place / "bin" / "python").unlink()
    (place / "bin" / "python").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    (place / "bin" / "python").chmod(0o755)
    with pytest.raises(InputError, match="does not import: broken"):
        overlay.answer(place)
    monkeypatch.setenv(overlay.VARIABLE, str(place))
    (found,) = (finding for finding in examine(tmp_path) if finding.name == "opencompass")
    assert found.status == "absent"
    assert "does not import: broken" in found.found


def test_the_command_says_where_it_is_and_asking_for_the_grader_names_the_command(tmp_path: Path) -> None:
    place = pretend(tmp_path / "there")
    environment = {**os.environ, overlay.VARIABLE: str(tmp_path / "absent")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gldbench.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)

    said = run("setup", "opencompass", "--into", str(place))
    assert (said.returncode, said.stderr) == (0, "")
    assert "is there already" in said.stdout
    assert f"export {overlay.VARIABLE}={place}" in said.stdout
    refused = run("score", "gsm8k", "x.jsonl", "--data", str(tmp_path), "--harness", "opencompass")
    assert refused.returncode == 2
    assert "run `gldbench setup opencompass`" in refused.stderr
    left_out = run("score", "gsm8k", "x.jsonl", "--data", str(tmp_path))
    assert left_out.stderr.count("the grader opencompass is not used") == 1
