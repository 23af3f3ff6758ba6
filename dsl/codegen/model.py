"""Model: a compiled system as an Equinox module, whose leaves are parameters and networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jax.core import Tracer
from jaxtyping import Array, Float

from .._complex import Complex
from .._errors import DeclarationError
from .._neural import as_dtype
from .._show import aligned, name_of, number, table_html, table_text, text
from .._symbols import is_complex, t
from .._system import System
from .mass import MassMatrix, mass_matrix, mass_pattern
from .pattern import Pattern, program_pattern
from .program import Program, State


class Model(eqx.Module):
    """A compiled system.

    Fields: `parameters`, by name; `initial`, the initial state (not a number where the system gives
    none, or an expression); `networks`, by name; `program`, everything static. All but the last are
    leaves: they can be differentiated, batched and replaced. ``model.vector_field`` has Diffrax's
    signature.
    """

    parameters: dict[str, Array]
    initial: Float[Array, " state"]
    networks: dict[str, Any]
    program: Program = eqx.field(static=True)

    # -- evaluation ----------------------------------------------------------------------------

    def vector_field(
        self, t: Any, y: Float[Array, " state"], args: Any = None
    ) -> Float[Array, " state"]:
        """Rates of the state `y` at time `t`; residuals, where `mass` is zero.

        `args` is what `constants` returned; without it, it is computed here.
        """
        constants, networks = self.constants() if args is None else args
        return self.program.rhs(jnp.asarray(t, y.dtype), y, constants, networks)

    @property
    def mass(self) -> Float[Array, " state"] | MassMatrix | None:
        """The mass matrix M in ``M dy/dt = vector_field``: its diagonal, if it has no more.

        1 for rates and 0 for algebraic equations; None where there are none of these. All of it,
        where equations hold rates in combinations that they do not give apart.
        """
        program = self.program
        if not any(program.algebraic):
            return None
        diagonal = jnp.asarray(1.0 - np.array(program.algebraic), self.dtype)
        if not program.couplings:
            return diagonal
        beside = self._evaluate(0.0, jnp.zeros_like(diagonal), [*program.couplings.values()])
        return mass_matrix(program, diagonal, beside)

    def diffusion(
        self, t: Any, y: Float[Array, " state"], args: Any = None
    ) -> Float[Array, "state noise"]:
        """The matrix g of ``dy = f dt + g dW`` at the state `y` and time `t`.

        Raises `DeclarationError` for a system without Brownian motions.
        """
        program, applies = self.program, self.program.diffusion
        if applies is None:
            raise DeclarationError("this system has no noise: there is no D(W) in its equations")
        constants, networks = self.noise_constants() if args is None else args
        time = jnp.asarray(t, y.dtype)

        def applied(rate: Array) -> Array:
            return applies(time, jnp.concatenate([y, rate]), constants, networks)

        return jax.vmap(applied, out_axes=1)(jnp.eye(program.noise_size, dtype=y.dtype))

    def noise_constants(self) -> tuple[tuple, dict[str, Any]]:
        """What the diffusion needs of the leaves, as `constants` for the vector field."""
        function = self.program.diffusion
        constants = () if function is None else function.constants(self.parameters, self.dtype)
        return constants, self.networks

    def constants(self) -> tuple[tuple, dict[str, Any]]:
        """What the vector field needs of the leaves: computed once per solve, passed as `args`."""
        return self.program.rhs.constants(self.parameters, self.dtype), self.networks

    @property
    def jacobian_pattern(self) -> Pattern:
        """Where the Jacobian of the vector field by the state can be other than zero, and drawn so.

        Parameters and networks may have any value.
        """
        return program_pattern(self.program, self.constants(), self.dtype)

    @property
    def mass_pattern(self) -> Pattern:
        """Where the mass matrix can have entries beside its diagonal."""
        return mass_pattern(self.program)

    def state(self) -> Float[Array, " state"]:
        """The initial state: `initial`, and the system's expressions of parameters."""
        given = self.program.initial_expressions
        pieces = [s for s in self.program.states if s.name in given]
        y = self.initial
        if not pieces:
            return y
        computed = self._evaluate(0.0, jnp.zeros_like(y), [given[s.name] for s in pieces])
        for piece, value in zip(pieces, computed, strict=True):
            y = y.at[piece.slice].set(jnp.ravel(jnp.broadcast_to(value, piece.shape)))
        return y

    def observed(self, t: Any, y: Float[Array, " state"]) -> dict[str, Array]:
        """The observed quantities at one instant, by name."""
        symbols = tuple(self.program.observed)
        values = self._evaluate(t, y, [self.program.observed[s] for s in symbols])
        return {name_of(s): v for s, v in zip(symbols, values, strict=True)}

    def evaluate(self, expression: Any, t: Any, y: Float[Array, " state"]) -> Array:
        """Any expression of declared symbols (or a name) at one instant.

        Raises `DeclarationError` for a symbol that is not in the system.
        """
        real, imaginary = self.parts(expression)
        if imaginary == 0:
            return self._evaluate(t, y, [real])[0]
        return jax.lax.complex(*jnp.broadcast_arrays(*self._evaluate(t, y, [real, imaginary])))

    def expression(self, wanted: Any) -> Any:
        """The expression of real numbers that a name or expression stands for.

        Raises `DeclarationError` for what is complex.
        """
        real, imaginary = self.parts(wanted)
        if imaginary != 0:
            shown = wanted if isinstance(wanted, str) else text(wanted)
            raise DeclarationError(
                f"{shown} is complex, and real numbers are wanted here: take sympy.re, sympy.im or "
                "sympy.Abs of it"
            )
        return real

    def parts(self, wanted: Any) -> tuple[Any, Any]:
        """The real and the imaginary part, 0 of what is real, of what is asked for."""
        program = self.program
        wanted = self.fields.get(wanted, wanted) if isinstance(wanted, str) else wanted
        if isinstance(wanted, str):
            symbols = self.symbols
            if wanted not in symbols:
                known = ", ".join(symbols)
                raise DeclarationError(f"{wanted!r} is no symbol of this system; it has {known}")
            found = program.observed.get(wanted, symbols[wanted])
            if program.complex is None or not is_complex(found):
                return found, sympy.S.Zero
            wanted = found
        e = sympy.sympify(wanted)
        both = (e, sympy.S.Zero) if program.complex is None else program.complex.split(e)
        if program.fields is not None:
            return program.fields.expression(both[0]), program.fields.expression(both[1])
        return both

    @property
    def fields(self) -> dict[str, Any]:
        """The fields and their rates among the states, by name; none, of an ordinary system."""
        return {self.whole(name): self._whole(e) for name, e in self._placed.items()}

    @property
    def _placed(self) -> dict[str, Any]:
        """The real fields, and their rates, that the states hold, by their names."""
        if self.program.fields is None:
            return {}
        back = {placed.state: u for u, placed in self.program.fields.placed.items()}
        symbols = {s.name: s.symbol.xreplace(back) for s in self.program.states}
        return {name: e for name, e in symbols.items() if e.has(*self.program.fields.placed)}

    def _whole(self, symbol: Any) -> Any:
        """The complex unknown, or rate, that a symbol is a part of; else the symbol."""
        parts = self.program.complex
        return symbol if parts is None or isinstance(symbol, str) else parts.whole(symbol)

    def whole(self, name: str) -> str:
        """The name of the unknown or rate that a piece of the state is, or is a part of."""
        piece = next(s for s in self.program.states if s.name == name)
        symbol = self._placed.get(name, piece.symbol)
        whole = self._whole(symbol)
        return name if whole == symbol else name_of(whole)

    @property
    def names(self) -> list[str]:
        """The names of the unknowns and rates of the state, and of what is observed."""
        program = self.program
        found = [self.whole(s.name) for s in program.states]
        found += [name_of(self._whole(k)) for k in program.observed]
        found += [] if program.complex is None else list(program.complex.observed)
        return list(dict.fromkeys(found))

    def coordinates_of(self, wanted: Any) -> tuple[Any, ...]:
        """The coordinates along which an expression varies, as the axes of its array do."""
        if self.program.fields is None:
            return ()
        wanted = self.fields.get(wanted, wanted) if isinstance(wanted, str) else wanted
        if isinstance(wanted, str):
            wanted = next((e for k, e in self.system.observed.items() if name_of(k) == wanted), t)
        return self.program.fields.coordinates(sympy.sympify(wanted))

    def on_state(self, name: str, values: Any) -> Any:
        """The part of a field's values at all nodes that belongs to the state."""
        assert self.program.fields is not None
        return self.program.fields.state_values(self._placed[name], values)

    def at_places(self, wanted: Any, places: Mapping[str, Any]) -> Any:
        """An expression of fields at several places of each coordinate, as an array of them."""
        if self.program.fields is None:
            raise DeclarationError("this model has no fields, and so no places")
        wanted = sympy.sympify(wanted)
        self.expression(wanted)  # real, or refused
        if self.program.complex is not None:
            wanted, _ = self.program.complex.split(wanted)
        return self.program.fields.at_places(wanted, places)

    @property
    def symbols(self) -> dict[str, sympy.Expr]:
        """Every symbol that can be asked for, by name."""
        program = self.program
        found = [*(s.symbol for s in program.states), *program.system.observed]
        found += [*program.parameters, *program.dependent, sympy.Symbol("t")]
        named = {name_of(s): s for s in found}
        if program.complex is not None:
            named |= {name_of(u): u for u in program.complex.pairs}
            named |= program.complex.observed
        return named

    def _evaluate(self, t: Any, y: Array, expressions: list[Any]) -> tuple:
        function = self.program.observe(expressions)
        constants = function.constants(self.parameters, self.dtype)
        values = function(jnp.asarray(t, y.dtype), y, constants, self.networks)
        return tuple(jnp.asarray(v, y.dtype) for v in values)

    # -- leaves --------------------------------------------------------------------------------

    @property
    def dtype(self) -> Any:
        """The floating-point type of the leaves."""
        return self.initial.dtype

    def replace(
        self,
        *,
        values: Mapping[Any, Any] | None = None,
        initial: Mapping[Any, Any] | None = None,
        networks: Mapping[Any, Any] | None = None,
    ) -> Model:
        """The same model with other leaves, by symbol or name; traced values are welcome.

        Raises `DeclarationError` for a name that the model does not have.
        """
        dtype = self.dtype
        states = {s.name: s for s in self.program.states}
        for key in values or {}:
            if name_of(key) in states:
                name = name_of(key)
                raise DeclarationError(
                    f"{name} is an unknown, and values are of parameters: give its value at the "
                    f"start, initial={{{name}: ...}}"
                )
        new_values = _updated("parameter", self.parameters, values, dtype)
        y, parts = self.initial, self.program.complex
        given = initial if parts is None else parts.initial(initial or {})
        rates = {name_of(e): name for name, e in self._placed.items()}  # of fields, as written
        for key, value in (given or {}).items():
            name = rates.get(name_of(key), name_of(key))
            if name in self.parameters:
                raise DeclarationError(f"{name} is a parameter: give it in values={{{name}: ...}}")
            if name not in states:
                raise DeclarationError(_absent("unknown", name, states))
            if name in self.program.initial_expressions:
                raise DeclarationError(
                    f"the initial value of {name} is an expression of the system, "
                    f"{self.program.initial_expressions[name]}: set its parameters instead"
                )
            piece = states[name]
            if name in self._placed:
                value = self.on_state(name, value)
            y = y.at[piece.slice].set(jnp.ravel(_as_array(name, value, piece.shape, dtype)))
        new_networks = dict(self.networks)
        for key, module in (networks or {}).items():
            name = name_of(key)
            if name not in self.networks:
                raise DeclarationError(_absent("network", name, self.networks))
            new_networks[name] = as_dtype(module, dtype)
        return Model(new_values, y, new_networks, self.program)

    # -- reading -------------------------------------------------------------------------------

    def initial_value(self, symbol: Any) -> Array:
        """The part of `initial` that belongs to one unknown (or rate), in its shape."""
        name = name_of(symbol)
        for piece in self.program.states:
            if piece.name == name:
                return jnp.reshape(self.initial[piece.slice], piece.shape)
        raise DeclarationError(_absent("unknown", name, [s.name for s in self.program.states]))

    @property
    def system(self) -> System:
        """The system as it was declared."""
        fields = self.program.fields
        if self.program.complex is not None:
            return self.program.complex.system
        return self.program.declared if fields is None else fields.system

    @property
    def grid(self) -> dict[str, np.ndarray]:
        """The nodes of each coordinate, by name; none, without fields."""
        fields = self.program.fields
        return {} if fields is None else {s.name: axis.nodes for s, axis in fields.axes.items()}

    @property
    def schemes(self) -> dict[Any, str]:
        """For each derivative by a coordinate, in words, how it is computed."""
        found = {} if self.program.fields is None else self.program.fields.schemes
        return {self._whole(e): words for e, words in found.items()}

    @property
    def states(self) -> tuple[State, ...]:
        """Where each unknown lies in the state vector."""
        return tuple(self.program.states)

    @property
    def source(self) -> str:
        """The generated JAX code of the vector field."""
        return self.program.rhs.source

    def __str__(self) -> str:
        title = f"Model {self.system.name}".rstrip()
        head = f"{title}: {self.program.size} states, {len(self.parameters)} parameters"
        return f"{head}\n{table_text(('symbol', 'kind', 'value'), self._rows())}"

    __repr__ = __str__

    def _rows(self) -> list[list[str]]:
        given = self.program.initial_expressions
        rows = []
        for s in self.states:
            value = text(given[s.name]) if s.name in given else number(self.initial_value(s.name))
            rows.append(
                [s.name, "algebraic" if s.name in self.program.residuals else "state", value]
            )
        rows += [[name, "parameter", number(v)] for name, v in self.parameters.items()]
        for name, module in self.networks.items():
            leaves = jax.tree.leaves(eqx.filter(module, eqx.is_inexact_array))
            count = sum(leaf.size for leaf in leaves)
            rows.append([name, "network", f"{type(module).__name__}, {count} weights"])
        return rows

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        mathematics = aligned((e.lhs, "=", e.rhs) for e in self.program.system.equations)
        table = table_html(("symbol", "kind", "value"), self._rows())
        return {"text/plain": str(self), "text/markdown": f"$${mathematics}$$\n\n{table}"}


