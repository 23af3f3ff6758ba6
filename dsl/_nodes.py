"""Nodes of whole-array expressions: constants, indexing, contraction, reduction, shifts; shapes.

Scalar functions broadcast over arrays as in numpy. What is not elementwise is a node of its own,
so that the size of an expression does not depend on the size of its arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from ._errors import ShapeError
from ._symbols import ArrayOperators, is_complex

Shape = tuple[int, ...]


class Static(sympy.Atom):
    """A Python value (an axis, an index) carried inside an expression."""

    __slots__ = ("value",)

    def __new__(cls, value: Hashable) -> Static:
        self = super().__new__(cls)
        self.value = value
        return self

    def _hashable_content(self) -> tuple:
        return (repr(self.value),)  # sympy sorts by it: slices and numbers must compare

    def __getnewargs__(self) -> tuple:
        return (self.value,)

    def _sympystr(self, printer: Any) -> str:
        return key_text(self.value) if _is_key(self.value) else str(self.value)

    def _latex(self, printer: Any) -> str:
        return rf"\mathtt{{{self._sympystr(printer)}}}"


class ConstantArray(ArrayOperators, sympy.AtomicExpr):
    """A fixed array of numbers inside an expression."""

    __slots__ = ("array", "name")
    is_commutative = True
    is_real = True

    def __new__(cls, array: Any, name: str = "") -> ConstantArray:
        self = super().__new__(cls)
        self.array = np.array(array, float)
        self.array.flags.writeable = False
        self.name = name
        return self

    @property
    def shape(self) -> Shape:
        return self.array.shape

    def _hashable_content(self) -> tuple:
        return (self.array.shape, self.array.tobytes(), self.name)

    def __getnewargs__(self) -> tuple:
        return (np.array(self.array), self.name)

    def _sympystr(self, printer: Any) -> str:
        return self.name or f"array{self.shape}"

    def _latex(self, printer: Any) -> str:
        return rf"\mathrm{{{self.name or 'array'}}}"


class ArrayNode(ArrayOperators, sympy.Expr):
    """Base of the whole-array operations; `args` are operands and `Static` settings."""

    is_commutative = True
    is_complex = True
    shape: Shape

    def _eval_is_real(self) -> bool | None:
        return None if is_complex(self) else True

    def _eval_derivative(self, symbol: sympy.Expr) -> sympy.Expr:
        if not any(operand.has(symbol) for operand in self.operands):
            return sympy.S.Zero
        return self.rate(symbol)

    @property
    def operands(self) -> tuple[sympy.Expr, ...]:
        return tuple(a for a in self.args if not isinstance(a, Static))  # type: ignore[misc]

    @property
    def settings(self) -> tuple[Any, ...]:
        return tuple(a.value for a in self.args if isinstance(a, Static))

    def rate(self, symbol: sympy.Expr) -> sympy.Expr:
        """The derivative; the operations below are linear in one operand, so it is itself."""
        return type(self)(*(_rate(a, symbol) for a in self.operands), *self._statics())

    def _statics(self) -> tuple[Static, ...]:
        return tuple(a for a in self.args if isinstance(a, Static))


def _rate(operand: sympy.Expr, symbol: sympy.Expr) -> sympy.Expr:
    return in_shape(operand.diff(symbol), shape_of(operand))


def in_shape(e: Any, shape: Shape) -> Any:
    """An expression in a shape, to which it is broadcast if it has another one."""
    return e if shape_of(e) == shape else e + ConstantArray(np.zeros(shape))


class _OutsideError(ShapeError, IndexError):
    """An index outside an array."""


class Index(ArrayNode):
    """``x[key]``: numpy's basic indexing, with integers, slices, ``None`` and ``...``."""

    def __new__(cls, operand: sympy.Expr, key: Static) -> Index:
        self = super().__new__(cls, operand, key)
        shape = shape_of(operand)
        try:
            self.shape = np.broadcast_to(np.zeros(()), shape)[thaw_key(key.value)].shape
        except IndexError:
            element = f"{operand}[{key_text(key.value)}]"
            if shape:  # an IndexError too: so ends an iteration
                message = f"{element} is outside the shape {shape} of {operand}"
                raise _OutsideError(message) from None
            message = f"{element} is no element: {operand} is a scalar"
            raise ShapeError(f"{message}; declare it with a shape, or drop it") from None
        return self

    def _sympystr(self, printer: Any) -> str:
        operand = printer._print(self.args[0])
        if isinstance(self.args[0], (sympy.Add, sympy.Mul, sympy.Pow)):
            operand = f"({operand})"
        return f"{operand}[{key_text(self.settings[0])}]"

    def _latex(self, printer: Any) -> str:
        return rf"{{{printer._print(self.args[0])}}}_{{{key_text(self.settings[0])}}}"


