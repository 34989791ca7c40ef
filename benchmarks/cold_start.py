"""Compile and import time, measured apart: the first calls of a fresh process.

A process with an empty numba cache gives ``cold``; one that finds the cache it left
gives ``cached``; a second call in that process gives ``again``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks.process import POOLS, ROOT


def cold_start(repeats: int = 3) -> dict[str, Any]:
    """Medians over ``repeats`` pairs of fresh processes, every pool at one thread.

    Returns
    -------
    dict
        ``seconds``: step -> cold, cached, again; ``repeats``.

    Raises
    ------
    subprocess.CalledProcessError
        A step failed; its message went to standard error.
    """
    cold, cached = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(_session(cache))
            cached.append(_session(cache))
    return {
        "repeats": repeats,
        "seconds": {
            step: {
                "cold": float(np.median([s[step]["first"] for s in cold])),
                "cached": float(np.median([s[step]["first"] for s in cached])),
                "again": float(np.median([s[step]["again"] for s in cached])),
            }
            for step in cold[0]
        },
    }


def _session(cache: str) -> dict[str, dict[str, float]]:
    environment = {
        **os.environ,
        **dict.fromkeys(POOLS, "1"),
        "NUMBA_CACHE_DIR": cache,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_calls"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
