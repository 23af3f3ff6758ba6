"""Program: the generated source of a model, and the functions it defines."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import jax.scipy.linalg
import jax.scipy.special
import numpy as np
import sympy

from .._arrays import constant
from .._complex import Complex
from .._derivative import cotangent, derivative, tangent
from .._drivers import brownian
from .._errors import DeclarationError
from .._neural import MissingPath, call_each, call_module, neural
from .._nodes import Matmul, shape_of
from .._noise import find_noise, white
from .._open import open_parts, open_rates, state_below
from .._show import name_of, text
from .._symbols import t
from .._system import System
from .build import Builder
from .functions import bessel_j, flat
from .graph import Graph
from .source import function_source
from .write import Output


@dataclasses.dataclass(frozen=True)
class State:
    """One piece of the state vector: an unknown or a rate, its place and shape."""

    symbol: Any
    name: str
    offset: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def slice(self) -> slice:
        """Where it lies in the state vector."""
        return slice(self.offset, self.offset + self.size)


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """A generated function ``(t, state, constants, networks)`` with the one for its constants."""

    source: str
    tables: tuple[np.ndarray, ...]
    name: str

    @functools.cached_property
    def key(self) -> Hashable:
        """What makes two generated functions the same."""
        return self.source, tuple((a.dtype.str, a.shape, a.tobytes()) for a in self.tables)

    def constants(self, parameters: dict[str, Any], dtype: Any) -> tuple:
        """What the function needs of the parameters."""
        return _load(self)[0](parameters, dtype)

    def __call__(self, t: Any, state: Any, constants: tuple, networks: dict[str, Any]) -> Any:
        return _load(self)[1](t, state, constants, networks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self._hash)

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=512)
def _load(function: Function) -> tuple[Callable, Callable]:
    namespace: dict[str, Any] = {
        "jnp": jnp,
        "special": jax.scipy.special,
        "linalg": jax.scipy.linalg,
        "bessel_j": bessel_j,
        "flat": flat,
        "call": call_module,
        "call_each": call_each,
        "derivative": derivative,
        "tangent": tangent,
        "cotangent": cotangent,
        "lax": jax.lax,
        "tables": function.tables,
    }
    exec(compile(function.source, f"<sciml {function.name}>", "exec"), namespace)
    return namespace[f"{function.name}_constants"], namespace[function.name]


class Program:
    """Everything static about a compiled model; equal where the generated source is equal.

    `system` is the simplified system; `states` say where each unknown lies in the state vector;
    `rhs` is the generated vector field. `algebraic` says of each element of the state whether its
    row there is a residual that must be zero, and `residuals` holds by the name of each such piece
    its equation ``0 = residual``. `couplings` holds the entries of the mass matrix beside its
    diagonal, by the names of two pieces: the rate of the first stands with that of the second.
    `fields` makes arrays of expressions of fields, where the system comes from such, and `complex`
    real ones of complex ones.
    """

    def __init__(
        self, declared: System, system: System, fields: Any = None, complex: Complex | None = None
    ) -> None:
        self.declared, self.system, self.fields = declared, system, fields
        self.complex = complex
        self.states: list[State] = []
        offset = 0
        for symbol in system.survey.states:
            unknown = symbol.expr if isinstance(symbol, sympy.Derivative) else symbol
            piece = State(symbol, name_of(symbol), offset, getattr(unknown, "shape", ()))
            self.states.append(piece)
            offset += piece.size
        self.size = offset
        self.dependent, self.fixed = _split_values(declared)
        self.parameters = [p for p in declared.parameters if p not in self.dependent]
        self.definitions: dict[Any, Any] = {
            **system.observed,
            **{e.lhs: e.rhs for e in system.equations if isinstance(e.lhs, sympy.Derivative)},
            **self.dependent,
        }
        if declared.survey.has_arrays:
            self.definitions = {k: _in_shape_of(k, v) for k, v in self.definitions.items()}
        given = {e.lhs: e.rhs for e in system.equations if isinstance(e.lhs, sympy.Derivative)}
        still_open = open_rates(system)
        self.residuals = {
            name_of(state): equation
            for state, equation in zip(
                [*still_open, *system.survey.algebraic], system.equations[len(given) :], strict=True
            )
        }
        self.algebraic = tuple(s.name in self.residuals for s in self.states for _ in range(s.size))
        self.open = tuple(still_open.values())
        self.coupled = {top: e for top, e in given.items() if self.open and e.has(*self.open)}
        split = {top: open_parts(e, self.open) for top, e in self.coupled.items()}
        self.rates = []
        for s in self.states:
            rate = _next_rate(s.symbol, system.survey.highest)
            if s.name in self.residuals:
                rate = _in_shape_of(s.symbol, self.residuals[s.name].rhs)
            elif rate in split:
                rate = _in_shape_of(s.symbol, split[rate][1])
            self.rates.append(rate)
        self.couplings = {
            (name_of(state_below(top)), name_of(state_below(other))): -coefficient
            for top, (parts, _) in split.items()
            for other, coefficient in parts.items()
        }
        self.paths = {name_of(x): neural(name_of(x), MissingPath(x.shape), trainable=False)
                      for x in system.survey.controls}  # fmt: skip
        for x in system.survey.controls:
            both = self.paths[name_of(x)](t)
            self.definitions |= {x: both[0], white(x): both[1]}
        self.noise = find_noise(system) if system.survey.noises else None
        self.drivers = _pieces(system.survey.noises)
        self.initial_expressions = {
            name_of(k): v
            for k, v in system.initial.items()
            if isinstance(v, sympy.Expr) and not v.is_number
        }
        self.trainable = frozenset(n.name for n in declared.networks if n.trainable)
        doc = "Rates of the state."
        if self.residuals:
            doc = "Rates of the state, and residuals of the algebraic equations."
        if self.noise is None:
            self.diffusion = None
            self.rhs = self.function("vector_field", doc, self.rates, state=True)
        else:
            drift = {k: _in_shape_of(k, v) for k, v in self.noise.drift.items()}
            drift = {**self.definitions, **drift}
            self.rhs = self.function(
                "vector_field", "Drift of the state.", self.rates, state=True, definitions=drift
            )
            self.diffusion = self._diffusion()
        self._functions: dict[Any, Function] = {}

    @functools.cached_property
    def key(self) -> Hashable:
        """What makes two programs interchangeable in compiled code."""
        states = tuple((s.name, s.offset, s.shape) for s in self.states)
        initial = (
            tuple(self.initial_expressions),
            self.observe(self.initial_expressions.values()).key,
        )
        derived = {**self.system.observed, **self.dependent}
        observed = tuple(map(name_of, derived)), self.observe(derived.values()).key
        parameters = tuple(p.name for p in self.parameters)
        diffusion = None if self.diffusion is None else self.diffusion.key
        one_each = self.noise is not None and self.noise.one_each
        noise = diffusion, one_each, self.declared.calculus, tuple(self.paths)
        beside = tuple(self.couplings), self.observe(self.couplings.values()).key
        algebraic = self.algebraic, beside
        grid = None if self.fields is None else self.fields.key
        rest = initial, observed, parameters, self.trainable, grid
        return self.rhs.key, algebraic, noise, states, *rest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.key == other.key

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Program({self.declared.name or 'model'}, {self.size} states)"

    def observe(self, expressions: Iterable[Any]) -> Function:
        """The function that computes expressions of declared symbols; made once for each."""
        key = tuple(expressions)
        if self.coupled:
            key = tuple(map(self._without_open, key))
        if key not in self._functions:
            doc = "Observed quantities."
            self._functions[key] = self.function("observed", doc, key, state=False)
        return self._functions[key]

    def _without_open(self, expression: Any) -> Any:
        """The same without open rates, which cancel in the combinations that equations give."""
        expression = expression.xreplace(self.coupled)
        if not expression.has(*self.open):
            return expression
        parts, rest = open_parts(sympy.expand(expression), self.open)
        left = [text(rate) for rate, coefficient in parts.items() if sympy.simplify(coefficient)]
        if left:
            known = ", ".join(
                text(top - e + open_parts(e, self.open)[1]) for top, e in self.coupled.items()
            )
            raise DeclarationError(
                f"no equation gives {', '.join(left)} alone: of the derivatives there, the system "
                f"has {known}"
            )
        return rest

    @property
    def observed(self) -> dict[Any, Any]:
        """The observed quantities that the user knows: not the arrays that stencils read."""
        named = {} if self.fields is None else self.fields.definitions
        return {k: e for k, e in self.system.observed.items() if k not in named}

    @property
    def noise_size(self) -> int:
        """Components of all Brownian motions together."""
        return sum(piece.size for piece in self.drivers)

    def _diffusion(self) -> Function:
        """What a rate of the Brownian motions does to the state; it follows that in the vector."""
        assert self.noise is not None
        moved: dict[Any, Any] = {}
        for w in self.noise.brownians:
            if w.correlation is not None:  # correlated by the factor of independent ones
                factor = constant(np.linalg.cholesky(np.array(w.correlation)))
                mark = sympy.Derivative(_independent(w), t)
                moved[white(w)] = Matmul(factor, mark)
        parts = {top: part.xreplace(moved) for top, part in self.noise.noise.items()}
        expressions = [
            _in_shape_of(piece.symbol, parts.get(rate, sympy.S.Zero))
            for piece, rate in zip(self.states, self.rates, strict=True)
        ]
        doc = "Diffusion of the state, applied to the rates of the Brownian motions behind it."
        return self.function("diffusion", doc, expressions, state=True, drivers=self.drivers)

    def function(
        self,
        name: str,
        doc: str,
        expressions: Sequence[Any],
        *,
        state: bool,
        definitions: dict[Any, Any] | None = None,
        drivers: Sequence[State] = (),
    ) -> Function:
        """Generates a function of some expressions; with `state` it returns one flat vector.

        `definitions` replace the program's own; `drivers` follow the state in the vector it takes.
        """
        graph = Graph()
        leaves: dict[Any, int] = {t: graph.add("time", shape=())}
        labels: dict[int, str] = {}
        size = self.size + sum(piece.size for piece in drivers)
        moved = [dataclasses.replace(piece, offset=self.size + piece.offset) for piece in drivers]
        for piece in (*self.states, *moved):
            static = (piece.offset, piece.shape, size)
            leaves[piece.symbol] = graph.add("state", static=static, shape=piece.shape)
            labels[leaves[piece.symbol]] = _label(piece.symbol)
        for p in self.parameters:
            shape = getattr(p, "shape", ())
            leaves[p] = graph.add("parameter", static=p.name, shape=shape)
        definitions = definitions or self.definitions
        if self.fields is not None:  # arrays that expressions have named since
            definitions = {**self.fields.definitions, **definitions}
        builder = Builder(graph, leaves, definitions)
        numbers = [builder.build(e) for e in expressions]
        for symbol in (*self.system.observed, *self.dependent):
            known = builder.known(symbol)
            if known is not None and known not in labels:
                labels[known] = name_of(symbol)
        if state:
            shapes = [piece.shape for piece in self.states]
        else:
            shapes = [graph.shapes[n] for n in numbers]
        outputs = [Output(n, s) for n, s in zip(numbers, shapes, strict=True)]
        source = function_source(graph, labels, name, doc, outputs, flat=state)
        return Function(source, tuple(graph.tables), name)


def _pieces(brownians: Iterable[Any]) -> list[State]:
    """Where the rate of each Brownian motion lies in their vector."""
    pieces: list[State] = []
    for w in brownians:
        offset = sum(piece.size for piece in pieces)
        symbol = _independent(w) if w.correlation is not None else w
        pieces.append(State(white(symbol), f"D_{name_of(w)}", offset, w.shape))
    return pieces


def _independent(w: Any) -> Any:
    """The Brownian motion of independent components behind a correlated one."""
    return brownian(name_of(w), shape=w.shape)


def _split_values(system: System) -> tuple[dict[Any, sympy.Expr], dict[Any, Any]]:
    """Values that are expressions of other parameters, and those that are numbers."""
    by_name = {p.name: p for p in system.parameters}
    dependent, fixed = {}, {}
    for key, value in system.values.items():
        symbol = by_name.get(name_of(key), key)
        if isinstance(value, sympy.Expr) and not value.is_number:
            dependent[symbol] = value
        else:
            fixed[symbol] = value
    return dependent, fixed


def _in_shape_of(symbol: Any, value: Any) -> Any:
    """A definition, broadcast to the shape that its symbol was declared with."""
    shape = shape_of(value if isinstance(symbol, str) else symbol)
    return value if shape_of(value) == shape else value + constant(np.zeros(shape))


def _next_rate(symbol: Any, highest: dict[Any, sympy.Derivative]) -> Any:
    """The rate of a state: the next one, or the highest derivative."""
    unknown = symbol.expr if isinstance(symbol, sympy.Derivative) else symbol
    order = 1 + (symbol.derivative_count if isinstance(symbol, sympy.Derivative) else 0)
    top = highest.get(unknown)  # none, of what is algebraic
    known = top is not None and top.derivative_count == order
    return top if known else sympy.Derivative(unknown, (t, order))


def _label(symbol: Any) -> str:
    if isinstance(symbol, sympy.Derivative):
        order = symbol.derivative_count
        return f"D{order if order > 1 else ''}_{name_of(symbol.expr)}"
    return name_of(symbol)