class Scatter(ArrayNode):
    """Zeros of a shape, with the operand at ``[key]``: the transpose of `Index`."""

    def __new__(cls, operand: sympy.Expr, key: Static, shape: Static) -> Scatter:
        self = super().__new__(cls, operand, key, shape)
        self.shape = shape.value
        return self

    def _sympystr(self, printer: Any) -> str:
        key, shape = self.settings
        return f"scatter({printer._print(self.args[0])}, {key_text(key)}, {shape})"

    def _latex(self, printer: Any) -> str:
        operand, key = printer._print(self.args[0]), key_text(self.settings[0])
        return rf"\operatorname{{scatter}}_{{{key}}}\left({operand}\right)"


class Matmul(ArrayNode):
    """``A @ x``: contraction of the last axis of A with the last but one of x, as in numpy."""

    def __new__(cls, left: sympy.Expr, right: sympy.Expr) -> Matmul:
        self = super().__new__(cls, left, right)
        a, b = shape_of(left), shape_of(right)
        try:
            self.shape = _matmul_shape(a, b)
        except ValueError:
            rule = "the last axis of the first is contracted with the last but one of the second"
            if not a or not b:
                rule = f"{right if a else left} is a scalar, use * for it"
            raise ShapeError(
                f"{left} @ {right}: shapes {a} and {b} cannot be contracted; {rule}"
            ) from None
        return self

    def rate(self, symbol: sympy.Expr) -> sympy.Expr:
        left, right = self.operands
        terms = []
        if left.has(symbol):
            terms.append(Matmul(_rate(left, symbol), right))
        if right.has(symbol):
            terms.append(Matmul(left, _rate(right, symbol)))
        return sympy.Add(*terms)

    def _sympystr(self, printer: Any) -> str:
        return " @ ".join(
            f"({printer._print(a)})" if isinstance(a, (sympy.Add, sympy.Mul)) else printer._print(a)
            for a in self.args
        )

    def _latex(self, printer: Any) -> str:
        return r"\,".join(
            rf"\left({printer._print(a)}\right)" if isinstance(a, sympy.Add) else printer._print(a)
            for a in self.args
        )


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    if not a or not b or a[-1] != b[-2 if len(b) > 1 else 0]:
        raise ValueError
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    return (*batch, *a[-2:-1], *b[-1:]) if len(b) > 1 else (*batch, *a[-2:-1])


class _Named(ArrayNode):
    """A node that prints as a call."""

    label = ""

    def _sympystr(self, printer: Any) -> str:
        return f"{self.label}({', '.join(printer._print(a) for a in self.args)})"

    def _latex(self, printer: Any) -> str:
        told = [a for a in self.args if not (isinstance(a, Static) and a.value is None)]
        inside = ", ".join(printer._print(a) for a in told)
        return rf"\operatorname{{{self.label}}}\left({inside}\right)"


