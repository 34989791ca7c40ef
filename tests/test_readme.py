"""The README's Python runs as printed."""

import re
from pathlib import Path


def test_python_example_runs(capsys):
    text = (Path(__file__).parent.parent / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert blocks
    names: dict = {}  # later examples go on from earlier ones
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "Estimate(" in out and "StreamedRisk(" in out
    assert "StressReport" in out and "Proposal(OPTIMAL" in out
