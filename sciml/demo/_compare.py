"""The comparison: each model trained on the first years alone, and judged on the last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import sciml as sm
from sciml import t

from ._models import mechanistic, neural_ode, neural_ode_per_head, universal, x, y

SPECIES = ("hare", "lynx")
_TRAINED = 0.7  # of the years: 1900 to 1914 of 1900 to 1920
_FINE = 20  # points a year, where curves are drawn
_FLOOR = 1e-3  # of the smallest record: a prediction below it counts as that
# The most steps of a solve, and its tolerances: the records are known to two digits.
_SOLVER = {"max_steps": 256, "rtol": 1e-4, "atol": 1e-4}


@dataclasses.dataclass(frozen=True)
class Decay:
    """A penalty: `weight` times the sum of the squared weights of all networks, biases apart."""

    weight: float

    def __call__(self, model: sm.Model) -> Array:
        leaves = jax.tree.leaves(eqx.filter(model.networks, eqx.is_inexact_array))
        return self.weight * sum(
            (jnp.sum(leaf**2) for leaf in leaves if leaf.ndim == 2), jnp.zeros((), model.dtype)
        )


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model in the comparison.

    Fields: its `name`; how it is declared for a key; what it is `about`; its `decay` of weights.
    """

    name: str
    declare: Callable[[Array], sm.System]
    about: str
    decay: float = 0.0


