"""What shocks that a scenario file can state have in common: `to_toml`, `from_toml`."""

from __future__ import annotations

from typing import Any, Self

from engine.errors import DataError


class Written:
    """A shock that can be written to a scenario file and read back."""

    __slots__ = ()

    def to_toml(self, path: Any = None) -> str:
        """Return the shock as a scenario file, and write it where a path is given."""
        from engine.shocks.files import to_toml

        return to_toml(self, path)

    @classmethod
    def from_toml(cls, path: Any) -> Self:
        """Read a scenario file that holds one shock of this kind."""
        from engine.shocks.files import read_shock

        shock = read_shock(path)
        if not isinstance(shock, cls):
            raise DataError(
                f"{path}: the file holds another kind of shock",
                received=type(shock).__name__,
                expected=cls.__name__,
            )
        return shock
