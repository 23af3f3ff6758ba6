"""Coefficients of Rosenbrock methods."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class RosenbrockTableau:
    """A Rosenbrock method in the form without products by the Jacobian.

    ``(M / (gamma h) - J) u_i = f(t + c_i h, y + sum_j a_ij u_j) + M sum_j C_ij u_j / h
    + d_i h f_t``, ``y1 = y + sum_i m_i u_i``, the error ``sum_i e_i u_i``, and between the steps
    ``(1 - s) y0 + s (y1 + (1 - s) (D_1 + s (D_2 + ...)))`` with ``D_k = sum_i dense_ki u_i``.
    `repeats` are stages at the point of the stage before; `last` tells that the last stage is taken
    at `y1`, and at the end of the step.

    Source: Hairer, Wanner, Solving Ordinary Differential Equations II (1996), equations IV.7.22
    to 7.25.
    """

    order: int
    error_order: int
    dense_order: int
    gamma: float
    a: tuple[tuple[float, ...], ...]
    coupling: tuple[tuple[float, ...], ...]
    c: tuple[float, ...]
    d: tuple[float, ...]
    m: tuple[float, ...]
    e: tuple[float, ...]
    dense: tuple[tuple[float, ...], ...]
    last: bool = False

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.c)

    @property
    def rows(self) -> tuple[np.ndarray, ...]:
        """Rows of `a` and `coupling`, `c` and `d`, of the stages after the first."""
        square = [
            np.array([[*row, *[0.0] * (self.stages - len(row))] for row in part[1:]])
            for part in (self.a, self.coupling)
        ]
        return *square, np.array(self.c[1:]), np.array(self.d[1:])


def _rows(matrix: Any) -> tuple[tuple[float, ...], ...]:
    """The part of a square matrix below the diagonal."""
    return tuple(tuple(map(float, row[:i])) for i, row in enumerate(np.asarray(matrix)))


def _transformed(
    alpha: Any, gamma: Any, b: Any, errors: Any, dense: Any, *, last: bool, orders: tuple
) -> RosenbrockTableau:
    """The same form from ``k_i = h f(y + sum_j alpha_ij k_j) + h J sum_j gamma_ij k_j``."""
    alpha, gamma = np.array(alpha, float), np.array(gamma, float)
    inverse = np.linalg.inv(gamma)
    as_weights = lambda row: tuple(map(float, np.asarray(row, float) @ inverse))  # noqa: E731
    return RosenbrockTableau(
        *orders,
        gamma=float(gamma[0, 0]),
        a=_rows(alpha @ inverse),
        coupling=_rows(np.diag(1 / np.diag(gamma)) - inverse),
        c=tuple(map(float, alpha.sum(axis=1))),
        d=tuple(map(float, gamma.sum(axis=1))),
        m=as_weights(b),
        e=as_weights(errors),
        dense=tuple(map(as_weights, dense)),
        last=last,
    )


_D = 1 / (2 + np.sqrt(2))
_E32 = 6 + np.sqrt(2)

# Shampine, Reichelt, The MATLAB ODE suite (1997), section 3.1, as a Rosenbrock method of 3 stages.
ROSENBROCK23 = _transformed(
    alpha=[[0, 0, 0], [0.5, 0, 0], [0, 1, 0]],
    gamma=[[_D, 0, 0], [-_D, _D, 0], [(_E32 - 2) * _D, -_E32 * _D, _D]],
    b=[0, 1, 0],
    errors=[1 / 6, -2 / 6, 1 / 6],
    dense=[[1 / (1 - 2 * _D), -1 / (1 - 2 * _D), 0]],
    last=True,
    orders=(2, 3, 2),
)

_A6 = (
    -7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256,
    0.030198172008377946,
)  # fmt: skip

# Steinebach, Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks within the
# Julia Differential Equations package, BIT 63 (2023), table 2.
RODAS5P = RosenbrockTableau(
    order=5,
    error_order=5,
    dense_order=4,
    gamma=0.21193756319429014,
    a=(
        (),
        (3.0,),
        (2.849394379747939, 0.45842242204463923),
        (-6.954028509809101, 2.489845061869568, -10.358996098473584),
        (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
        _A6,
        (*_A6, 1.0),
        (*_A6, 1.0, 1.0),
    ),
    coupling=(
        (),
        (-14.155112264123755,),
        (-17.97296035885952, -2.859693295451294),
        (147.12150275711716, -1.41221402718213, 71.68940251302358),
        (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
        (
            24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125,
            -0.6610691825249471,
        ),
        (
            30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783,
            -19.097331116725623, -28.087943162872662,
        ),
        (
            37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047,
            -40.06618937091002, -54.66780262877968, -9.48861652309627,
        ),
    ),
    c=(
        0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0,
        1.0, 1.0,
    ),
    d=(
        0.21193756319429014, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734,
        2.325825639765069, 0.0, 0.0, 0.0,
    ),
    m=(*_A6, 1.0, 1.0, 1.0),
    e=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    dense=(
        (
            25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204,
            0.524948541321073, 1.1241088310450404, 0.4272876194431874, -0.17202221070155493,
        ),
        (
            -9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796,
            20.176138334709044, 15.98066361424651, -6.789040303419874, -6.710236069923372,
        ),
        (
            11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643,
            -52.072871366152654, -59.78993625266729, -0.15582684282751913, 4.883087185713722,
        ),
    ),
)  # fmt: skip
