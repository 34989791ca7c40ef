"""Funds under the shock: weights by role times what the roles lose.

    x_f = sum_r w_r mean_{i in r} x_i  +  (1 - sum_r w_r) x_unknown

The move of a role is the mean over its companies of the table's own moves, in every
severity draw; roles ``none`` do not move, and what a fund holds that nobody knows
follows the rule for unknown exposure. Estimated weights vary over the draws by their
bootstrap, funds together on the same dates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine._typing import Matrix, Vector
from engine.data.look_through import FundExposure
from engine.data.universe import Universe
from engine.fund_table import FundTable
from engine.funds import AI_ROLES
from engine.shocks.table import table_logs, table_moves

_ROUNDING = 1e-9
Split = dict[str, tuple[float, float]]
"""Weight and contribution to the move, by role."""


class LookedThrough(NamedTuple):
    """Simple moves of the funds that are looked through, by column of a universe."""

    columns: list[int]
    central: Vector
    """(F,)"""
    draws: Matrix
    """(M, F)"""
    splits: list[Split]
    basis: list[str]


def looked_through(
    funds: FundTable,
    universe: Universe,
    table: Any,
    centre: Mapping[str, Any],
    draws: Mapping[str, Any],
    unknown: tuple[Vector, Matrix],
    *,
    certain: bool = False,
) -> LookedThrough:
    """Move of each fund of ``universe`` whose exposure is known, zero classes aside.

    Parameters
    ----------
    funds : FundTable
    universe : Universe
        N assets.
    table, centre, draws
        As `engine.shocks.table.table_moves` takes them.
    unknown : (N,) and (M, N)
        Simple move of each asset by the rule for unknown exposure, central and drawn.
    certain : bool, default False
        Leave AI shares and fund weights at their centre in every draw, and say nothing
        of their error.
    """
    zero = universe.is_structural_zero()
    held = [
        e
        for e in funds.exposures
        if e.fund in universe and not zero[universe.index(e.fund)]
    ]
    roles = _RoleMoves(held, funds.companies, table, centre, draws, certain)
    central, drawn = [], []
    columns = [universe.index(e.fund) for e in held]
    splits: list[Split] = []
    basis: list[str] = []
    for i, exposure in zip(columns, held, strict=True):
        one, many, known = roles.of(exposure)
        w = np.where(known, exposure.weights, 0.0)
        rest = 1.0 - w.sum()
        rest = rest if rest > _ROUNDING else 0.0
        total = many @ w + rest * unknown[1][:, i]
        if certain:
            drawn.append(total)
            continue
        errors = np.where(known, _errors(exposure), 0.0)
        if len(errors):
            rows = np.arange(len(total)) % len(errors)
            total += np.einsum("mk,mk->m", many, errors[rows])
        central.append(float(one @ w + rest * unknown[0][i]))
        drawn.append(np.maximum(total, -0.99))
        splits.append(_split(exposure, known, one, rest, unknown[0][i]))
        basis.append(_words(exposure, splits[-1], errors @ one))
    shape = unknown[1].shape[0], 0
    return LookedThrough(
        columns,
        np.array(central),
        np.column_stack(drawn) if drawn else np.empty(shape),
        splits,
        basis,
    )


class _RoleMoves:
    """Simple move of each basket: the mean of its members, or the role's midpoint."""

    def __init__(
        self,
        held: list[FundExposure],
        companies: Universe,
        table: Any,
        centre: Mapping[str, Any],
        draws: Mapping[str, Any],
        certain: bool,
    ) -> None:
        bare = {
            label
            for e in held
            for k, label in enumerate(e.labels)
            if label in AI_ROLES and not (e.members and e.members[k])
        }
        self.position: dict[str, int] = {}
        names, role, share = [], [], []
        for i, ticker in enumerate(companies.tickers):
            self.position[ticker] = len(names)
            names.append(ticker)
            role.append(companies.role[i])
            share.append(companies.ai_share[i])
        for label in sorted(bare):
            self.position[label] = len(names)
            names.append(f"role:{label}")  # draws its share under a name of its own
            role.append(label)
            share.append(np.full(3, np.nan))
        self.central, self.draws = np.empty(0), np.empty((0, 0))
        if names:
            both = Universe(tuple(names), role=tuple(role), ai_share=np.array(share))
            if certain:
                self.draws = np.expm1(table_logs(both, table, draws))
                self.central = self.draws[0]
            else:
                links, spread = table_moves(both, table, centre, draws)
                self.central = np.expm1(np.sum(links, axis=0))
                self.draws = np.expm1(spread)
        self.made: dict[Any, tuple[Vector, Matrix, np.ndarray]] = {}
        self.size = len(next(v for v in draws.values() if np.ndim(v)))

    def of(self, exposure: FundExposure) -> tuple[Vector, Matrix, np.ndarray]:
        """(K,) central and (M, K) drawn move of each label, and which are known.

        What is not known has a move of zero here: the caller knows better.
        """
        key = exposure.labels, exposure.members, exposure.member_weights
        if key not in self.made:
            K = len(exposure.labels)
            one, many = np.zeros(K), np.zeros((self.size, K))
            known = np.zeros(K, dtype=bool)
            for k, label in enumerate(exposure.labels):
                role = _role(label)
                known[k] = role != "unknown"
                if role in AI_ROLES:
                    group = exposure.members[k] if exposure.members else ()
                    columns = [self.position[t] for t in group or (label,)]
                    parts = (
                        exposure.member_weights[k] if exposure.member_weights else ()
                    )
                    p = np.array(parts if sum(parts) > 0 else (1.0,) * len(columns))
                    p = p / p.sum()
                    one[k] = self.central[columns] @ p
                    many[:, k] = self.draws[:, columns] @ p
            self.made[key] = one, many, known
        return self.made[key]


