"""Symbols: time, derivatives, unknowns and parameters."""

from __future__ import annotations

import copyreg
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import sympy
from sympy.core.function import AppliedUndef, UndefinedFunction

from ._errors import DeclarationError

t = sympy.Symbol("t")
"""Time: the independent variable of every differential equation."""


def _with_arrays(name: str) -> Callable[[Any, Any], sympy.Expr]:
    """An operator of sympy that also takes arrays of numbers."""
    plain = getattr(sympy.Expr, name)

    @functools.wraps(plain)
    def operator(self: Any, other: Any) -> sympy.Expr:
        if isinstance(other, (np.ndarray, jax.Array)):
            from ._arrays import as_expression

            other = as_expression(other)
        return plain(self, other)

    return operator


class ArrayOperators:
    """Whole-array operators of a symbol: ``x[key]``, ``A @ x``, ``x.shape``, ``x * array``.

    There is no ``__iter__``, which sympy would take for a container of expressions; Python iterates
    by index.
    """

    __slots__ = ()
    __array_ufunc__ = None  # numpy arrays defer to `__rmatmul__` and `__rmul__`
    _iterable = False  # sympy looks at what is iterable as a container of expressions

    __add__, __radd__ = _with_arrays("__add__"), _with_arrays("__radd__")
    __sub__, __rsub__ = _with_arrays("__sub__"), _with_arrays("__rsub__")
    __mul__, __rmul__ = _with_arrays("__mul__"), _with_arrays("__rmul__")
    __truediv__, __rtruediv__ = _with_arrays("__truediv__"), _with_arrays("__rtruediv__")
    __pow__, __rpow__ = _with_arrays("__pow__"), _with_arrays("__rpow__")

    def __getitem__(self, key: Any) -> sympy.Expr:
        from ._arrays import index

        return index(self, key)

    def __matmul__(self, other: Any) -> sympy.Expr:
        from ._arrays import matmul

        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> sympy.Expr:
        from ._arrays import matmul

        return matmul(other, self)


class _FunctionClass(UndefinedFunction):
    """Metaclass of functions of time, so that they pickle with their metadata."""


def make_function(base: type, name: str, *, numbers: str = "real", **metadata: Any) -> Any:
    """A function of time of a kind (`Unknown`, say), to be applied to its arguments.

    `numbers` are what its values are: "real" or "complex".
    """
    what = {numbers: True, "numbers": numbers}
    return _FunctionClass(name, bases=(base,), **what, **metadata)


def _rebuild_function(base: type, name: str, metadata: dict[str, Any]) -> type:
    return make_function(base, name, **metadata)


def _reduce_function(cls: Any) -> tuple:
    base = cls.__bases__[0]
    return _rebuild_function, (base, cls.name, {key: getattr(cls, key) for key in base.metadata})


copyreg.pickle(_FunctionClass, _reduce_function)


class Function(ArrayOperators, AppliedUndef):
    """A function of time that may have a shape; the base of unknowns and of driving paths."""

    shape: tuple[int, ...] = ()
    numbers: str = "real"
    metadata: tuple[str, ...] = ()  # the fields that were declared

    def _sympystr(self, printer: Any) -> str:
        return self.func.name

    _sympyrepr = _sympystr

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        name = printer._print(sympy.Symbol(self.func.name))
        return name if exp is None else f"{name}^{{{exp}}}"


class Unknown(Function):
    """A function of time (and of coordinates) that the equations determine."""

    unit: str | None = None
    bounds: tuple[float, float] | None = None
    guess: float | None = None
    description: str = ""
    metadata = ("shape", "unit", "bounds", "guess", "description", "numbers")

    def at(self, **places: Any) -> sympy.Expr:
        """Its value at a place, for a field: ``u.at(s=0)``."""
        from ._coordinates import at

        return at(self, **places)


_REAL = (sympy.re, sympy.im, sympy.Abs, sympy.arg)


@functools.lru_cache(maxsize=65536)
def is_complex(e: sympy.Basic) -> bool:
    """Whether an expression may have values that are not real: by what stands in it."""
    if isinstance(e, _REAL):
        return False
    if isinstance(e, AppliedUndef):
        return getattr(e, "numbers", "real") == "complex"
    return e is sympy.I or any(is_complex(a) for a in e.args)


