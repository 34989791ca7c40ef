"""What figures were measured on: enough to repeat them, nothing that names a user."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.process import ROOT

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "numba",
    "cvxpy",
    "clarabel",
    "highspy",
    "scikit-learn",
    "skfolio",
    "riskfolio-lib",
    "pyportfolioopt",
    "torch",
)


def machine() -> dict[str, Any]:
    """Processor, system, versions and commit."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [k for k in info.read_text().splitlines() if k.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain")),
    }


def git(*arguments: str, root: Path = ROOT) -> str:
    """Output of a git command in the repository; empty where it fails."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def without_paths(text: str) -> str:
    """Replace the folders of this machine by short names."""
    for folder, name in (
        (str(ROOT), "."),
        (tempfile.gettempdir(), "TMP"),
        (str(Path.home()), "~"),
    ):
        if len(folder) > 1:
            text = text.replace(folder, name)
    return text
