"""Print the development dependencies of pyproject.toml, one per line, for pip.

`pip install --group` needs pip 25.1, and a fresh Python 3.11 brings an older one.
"""

import pathlib
import tomllib

project = tomllib.loads(
    (pathlib.Path(__file__).parent.parent / "pyproject.toml").read_text()
)
print("\n".join(r.split("#")[0] for r in project["dependency-groups"]["dev"]))