class Parameter(ArrayOperators, sympy.Symbol):
    """A constant of the model: given a value, or estimated from data."""

    __slots__ = ("bounds", "description", "guess", "shape", "unit", "value")

    def __new__(
        cls,
        name: str,
        *,
        value: Any = None,
        unit: str | None = None,
        bounds: tuple[float, float] | None = None,
        guess: Any = None,
        description: str = "",
        shape: tuple[int, ...] = (),
        **assumptions: Any,
    ) -> Parameter:
        self = sympy.Symbol.__xnew__(cls, name, **{"real": True, **assumptions})
        self.value = _frozen(name, value)
        self.unit = unit
        self.bounds = None if bounds is None else (float(bounds[0]), float(bounds[1]))
        self.guess = _frozen(name, guess)
        self.description = description
        self.shape = tuple(shape)
        return self

    def _metadata(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in Parameter.__slots__}

    def _hashable_content(self) -> tuple:
        # sympy sorts by these: they must compare, which None and tuples do not
        arrays = (_bytes(self.value), _bytes(self.guess))
        shapes = (self.shape, np.shape(self.value), np.shape(self.guess))
        words = repr((shapes, self.unit, self.bounds, self.description))
        return (*super()._hashable_content(), words, *arrays)

    def __getnewargs_ex__(self) -> tuple:
        return (self.name,), self._metadata()

    def __setstate__(self, state: Any) -> None:
        pass  # everything travels in `__getnewargs_ex__`

    def __getstate__(self) -> None:
        return None


