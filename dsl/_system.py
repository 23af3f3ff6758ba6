"""System: the one small immutable description of a model, whatever its class."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from ._arrays import as_expression
from ._coordinates import At, Coordinate, is_field
from ._drivers import Brownian, Control, Driver
from ._equations import Equation, as_equations
from ._errors import DeclarationError
from ._neural import Neural
from ._nodes import ArrayNode, ConstantArray
from ._origin import Origin, caller
from ._show import aligned, name_of, number, table_html, table_text, text
from ._symbols import Parameter, t


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class System:
    """A model: equations, initial values, parameter values, and observed quantities.

    Arguments
      equations: `Eq`, sympy equations, matrices equal to zero, or lists of these.
      initial: values of unknowns (and, above first order, of their rates ``D(x)``) at the start;
        numbers, arrays, or expressions of parameters.
      values: values of parameters, by symbol or by name; numbers, arrays, or expressions of other
        parameters.
      observed: quantities that follow from the rest, ``{z: x + y}``.
      name: shown in messages and tables.
      calculus: what ``D(W)`` of a Brownian motion W means, "ito" or "stratonovich".
      domain: where each coordinate goes, ``{s: (0, 1)}``.
      boundary: conditions at the ends of the domain, ``Eq(u.at(s=0), 0)``; periodic where both
        ends are equal, ``Eq(u.at(s=0), u.at(s=1))``.

    Raises `DeclarationError` for what is no equation or no mapping. Everything else is looked at by
    `check`, which every verb calls.

    >>> import sciml as sm
    >>> x, k = sm.unknown("x"), sm.parameter("k")
    >>> sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1}, values={k: 0.5}).unknowns
    (x,)
    """

    equations: tuple[Equation, ...]
    initial: Mapping[Any, Any]
    values: Mapping[Any, Any]
    observed: Mapping[Any, sympy.Expr]
    name: str
    origin: Origin
    calculus: str
    domain: Mapping[Any, tuple[Any, Any]]
    boundary: tuple[Equation, ...]

    def __init__(
        self,
        *equations: Any,
        initial: Mapping[Any, Any] | None = None,
        values: Mapping[Any, Any] | None = None,
        observed: Mapping[Any, Any] | None = None,
        name: str = "",
        origin: Origin | None = None,
        calculus: str = "ito",
        domain: Mapping[Any, Any] | None = None,
        boundary: Any = (),
    ) -> None:
        if calculus not in CALCULI:
            raise DeclarationError(f'calculus is "ito" or "stratonovich", not {calculus!r}')
        set_field = functools.partial(object.__setattr__, self)
        set_field("equations", as_equations(equations))
        set_field("initial", _mapping("initial", initial))
        set_field("values", _mapping("values", values))
        definitions = {k: _sympified(v) for k, v in _mapping("observed", observed).items()}
        set_field("observed", MappingProxyType(definitions))
        set_field("name", name)
        set_field("origin", caller() if origin is None else origin)
        set_field("calculus", calculus)
        set_field("domain", _domain(domain))
        set_field("boundary", as_equations([boundary]))

    def __reduce__(self) -> tuple:
        fields = dict(self.initial), dict(self.values), dict(self.observed), self.name
        space = dict(self.domain), self.boundary
        return _rebuild, (self.equations, *fields, self.origin, self.calculus, *space)

    @functools.cached_property
    def survey(self) -> Survey:
        """Every symbol in the equations, found in one walk."""
        return Survey(self)

    @property
    def unknowns(self) -> tuple[Any, ...]:
        """The unknowns, in the order in which the equations name them (observed ones last)."""
        return tuple(self.survey.unknowns)

    @property
    def parameters(self) -> tuple[sympy.Symbol, ...]:
        """The parameters, in the order in which the equations name them."""
        return tuple(self.survey.parameters)

    @property
    def networks(self) -> tuple[Neural, ...]:
        """The neural and forcing terms."""
        return tuple(self.survey.networks)

    @property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """The coordinates of its fields, in the order of `domain`; none, of an ordinary system."""
        return tuple(dict.fromkeys([*self.domain, *self.survey.coordinates]))

    @property
    def fields(self) -> tuple[Any, ...]:
        """The unknowns that are functions of coordinates."""
        return tuple(u for u in self.survey.unknowns if is_field(u))

    def replace(self, **changes: Any) -> System:
        """The same system with fields changed.

        `initial`, `values`, `observed` and `domain` are merged with what is there; `equations`,
        `boundary` and `name` are replaced.

        >>> import sciml as sm
        >>> x, k = sm.unknown("x"), sm.parameter("k")
        >>> system = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1}, values={k: 0.5})
        >>> float(system.replace(values={k: 2}).values[k])
        2.0
        """
        fields = (
            "equations", "initial", "values", "observed", "name", "origin", "calculus", "domain",
            "boundary",
        )  # fmt: skip
        if unknown := set(changes) - set(fields):
            raise DeclarationError(
                f"a System has no field {sorted(unknown)[0]!r}: it has {', '.join(fields)}"
            )
        merged = {}
        for field in fields[1:]:
            old = getattr(self, field)
            new = changes.get(field, old)
            if field in ("initial", "values", "observed", "domain") and new is not old:
                kept = {k: v for k, v in old.items() if name_of(k) not in {name_of(n) for n in new}}
                new = {**kept, **new}
            merged[field] = new
        return System(*changes.get("equations", self.equations), **merged)

    def __add__(self, other: Any) -> System:
        """Both systems in one: their equations, values and observed quantities together.

        Raises `DeclarationError` where the two give one symbol different values.
        """
        if not isinstance(other, System):
            return NotImplemented
        merged = {}
        for field in ("initial", "values", "observed", "domain"):
            mine, theirs = getattr(self, field), getattr(other, field)
            merged[field] = _merge(field, mine, theirs)
        merged["boundary"] = (*self.boundary, *other.boundary)
        name = " + ".join(filter(None, (self.name, other.name)))
        if self.survey.noises and other.survey.noises and self.calculus != other.calculus:
            raise DeclarationError(
                f"one system is of {self.calculus} and the other of {other.calculus}: bring both "
                "to one calculus with to_ito or to_stratonovich"
            )
        calculus = (self if self.survey.noises else other).calculus
        merged |= {"name": name, "origin": self.origin, "calculus": calculus}
        return System(*self.equations, *other.equations, **merged)

    def __str__(self) -> str:
        lines = [f"System {self.name}".rstrip()]
        lines += [f"  {equation}" for equation in (*self.equations, *self.boundary)]
        lines += [f"  {name_of(k)} := {text(v)}" for k, v in self.observed.items()]
        ends = ((text(s), *map(number, ends)) for s, ends in self.domain.items())
        lines += [f"  {low} <= {s} <= {high}" for s, low, high in ends]
        rows = self._rows(text)
        if rows:
            table = table_text(_HEADER, rows)
            lines += ["", *("  " + line for line in table.splitlines())]
        return "\n".join(lines)

    __repr__ = __str__

    def _rows(self, show: Any) -> list[list[str]]:
        rows = []
        for kind, symbols, given in (
            ("unknown", self.survey.states, self.initial),
            ("parameter", self.parameters, self.values),
        ):
            by_name = {name_of(k): v for k, v in given.items()}
            for symbol in symbols:
                value = by_name.get(name_of(symbol), getattr(symbol, "value", None))
                shown = "" if value is None else number(value)
                about = getattr(symbol, "description", "")
                rows.append([show(symbol), kind, shown, getattr(symbol, "unit", "") or "", about])
        for network in self.networks:
            kind = "network" if network.trainable else "forcing"
            rows.append([network.name, kind, type(network.module).__name__, "", ""])
        return rows

    def _repr_latex_(self) -> str:
        lines = [(e.lhs, "=", e.rhs) for e in (*self.equations, *self.boundary)]
        within = [(s, r"\in", sympy.Interval(*ends)) for s, ends in self.domain.items()]
        equations = aligned([*lines, *within])
        if not self.observed:
            return f"$${equations}$$"
        named = {sympy.Symbol(k) if isinstance(k, str) else k: v for k, v in self.observed.items()}
        definitions = aligned((k, ":=", v) for k, v in named.items())
        return rf"$$\begin{{gathered}}{equations} \\ {definitions}\end{{gathered}}$$"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        table = table_html(_HEADER, self._rows(text))
        return {
            "text/plain": str(self),
            "text/markdown": f"{self._repr_latex_()}\n\n{table}",
        }


def _rebuild(
    equations: Any,
    initial: dict,
    values: dict,
    observed: dict,
    name: str,
    origin: Origin,
    calculus: str,
    domain: dict,
    boundary: tuple,
) -> System:
    given = {"initial": initial, "values": values, "observed": observed, "domain": domain}
    rest = {"name": name, "origin": origin, "calculus": calculus, "boundary": boundary}
    return System(*equations, **given, **rest)


CALCULI = ("ito", "stratonovich")
_HEADER = ("symbol", "kind", "value", "unit", "description")


class Survey:
    """Every symbol of a system, in order of appearance, found in one walk over its expressions.

    `unknowns`, `parameters`, `undeclared` (plain symbols without a value) and `networks` map each
    to the first equation that names it, or else to the field and key, ``("observed", z)``;
    `drivers` are Brownian motions and controls, and `coordinates` those of fields. `orders`
    gives for each unknown the highest derivative in the equations; `rates`, per equation, the
    derivatives in it (`right_rates` on its right side), `mentions` the unknowns, and `sides` the
    unknowns on either side; `highest` for each unknown that derivative.
    `other_rates` are derivatives by something else than time, or of something else than an
    unknown. `definitions` gives for each unknown that an explicit equation or `observed` defines
    the place of that equation (None for `observed`). `has_arrays` says whether anything has a
    shape, and `has_imaginary` whether the imaginary unit stands anywhere.
    """

    def __init__(self, system: System) -> None:
        self.unknowns: dict[Any, Any] = {}
        self.parameters: dict[sympy.Symbol, Any] = {}
        self.undeclared: dict[sympy.Symbol, Any] = {}
        self.networks: dict[Neural, Any] = {}
        self.drivers: dict[Any, Any] = {}
        self.coordinates: dict[Coordinate, Any] = {}
        self.orders: dict[Any, int] = {}
        self.rates: list[set[sympy.Derivative]] = []
        self.right_rates: list[set[sympy.Derivative]] = []
        self.highest: dict[Any, sympy.Derivative] = {}
        self.mentions: list[set[Any]] = []
        self.sides: list[tuple[set[Any], set[Any]]] = []
        self.has_arrays = False
        self.has_imaginary = False
        self.other_rates: dict[sympy.Derivative, Any] = {}
        self._valued = {name_of(k) for k in system.values}
        for equation in system.equations:  # what stands alone on the left comes first, in order
            left = equation.lhs.expr if isinstance(equation.lhs, sympy.Derivative) else equation.lhs
            if isinstance(left, AppliedUndef) and not isinstance(left, Driver):
                self.unknowns[left] = equation
        for equation in system.equations:
            rates: set[sympy.Derivative] = set()
            on_left: set[Any] = set()
            on_right: set[Any] = set()
            on_right_rates: set[sympy.Derivative] = set()
            self._walk(equation.lhs, equation, rates, on_left)
            self._walk(equation.rhs, equation, on_right_rates, on_right)
            rates |= on_right_rates
            self.rates.append(rates)
            self.right_rates.append(on_right_rates)
            self.sides.append((on_left, on_right))
            self.mentions.append(on_left | on_right)
            for rate in rates:
                order = int(rate.derivative_count)
                if order > self.orders.get(rate.expr, 0):
                    self.orders[rate.expr], self.highest[rate.expr] = order, rate
        for condition in system.boundary:
            for side in (condition.lhs, condition.rhs):
                self._walk(side, condition, set(), set())
        for field in ("observed", "initial", "values"):
            for key, value in getattr(system, field).items():
                if isinstance(value, sympy.Expr) and not value.is_number:
                    self._walk(value, (field, key), set(), set())
        for symbol in system.observed:
            if isinstance(symbol, AppliedUndef):
                self.unknowns.setdefault(symbol, ("observed", symbol))
        alone = [u for u in self.unknowns if _lone_side(self.unknowns[u], u)]
        named = [k for k in system.initial if k in self.unknowns]
        order = dict.fromkeys([*alone, *named, *self.unknowns])
        self.unknowns = {u: self.unknowns[u] for u in order}
        shaped = (
            getattr(s, "shape", ()) for s in (*self.unknowns, *self.parameters, *self.drivers)
        )
        self.has_arrays = self.has_arrays or any(shaped)
        self.definitions = self._definitions(system)

    @property
    def noises(self) -> list[Any]:
        """The Brownian motions."""
        return [driver for driver in self.drivers if isinstance(driver, Brownian)]

    @property
    def controls(self) -> list[Any]:
        """The controls."""
        return [driver for driver in self.drivers if isinstance(driver, Control)]

    @property
    def functions(self) -> list[Any]:
        """The unknowns that are functions of time and are named outside of given values."""
        return [
            unknown
            for unknown, where in self.unknowns.items()
            if unknown.args == (t,) and (not isinstance(where, tuple) or where[0] == "observed")
        ]

    @property
    def algebraic(self) -> list[Any]:
        """The unknowns without a rate and without a definition: equations without rates fix them.

        Those with an initial value come first, in its order.
        """
        return [u for u in self.functions if u not in self.orders and u not in self.definitions]

    @property
    def states(self) -> list[sympy.Expr]:
        """What the state holds: each unknown and its rates below its highest derivative.

        Algebraic unknowns come last.
        """
        highest = max(self.orders.values(), default=0)
        differential: list[Any] = [
            unknown if level == 0 else sympy.Derivative(unknown, (t, level))
            for level in range(highest)
            for unknown in self.unknowns
            if self.orders.get(unknown, 0) > level
        ]
        return differential + self.algebraic

    def _definitions(self, system: System) -> dict[Any, int | None]:
        """Explicit equations ``z = ...`` of what is never differentiated, and `observed`."""
        found: dict[Any, int | None] = dict.fromkeys(
            k for k in system.observed if isinstance(k, AppliedUndef)
        )
        for i, (equation, rates) in enumerate(zip(system.equations, self.rates, strict=True)):
            on_left, on_right = self.sides[i]
            candidates = [(equation.lhs, on_right), (equation.rhs, on_left)]
            for side, others in candidates[:1] if rates else candidates:  # D(x) = z is for x
                explicit = isinstance(side, AppliedUndef) and side not in self.orders
                if explicit and side not in found and side not in others:
                    found[side] = i
                    break
        return found

    def _walk(self, root: sympy.Basic, where: Any, rates: set, mentions: set) -> None:
        pending = [root]
        seen: set[sympy.Basic] = set()
        while pending:
            item = pending.pop()
            if isinstance(item, Driver):
                self.drivers.setdefault(item, where)
            elif isinstance(item, AppliedUndef):
                self.unknowns.setdefault(item, where)
                mentions.add(item)
                pending.extend(a for a in item.args if isinstance(a, Coordinate))
            elif isinstance(item, sympy.Derivative):
                self._rate(item, where, rates, mentions)
                if any(isinstance(s, Coordinate) for s in item.variables):
                    pending.append(item.expr)
            elif isinstance(item, At):
                pending.extend((item.place, item.expression))
            elif isinstance(item, Coordinate):
                self.coordinates.setdefault(item, where)
            elif isinstance(item, sympy.Symbol):
                if isinstance(item, Parameter) or item.name in self._valued:
                    self.parameters.setdefault(item, where)
                elif item != t:
                    self.undeclared.setdefault(item, where)
            elif item.args:
                if item not in seen:
                    seen.add(item)
                    pending.extend(reversed(item.args))
                    if isinstance(item, ArrayNode) and item.shape:
                        self.has_arrays = True
            elif isinstance(item, Neural):
                self.networks.setdefault(item, where)
            elif isinstance(item, ConstantArray):
                self.has_arrays = True
            elif item is sympy.I:
                self.has_imaginary = True

    def _rate(self, item: sympy.Derivative, where: Any, rates: set, mentions: set) -> None:
        inner = item.expr
        if not isinstance(inner, AppliedUndef) or any(s != t for s in item.variables):
            self.other_rates.setdefault(item, where)
            return
        if isinstance(inner, Driver):
            self.drivers.setdefault(inner, where)
            return
        self.unknowns.setdefault(inner, where)
        mentions.add(inner)
        rates.add(item)


def _lone_side(where: Any, unknown: Any) -> bool:
    """Whether an unknown, or a rate of it, is the left side of the equation that names it first."""
    left = getattr(where, "lhs", None)
    return left == unknown or (isinstance(left, sympy.Derivative) and left.expr == unknown)


def _mapping(field: str, given: Any) -> Mapping[Any, Any]:
    if given is None:
        return MappingProxyType({})
    if not isinstance(given, Mapping):
        raise DeclarationError(
            f"{field} is a mapping from symbols to values, {{x: 1.0}}, not {type(given).__name__}"
        )
    for key in given:
        if not isinstance(key, (str, sympy.Expr)):
            raise DeclarationError(f"{field}: {key!r} is neither a symbol nor a name")
    return MappingProxyType(dict(given))


def _domain(given: Any) -> Mapping[Any, tuple[Any, Any]]:
    """Where each coordinate goes: two ends, the lower one first."""
    ends = {}
    for symbol, interval in _mapping("domain", given).items():
        if not isinstance(symbol, Coordinate):
            raise DeclarationError(
                f"domain: {symbol} is no coordinate; declare it with sm.coordinate(...)"
            )
        try:
            low, high = (sympy.sympify(end) for end in interval)
            numbers = float(low), float(high)
        except (TypeError, ValueError, sympy.SympifyError):
            raise DeclarationError(
                f"domain of {symbol}: two numbers, (low, high), not {interval!r}"
            ) from None
        if not -np.inf < numbers[0] < numbers[1] < np.inf:
            raise DeclarationError(f"domain of {symbol}: {low} is not below {high}, or not finite")
        ends[symbol] = low, high
    return MappingProxyType(ends)


def _sympified(value: Any) -> sympy.Expr:
    try:
        return as_expression(value)
    except DeclarationError as error:
        raise DeclarationError(f"observed: {error}") from None
    except (sympy.SympifyError, TypeError, ValueError):
        raise DeclarationError(f"observed: {value!r} is not an expression") from None


def _merge(field: str, mine: Mapping, theirs: Mapping) -> dict:
    names = {name_of(k): k for k in mine}
    merged = dict(mine)
    for key, value in theirs.items():
        twin = names.get(name_of(key))
        if twin is None:
            merged[key] = value
        elif not _same(mine[twin], value):
            raise DeclarationError(
                f"both systems give {name_of(key)} in {field}, one as {text(mine[twin])} and the "
                f"other as {text(value)}: settle it with replace({field}={{...}}) on one of them"
            )
    return merged


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, sympy.Basic) or isinstance(b, sympy.Basic):
        return bool(a == b)
    return np.shape(a) == np.shape(b) and bool(np.all(np.asarray(a) == np.asarray(b)))