CONTENDERS = (
    Contender(
        "mechanistic",
        mechanistic,
        "Lotka and Volterra: hares multiply, lynx die, and the two meet in proportion to both.",
    ),
    Contender(
        "universal",
        universal,
        "A universal differential equation: births of hares and deaths of lynx are as before, but "
        "what a hare risks and what a lynx gains are unknown functions of both populations, the "
        "two outputs of a network.",
        decay=0.03,
    ),
    Contender(
        "neural ODE",
        neural_ode,
        "A plain neural ODE: both rates are a network, and nothing else is known.",
    ),
    Contender(
        "neural ODE per head",
        neural_ode_per_head,
        "A neural ODE for the logarithms: known is only that a population changes in proportion "
        "to itself.",
        decay=0.03,
    ),
)


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every model is trained with: `steps` of Adam, as many `seeds`, `matching` before.

    `matching` steps of derivative matching come first; `rate` is the first learning rate of both.
    """

    steps: int = 1000
    seeds: int = 3
    matching: int = 500
    rate: float = 0.01


@dataclasses.dataclass(frozen=True)
class Split:
    """Records to train on, and later ones to be judged by."""

    table: sm.data.Table
    last: float

    @property
    def training(self) -> sm.data.Table:
        """The records up to the year `last`."""
        return self.table.between(self.table.times[0], self.last)

    @property
    def is_trained(self) -> np.ndarray:
        """Which rows are trained on."""
        return self.table.times <= self.last


@dataclasses.dataclass(frozen=True)
class Errors:
    """Root mean squares over the records of both species.

    `log` of the logarithms of prediction over record; `pelts` of their difference, in thousands.
    """

    log: float
    pelts: float


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed: the fit, its curves over all years (NaN where the solve failed), and errors."""

    fit: sm.Fit
    years: Float[np.ndarray, " time"]
    curves: Float[np.ndarray, "time species"]
    training: Errors
    forecast: Errors


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All runs of one contender."""

    contender: Contender
    runs: tuple[Run, ...]

    @property
    def size(self) -> int:
        """How many numbers were free: parameters, weights and both initial values."""
        model = self.runs[0].fit.model
        leaves = jax.tree.leaves(eqx.filter((model.parameters, model.networks), eqx.is_array))
        return len(SPECIES) + sum(leaf.size for leaf in leaves)

    @property
    def median(self) -> Run:
        """The run whose training error is the middle one: later years have no say in it."""
        order = np.argsort([run.training.log for run in self.runs], kind="stable")
        return self.runs[int(order[(len(order) - 1) // 2])]

    def spread(self, part: str, measure: str) -> tuple[float, float, float]:
        """Median, lowest and highest of a measure over the seeds."""
        values = np.array([getattr(getattr(run, part), measure) for run in self.runs])
        return float(np.median(values)), float(values.min()), float(values.max())


def split(table: sm.data.Table) -> Split:
    """The first 70 % of the years to train on, the rest to be judged by.

    Raises `DataError` for a table too short for that.
    """
    first, last = table.times[[0, -1]]
    found = Split(table, float(np.floor(first + _TRAINED * (last - first) + 1e-9)))
    trained = int(found.is_trained.sum())
    if trained < 8 or trained == len(table):
        raise sm.DataError(
            f"the table has {len(table)} rows, {trained} of them in the first 70 % of its years: "
            "the demo needs 8 or more to train on, and later ones to be judged by"
        )
    return found


def columns(table: sm.data.Table, origin: float) -> dict:
    """The records as `fit` takes them, with the years counted from `origin`."""
    return {t: table.times - origin, x: table["hare"], y: table["lynx"]}


def fit_all_years(table: sm.data.Table, *, progress: bool = False) -> sm.Fit:
    """The mechanistic model fitted to every year, with standard errors."""
    return sm.fit(
        mechanistic(),
        columns(table, table.times[0]),
        key=jax.random.key(0),
        loss="lognormal",
        pretrain=sm.Collocation(),
        progress=progress,
    )


def train(contender: Contender, seed: int, parts: Split, budget: Budget) -> Run:
    """One contender trained from one seed, and its curves over all years."""
    key = jax.random.key(seed)
    origin = parts.table.times[0]
    fit = sm.fit(
        contender.declare(key),
        columns(parts.training, origin),
        key=key,
        loss="lognormal",
        steps=budget.steps,
        learning_rate=budget.rate,
        pretrain=sm.Collocation(steps=budget.matching) if budget.matching else None,
        penalty=Decay(contender.decay) if contender.decay else None,
        polish=None,
        progress=False,
        **_SOLVER,
    )
    years, curves = curves_of(fit, parts.table)
    at_records = curves[np.searchsorted(years, parts.table.times)]
    rows = parts.is_trained
    return Run(
        fit,
        years,
        curves,
        errors(at_records[rows], parts.table, rows),
        errors(at_records[~rows], parts.table, ~rows),
    )


def curves_of(fit: sm.Fit, table: sm.data.Table) -> tuple[np.ndarray, np.ndarray]:
    """Years and both populations over the whole table, not a number where the solve failed."""
    first, last = table.times[[0, -1]]
    even = np.linspace(first, last, round(_FINE * (last - first)) + 1)
    even = even[np.abs(even[:, None] - table.times).min(axis=1) > 1e-6]
    years = np.sort(np.concatenate([even, table.times]))
    sol = fit.solve((0.0, last - first), saveat=years - first, throw=False, max_steps=4096)
    curves = np.full((len(years), len(SPECIES)), np.nan)
    curves[: len(sol.ts)] = np.stack([sol[x], sol[y]], axis=1)
    return years, curves


def errors(predicted: np.ndarray, table: sm.data.Table, rows: np.ndarray) -> Errors:
    """Errors over some rows of the table; infinite where a solve failed."""
    seen = np.stack([table[name] for name in SPECIES], axis=1)[rows]
    if not np.all(np.isfinite(predicted)):
        return Errors(float("inf"), float("inf"))
    logs = np.log(np.maximum(predicted, _FLOOR * seen.min()) / seen)
    return Errors(
        float(np.sqrt(np.mean(logs**2))), float(np.sqrt(np.mean((predicted - seen) ** 2)))
    )


def validate(contender: Contender, parts: Split, budget: Budget) -> dict[float, list[float]]:
    """Log errors of forecasts inside the training years, by which everything was chosen.

    The contender is trained up to 3, 4, 5 and 6 years before the last training year, and judged on
    the rest of these years. Returns the errors of all seeds, by the last year trained on.
    """
    training = parts.training
    found = {}
    for held_out in (6, 5, 4, 3):
        early = Split(training, parts.last - held_out)
        runs = [train(contender, seed, early, budget) for seed in range(budget.seeds)]
        found[early.last] = [run.forecast.log for run in runs]
    return found
