"""The README's Python runs as printed."""

import re
from pathlib import Path


def test_python_example_runs(capsys):
    text = (Path(__file__).parent.parent / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "StressReport" in out and "Proposal(OPTIMAL" in out
