"""Shared test settings: hypothesis profile, real data, threads."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ballast", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("ballast")

# Session tables are kept with the other test caches, not in the user's own.
os.environ.setdefault(
    "BALLAST_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "calendars")
)

REAL_DATA = Path(
    os.environ.get("BALLAST_REAL_DATA", Path(__file__).parents[2] / "shared" / "data")
)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real prices; the test is skipped where there is none."""
    if not (REAL_DATA / "prices_us_listed.parquet").exists():
        pytest.skip(f"real data not found at {REAL_DATA} (set BALLAST_REAL_DATA)")
    return REAL_DATA


def pytest_terminal_summary(terminalreporter):
    """Say how many tests needed real data and were skipped."""
    skipped = terminalreporter.stats.get("skipped", [])
    missing = sum("real data" in str(report.longrepr) for report in skipped)
    terminalreporter.write_line(f"skipped for want of real data: {missing}")