class Sum(_Named):
    """Sum over one axis, or over all (``axis=None``)."""

    label = "total"

    def __new__(cls, operand: sympy.Expr, axis: Static) -> Sum:
        self = super().__new__(cls, operand, axis)
        shape = shape_of(operand)
        self.shape = () if axis.value is None else _without(operand, shape, axis.value)
        return self

    def _sympystr(self, printer: Any) -> str:
        operand, axis = printer._print(self.args[0]), self.settings[0]
        return f"total({operand})" if axis is None else f"total({operand}, axis={axis})"


class Cumulated(_Named):
    """Sums of all elements up to each one along an axis."""

    label = "cumulated"

    def __new__(cls, operand: sympy.Expr, axis: Static) -> Cumulated:
        self = super().__new__(cls, operand, axis)
        self.shape = shape_of(operand)
        return self


class Fourier(_Named):
    """What real numbers do to the Fourier coefficients of a periodic array along an axis.

    `factors` has that axis, of half the length and one; with `odd` they are times the imaginary
    unit, as of a derivative of odd order.
    """

    label = "fourier"

    def __new__(
        cls, operand: sympy.Expr, factors: sympy.Expr, axis: Static, odd: Static
    ) -> Fourier:
        self = super().__new__(cls, operand, factors, axis, odd)
        self.shape = shape_of(operand)
        return self

    def rate(self, symbol: sympy.Expr) -> sympy.Expr:
        operand, factors = self.operands
        return Fourier(_rate(operand, symbol), factors, *self._statics())


class Roll(_Named):
    """Periodic shift along an axis: element i of the result is element i - shift."""

    label = "roll"

    def __new__(cls, operand: sympy.Expr, shift: Static, axis: Static) -> Roll:
        self = super().__new__(cls, operand, shift, axis)
        self.shape = shape_of(operand)
        _without(operand, self.shape, axis.value)
        return self

    def _sympystr(self, printer: Any) -> str:
        operand, (shift, axis) = printer._print(self.args[0]), self.settings
        return f"roll({operand}, {shift}" + (f", axis={axis})" if axis else ")")


class Stack(_Named):
    """Arrays of equal shape, side by side along a new first axis."""

    label = "stack"

    def __new__(cls, *operands: sympy.Expr) -> Stack:
        self = super().__new__(cls, *operands)
        try:
            shape = np.broadcast_shapes(*(shape_of(a) for a in operands))
        except ValueError:
            shapes = ", ".join(str(shape_of(a)) for a in operands)
            raise ShapeError(
                f"{self}: the shapes {shapes} cannot be stacked; all must be the same"
            ) from None
        self.shape = (len(operands), *shape)
        return self


class Concatenate(_Named):
    """Arrays one after the other along their first axis."""

    label = "concatenate"

    def __new__(cls, *operands: sympy.Expr) -> Concatenate:
        self = super().__new__(cls, *operands)
        shapes = [shape_of(a) for a in operands]
        if any(not s or s[1:] != shapes[0][1:] for s in shapes):
            raise ShapeError(
                f"{self}: the shapes {', '.join(map(str, shapes))} cannot be joined; they must be "
                "the same beyond the first axis (a scalar x is joined as sm.stack([x]))"
            )
        self.shape = (sum(s[0] for s in shapes), *shapes[0][1:])
        return self


class Pad(_Named):
    """Zeros around an array: of each axis so many before it and so many behind."""

    label = "pad"

    def __new__(cls, operand: sympy.Expr, widths: Static) -> Pad:
        self = super().__new__(cls, operand, widths)
        sizes = zip(shape_of(operand), widths.value, strict=True)
        self.shape = tuple(n + before + behind for n, (before, behind) in sizes)
        return self


class Update(_Named):
    """An array in which a block is replaced, the one that begins at `starts`."""

    label = "update"

    def __new__(cls, whole: sympy.Expr, block: sympy.Expr, starts: Static) -> Update:
        self = super().__new__(cls, whole, block, starts)
        self.shape = shape_of(whole)
        ends = (i + n for i, n in zip(starts.value, shape_of(block), strict=True))
        if any(end > n for end, n in zip(ends, self.shape, strict=True)):
            raise ShapeError(f"{self}: the block does not fit into the shape {self.shape}")
        return self