def _absent(kind: str, name: str, known: Any) -> str:
    return f"{name} is no {kind} of this model; it has {', '.join(known) or 'none'}"


def _updated(kind: str, old: dict[str, Array], new: Mapping | None, dtype: Any) -> dict[str, Array]:
    result = dict(old)
    for key, value in (new or {}).items():
        name = name_of(key)
        if name not in old:
            raise DeclarationError(_absent(kind, name, old))
        result[name] = _as_array(name, value, old[name].shape, dtype)
    return result


def _as_array(name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    if isinstance(value, Tracer) or eqx.is_array(value):
        value = jnp.asarray(value, dtype)
        if value.shape not in ((), shape):
            raise DeclarationError(_misfit(name, value.shape, shape))
        return jnp.broadcast_to(value, shape)
    return jnp.asarray(_numbers(name, value, shape), dtype)


def _numbers(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A given value as an array of the declared shape."""
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise DeclarationError(f"{name} is given {value!r}, which is no number") from None
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise DeclarationError(_misfit(name, array.shape, shape)) from None


def _misfit(name: str, received: tuple, declared: tuple) -> str:
    several = "" if declared else ": for several values at once, map over the solve by jax.vmap"
    return (
        f"{name} was declared with shape {declared}; the value given has shape {received}{several}"
    )


def lower(
    declared: System,
    simplified: System,
    dtype: Any = None,
    fields: Any = None,
    complex: Complex | None = None,
) -> Model:
    """The model of a simplified system; `declared` is kept for display.

    `fields` says how the fields of the system that it comes from lie on a grid, and `complex` how
    its complex unknowns are written as real ones.
    """
    program = _program(declared, simplified, fields, complex)
    dtype = jnp.zeros(()).dtype if dtype is None else jnp.dtype(dtype)
    parameters = {}
    by_name = {name_of(k): v for k, v in program.fixed.items()}
    for p in program.parameters:
        value = by_name.get(p.name, getattr(p, "value", None))
        value = jnp.nan if value is None else value
        parameters[p.name] = _as_array(p.name, value, getattr(p, "shape", ()), dtype)
    given = {name_of(k): v for k, v in simplified.initial.items()}
    initial = np.full(program.size, np.nan)
    for s in program.states:
        if s.name in given and s.name not in program.initial_expressions:
            initial[s.slice] = np.ravel(_numbers(s.name, given[s.name], s.shape))
    terms = (*simplified.networks, *program.paths.values())
    networks = {n.name: as_dtype(n.module, dtype) for n in terms}
    return Model(parameters, jnp.asarray(initial, dtype), networks, program)


def _program(declared: System, simplified: System, fields: Any, complex: Complex | None) -> Program:
    """The program of a system, made once, whatever the type of the leaves."""
    kept = declared.__dict__
    if "_program" not in kept:
        kept["_program"] = Program(declared, simplified, fields, complex)
    return kept["_program"]