def _role(label: str) -> str:
    """Role behind a label: one that moves, ``none``, or ``unknown``."""
    if label.partition(":")[0] in ("none", "other"):
        return "none"
    return label if label in AI_ROLES else "unknown"


def _errors(exposure: FundExposure) -> Matrix:
    """(B, K) errors of the weights, each row summing to zero: a fund stays full."""
    if not len(exposure.draws):
        return exposure.draws
    return exposure.error_scale * (exposure.draws - exposure.draws.mean(axis=0))


def _split(
    exposure: FundExposure, known: np.ndarray, moves: Vector, rest: float, move: float
) -> Split:
    """Weight and contribution by role; what nobody knows is ``unknown``."""
    out: Split = {}
    for label, w, x in zip(
        exposure.labels, exposure.weights * known, moves, strict=True
    ):
        if w > 0:
            before = out.get(_role(label), (0.0, 0.0))
            out[_role(label)] = before[0] + float(w), before[1] + float(w * x)
    if rest > 0:
        out["unknown"] = float(rest), float(rest * move)
    return out


def _words(exposure: FundExposure, split: Split, errors: Vector) -> str:
    """Where the weights come from, their error, and the largest of them."""
    top = sorted(split.items(), key=lambda pair: -pair[1][0])
    names = {"none": "no AI role", "unknown": "unknown"}
    held = [f"{names.get(r, r)} {w:.0%}" for r, (w, _) in top if w >= 0.005]
    if len(held) > 4:
        held = [*held[:4], f"{len(held) - 4} more"]
    if exposure.method == "look-through":
        source = f"look-through: {exposure.document}, {exposure.known_from}"
    else:
        step = "weekly" if exposure.sessions > 1 else "daily"
        source = (
            f"estimated: R2 {exposure.r_squared:.2f}, {exposure.window} {step} returns "
            f"to {exposure.known_from}"
        )
        if len(errors) > 1:
            source += f", move +-{errors.std(ddof=1):.1%}"
    return f"{source}; {', '.join(held)}"