class SolveLinear(_Named):
    """The solution of a small dense linear system; where entries have a shape, at each element.

    Operands: the k x k matrix row by row, then the k right-hand sides. Made by the compiler where
    equations are coupled through their highest derivatives, as with a mass matrix.
    """

    label = "solve"

    def __new__(cls, *operands: sympy.Expr) -> SolveLinear:
        self = super().__new__(cls, *operands)
        k = int((np.sqrt(4 * len(operands) + 1) - 1) / 2)
        self.shape = (k, *np.broadcast_shapes(*(shape_of(a) for a in operands)))
        return self

    def rate(self, symbol: sympy.Expr) -> sympy.Expr:
        """By the product rule: M x' = b' - M' x."""
        k = self.shape[0]
        matrix, right = self.operands[: k * k], self.operands[k * k :]
        new_right = [
            right[i].diff(symbol) - sum(matrix[k * i + j].diff(symbol) * self[j] for j in range(k))
            for i in range(k)
        ]
        return SolveLinear(*matrix, *new_right)


class SolveMatrix(_Named):
    """The solution x of ``A @ x = b`` for a square matrix A and a vector or matrix b."""

    label = "solve"

    def __new__(cls, matrix: sympy.Expr, right: sympy.Expr) -> SolveMatrix:
        self = super().__new__(cls, matrix, right)
        shape = shape_of(matrix)
        if len(shape) != 2 or shape[0] != shape[1] or shape_of(right)[:1] != shape[:1]:
            raise ShapeError(f"{self}: a square matrix is needed, not shape {shape}")
        self.shape = shape_of(right)
        return self

    def rate(self, symbol: sympy.Expr) -> sympy.Expr:
        """By the product rule: A x' = b' - A' x."""
        matrix, right = self.operands
        new_right = _rate(right, symbol)
        if matrix.has(symbol):
            new_right = new_right - Matmul(_rate(matrix, symbol), self)
        return SolveMatrix(matrix, new_right)


def _without(operand: sympy.Expr, shape: Shape, axis: int) -> Shape:
    if not -len(shape) <= axis < len(shape):
        what = f"{operand} of shape {shape}" if shape else f"{operand} is a scalar: it"
        raise ShapeError(f"{what} has no axis {axis}")
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]


@functools.lru_cache(maxsize=65536)
def shape_of(expression: sympy.Basic) -> Shape:
    """Shape of an expression: its operands' shapes, broadcast together.

    Raises `ShapeError` naming the smallest expression whose operands do not broadcast.
    """
    shape = getattr(expression, "shape", None)
    if isinstance(shape, tuple):
        return shape
    if isinstance(expression, sympy.Derivative):
        return shape_of(expression.expr)
    if isinstance(expression, AppliedUndef) or not expression.args:
        return ()
    shapes = [shape_of(argument) for argument in expression.args]
    if not any(shapes):
        return ()
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            f"{expression}: the shapes {sorted(set(filter(None, shapes)))} do not broadcast"
        ) from None


def _is_key(value: Any) -> bool:
    """Whether a setting is an index; others are plain numbers and tuples of them."""
    return isinstance(value, tuple) and all(
        not isinstance(item, tuple) or item[0] == "slice" for item in value
    )


def thaw_key(key: tuple) -> tuple:
    """The numpy index that a frozen key stands for."""
    return tuple(slice(*k[1:]) if isinstance(k, tuple) else k for k in key)


def key_text(key: tuple) -> str:
    def text(item: Any) -> str:
        if isinstance(item, tuple):
            start, stop, step = ("" if part is None else str(part) for part in item[1:])
            return f"{start}:{stop}" + (f":{step}" if step else "")
        return "..." if item is Ellipsis else str(item)

    return ", ".join(text(item) for item in key)