def _frozen(name: str, value: Any) -> Any:
    """A hashable copy of a number or nested sequence of numbers."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            raise TypeError
        return _nested(np.asarray(float(value) if isinstance(value, sympy.Expr) else value, float))
    except (TypeError, ValueError):
        raise DeclarationError(
            f"{name}: a value or guess is a real number or an array of them, not {value!r}; "
            "where it depends on other parameters, give it in System(values=...)"
        ) from None


def _nested(array: Any) -> Any:
    return tuple(_nested(item) for item in array) if array.ndim else float(array)


def _bytes(value: Any) -> bytes:
    return b"" if value is None else np.asarray(value, float).tobytes()


def D(expression: Any, *wrt: Any) -> sympy.Expr:
    """Derivative of an expression: ``D(x)``, ``D(x, 2)``, ``D(x, t)``, ``D(u, s, s)``.

    Without further arguments it is the rate in time. An integer is the order of the
    derivative by the symbol before it (time, if there is none).

    >>> import sciml as sm
    >>> x = sm.unknown("x")
    >>> sm.D(x**2)
    2*x*Derivative(x, t)
    """
    counts: list[tuple[sympy.Expr, int]] = []
    for item in wrt or (t,):
        if isinstance(item, (int, sympy.Integer)):
            if item < 0:
                raise DeclarationError(f"D: the order of a derivative is 0 or more, not {item}")
            symbol = counts.pop()[0] if counts else t
            counts.append((symbol, int(item)))
        elif isinstance(item, sympy.Expr) and item._diff_wrt:
            counts.append((item, 1))
        else:
            raise DeclarationError(
                f"D: a derivative is taken by a symbol, as t or a coordinate, not by {item!r}; "
                "an order is a whole number, D(x, 2)"
            )
    if isinstance(expression, str):
        raise DeclarationError(f"D({expression!r}): give the symbol itself, not its name")
    expression = sympy.sympify(expression)
    for symbol, order in counts:
        if order and _is_constant_along(expression, symbol):
            expression = sympy.S.Zero
        elif order and isinstance(expression, (AppliedUndef, sympy.Derivative)):
            expression = _derivative(expression, symbol, order)
        elif order and _is_flux(expression, symbol):
            expression = _of_flux(expression, symbol, order)
        else:
            expression = expression.diff(symbol, order) if order else expression
    return expression


def _derivative(expression: sympy.Expr, symbol: sympy.Expr, order: int) -> sympy.Expr:
    return sympy.Derivative(expression, (symbol, order))


def _is_constant_along(expression: sympy.Expr, symbol: sympy.Expr) -> bool:
    """Whether an expression does not depend on a coordinate."""
    from ._coordinates import Coordinate

    if not isinstance(symbol, Coordinate) or symbol in expression.free_symbols:
        return False
    return not any(p.shape for p in expression.atoms(Parameter))  # values at the nodes, perhaps


def _is_flux(expression: sympy.Expr, symbol: sympy.Expr) -> bool:
    """Whether it is a derivative by a coordinate, of more than a field alone."""
    from ._coordinates import Coordinate
    from ._integral import Integral

    if isinstance(expression, Integral):
        return False  # its derivative is known
    return isinstance(symbol, Coordinate) and any(
        symbol in unknown.args for unknown in expression.atoms(AppliedUndef)
    )


def _of_flux(expression: sympy.Expr, symbol: sympy.Expr, order: int) -> sympy.Expr:
    """A derivative that is not carried out, but for sums and constant factors.

    So ``D(k(u) * D(u, s), s)`` stays what it says, the divergence of a flux, and is discretised so
    that the flux is conserved.
    """
    if expression.is_Add:
        return sympy.Add(*(D(term, symbol, order) for term in expression.args))
    if expression.is_Mul:
        factors: Any = expression.args
        outside = [f for f in factors if _is_constant_along(f, symbol)]
        if outside:
            inside = [f for f in factors if f not in outside]
            return sympy.Mul(*outside) * D(sympy.Mul(*inside), symbol, order)
    return _derivative(expression, symbol, order)


def unknown(
    name: str,
    *coordinates: sympy.Expr,
    shape: int | tuple[int, ...] = (),
    unit: str | None = None,
    bounds: tuple[float | None, float | None] | None = None,
    guess: Any = None,
    description: str = "",
    complex: bool = False,
) -> Any:
    """One unknown: a function of time that the equations determine.

    Arguments: `name`; `coordinates` it depends on (time alone by default); `shape` of its value
    at one instant; `unit` as text; `bounds` of its initial value and `guess` of it, for `fit`;
    `description`, shown in tables; `complex`, whether its values are complex numbers.

    >>> import sciml as sm
    >>> sm.unknown("x", unit="m", description="position")
    x
    """
    check_name(name)
    shape = as_shape(name, shape)
    if complex and (bounds is not None or guess is not None):
        raise DeclarationError(
            f"{name}: complex numbers have no bounds, and their guess is a value at the start, "
            f"initial={{{name}: ...}}"
        )
    cls = make_function(
        Unknown,
        name,
        numbers="complex" if complex else "real",
        shape=shape,
        unit=unit,
        bounds=None if bounds is None else _as_bounds(name, bounds),
        guess=_frozen(name, guess),
        description=description,
    )
    return cls(*(coordinates or (t,)))


def unknowns(names: str | Iterable[str], **metadata: Any) -> tuple:
    """Several unknowns at once: ``x, y = unknowns("x y")``; `metadata` as for `unknown`.

    >>> import sciml as sm
    >>> sm.unknowns("x y")
    (x, y)
    """
    return tuple(unknown(name, **metadata) for name in _names(names))


def parameter(
    name: str,
    value: Any = None,
    *,
    unit: str | None = None,
    bounds: tuple[float | None, float | None] | None = None,
    guess: Any = None,
    description: str = "",
    shape: int | tuple[int, ...] | None = None,
) -> Parameter:
    """One parameter: a constant with an optional value, unit, bounds, guess and shape.

    Arguments: `value`, a number or an array of `shape`; `unit` as text; `bounds`, (lower, upper),
    respected by `fit` and checked against every value; `guess`, where `fit` starts when there is
    no value; `description`, shown in tables.

    >>> import sciml as sm
    >>> sm.parameter("k", 0.3, unit="1/s", bounds=(0, 1))
    k
    """
    check_name(name)
    value, guess = _frozen(name, value), _frozen(name, guess)
    if shape is None:
        shape = np.shape(value if value is not None else 0.0 if guess is None else guess)
    shape = as_shape(name, shape)
    for what, given in (("value", value), ("guess", guess)):
        if given is not None and not _broadcasts(np.shape(given), shape):
            raise DeclarationError(
                f"{name}: the {what} has shape {np.shape(given)}, but the shape declared is {shape}"
            )
    return Parameter(
        name,
        value=value,
        unit=unit,
        bounds=None if bounds is None else _as_bounds(name, bounds),
        guess=guess,
        description=description,
        shape=shape,
    )


def parameters(names: str | Iterable[str], **metadata: Any) -> tuple[Parameter, ...]:
    """Several parameters at once: ``a, b = parameters("a b")``; `metadata` as for `parameter`.

    >>> import sciml as sm
    >>> sm.parameters("a b", bounds=(0, None))
    (a, b)
    """
    return tuple(parameter(name, **metadata) for name in _names(names))


def _names(names: str | Iterable[str]) -> list[str]:
    found = re.split(r"[\s,]+", names.strip()) if isinstance(names, str) else list(names)
    if not found or found == [""]:
        raise DeclarationError('no name was given: write for example unknowns("x y")')
    return found


def check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise DeclarationError(
            f"{name!r} cannot be the name of a symbol: use letters, digits and underscores, "
            "not starting with a digit"
        )
    if name == "t":
        raise DeclarationError('"t" is time: import it as sciml.t, or use another name')


def as_shape(name: str, shape: Any) -> tuple[int, ...]:
    lengths = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if any(not isinstance(n, (int, np.integer)) or n < 1 for n in lengths):
        raise DeclarationError(
            f"{name}: a shape is a positive whole number or a tuple of them, not {shape!r}"
        )
    return tuple(int(n) for n in lengths)


def _broadcasts(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(given, shape) == shape
    except ValueError:
        return False


def _as_bounds(name: str, bounds: Any) -> tuple[float, float]:
    try:
        lower, upper = bounds
        lower = -np.inf if lower is None else float(lower)
        upper = np.inf if upper is None else float(upper)
    except (TypeError, ValueError):
        raise DeclarationError(
            f"{name}: bounds are two numbers, (lower, upper), None for no bound, not {bounds!r}"
        ) from None
    if not lower < upper:
        raise DeclarationError(f"{name}: the lower bound {lower} is not below the upper {upper}")
    return lower, upper
