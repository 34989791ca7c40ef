"""Another revision of the repository, checked out with an environment of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import ROOT
from engine.errors import UsageError


@dataclass(frozen=True)
class Revision:
    """A tree and the interpreter that runs it.

    Attributes
    ----------
    root : Path
    python : str
    commit : str
    environment : {"its own", "shared"}
    """

    root: Path
    python: str
    commit: str
    environment: str


@contextlib.contextmanager
def checked_out(
    name: str, *, shared: bool = False, repository: Path | None = None
) -> Iterator[Revision]:
    """Check a revision out in a temporary folder and build its environment.

    Parameters
    ----------
    name : str
        Anything that git resolves to a commit.
    shared : bool
        Use the interpreter that runs this in place of a new environment; only where
        both revisions ask for the same packages.
    repository : path, optional
        This repository by default.

    Raises
    ------
    UsageError
        No such revision, or an environment is to be shared that differs.
    subprocess.CalledProcessError
        The environment could not be built; the message of pip went to standard error.
    """
    repository = ROOT if repository is None else repository
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0 or name.startswith("-"):
        raise UsageError(
            "no such revision",
            received=repr(name),
            expected="a commit, branch or tag of this repository",
        )
    commit = found.stdout.strip()
    with tempfile.TemporaryDirectory(prefix="ballast-base-") as folder:
        tree = Path(folder).resolve() / "tree"
        _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            if shared and requirements(tree) != requirements(repository):
                raise UsageError(
                    "the two revisions ask for different packages",
                    received=f"{name} with a shared environment",
                    fix="Leave the option out: the revision then gets its own.",
                )
            python = sys.executable if shared else _environment(tree)
            kind = "shared" if shared else "its own"
            yield Revision(tree, python, commit, kind)
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))


def requirements(root: Path) -> dict[str, Any]:
    """What a revision asks pip for: ranges, development group and exact pins."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    pins = root / "constraints.txt"
    return {
        "runtime": project.get("project", {}).get("dependencies", []),
        "dev": project.get("dependency-groups", {}).get("dev", []),
        "pins": pins.read_text(encoding="utf-8") if pins.exists() else "",
    }


def _environment(tree: Path) -> str:
    """Build what the revision's own ``make bench`` would build; return its Python."""
    folder = tree.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet"]
    install += ["--disable-pip-version-check"]
    if (tree / "constraints.txt").exists():
        install += ["-c", "constraints.txt"]
    subprocess.run(
        [*install, "-e", ".", *requirements(tree)["dev"]], cwd=tree, check=True
    )
    return python


def _git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, check=True)
