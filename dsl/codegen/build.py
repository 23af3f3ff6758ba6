"""From sympy expressions to the expression graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import sympy
from mpmath.libmp import to_float
from sympy.core.function import AppliedUndef
from sympy.functions.elementary.piecewise import ExprCondPair
from sympy.logic.boolalg import And, Boolean, Not, Or

from .._derivative import NeuralDerivative
from .._errors import DeclarationError
from .._neural import NeuralCall
from .._nodes import ArrayNode, ConstantArray, Matmul, SolveLinear, SolveMatrix
from .._show import text
from .graph import Graph
from .networks import derivative_node, product_with_derivative
from .rewrite import by_branches, has_singular, jax_function, may_be_singular, rewritten

_RELATIONS = {
    sympy.StrictLessThan: "<", sympy.LessThan: "<=", sympy.StrictGreaterThan: ">",
    sympy.GreaterThan: ">=", sympy.Equality: "==", sympy.Unequality: "!=",
}  # fmt: skip


class Builder:
    """Adds expressions to a graph.

    `leaves` maps symbols to nodes; `definitions` maps symbols and highest derivatives to the
    expressions they stand for. Inside a branch of `Piecewise` the operands of functions that can
    be singular are replaced, where the branch is not taken, by a harmless number (the double-where
    trick): their gradients stay finite.
    """

    def __init__(self, graph: Graph, leaves: Mapping[Any, int], definitions: Mapping[Any, Any]):
        self.graph = graph
        self.leaves = dict(leaves)
        self.definitions = definitions
        self._known: dict[tuple[sympy.Basic, int | None], int] = {}

    def build(self, expression: Any, guard: int | None = None) -> int:
        """The node of an expression; `guard` is the condition under which its value is used."""
        if expression.is_Number:
            return self.graph.number(_float(expression))
        key = (expression, guard)
        known = self._known.get(key)
        if known is None:
            known = self._build(expression, guard)
            self._known[key] = known
        return known

    def known(self, expression: Any) -> int | None:
        """The node of an expression that was built already."""
        return self._known.get((expression, None))

    def _build(self, e: Any, guard: int | None) -> int:
        if e in self.leaves:
            return self.leaves[e]
        if e in self.definitions:
            return self.build(self.definitions[e], guard)
        if e.is_Add:
            return self._add(e, guard)
        if e.is_Mul:
            return self._mul(e.args, guard)
        if e.is_Pow:
            return self._pow(e, guard)
        if isinstance(e, (ArrayNode, ConstantArray)):
            return self._array(e, guard)
        if isinstance(e, sympy.Piecewise):
            return self._piecewise(e, guard)
        if isinstance(e, sympy.Derivative):
            return self.build(self._total_derivative(e), guard)
        if e.is_NumberSymbol or e is sympy.I:
            return self.graph.number(_float(e))
        if isinstance(e, (sympy.Max, sympy.Min)):
            return self._extreme(e, guard)
        if isinstance(e, Boolean) and not e.is_Symbol:
            return self._condition(e, guard)
        if isinstance(e, sympy.Function) and not isinstance(e, AppliedUndef):
            return self._function(e, guard)
        raise DeclarationError(f"{text(e)} is not a declared symbol of this system")

    # -- arithmetic ----------------------------------------------------------------------------

    def _add(self, e: Any, guard: int | None) -> int:
        constant, varying = [], []
        for term in e.args:
            sign = 1
            if term.is_Mul and term.args[0] is sympy.S.NegativeOne:
                sign, number = -1, self._mul(term.args[1:], guard)
            else:
                number = self.build(term, guard)
            (constant if self.graph.is_constant(number) else varying).append((number, sign))
        if len(constant) > 1 and varying:
            constant = [(self._sum(constant), 1)]
        return self._sum(varying + constant)

    def _sum(self, terms: list[tuple[int, int]]) -> int:
        values: Any = [self.graph.value(n) for n, _ in terms]
        if None not in values:
            signs = (sign for _, sign in terms)
            return self.graph.number(math.fsum(s * v for s, v in zip(signs, values, strict=True)))
        terms = sorted(terms, key=lambda term: -term[1])  # positive terms first; the sort is stable
        if len(terms) == 1:
            number, sign = terms[0]
            return number if sign > 0 else self.graph.add("neg", number)
        numbers, signs = zip(*terms, strict=True)
        return self.graph.add("add", *numbers, static=signs)

    def _mul(self, factors: tuple[Any, ...], guard: int | None) -> int:
        """A product; factors that do not vary come first, as one factor of their own."""
        above: list[int] = []
        below: list[int] = []
        fixed_above: list[int] = []
        fixed_below: list[int] = []
        negative = False
        for factor in factors:
            if factor is sympy.S.NegativeOne:
                negative = not negative
                continue
            if factor.is_Pow and factor.exp.is_number and factor.exp.is_negative:
                number = self._guarded(self.build(1 / factor, guard), guard)
                (fixed_below if self.graph.is_constant(number) else below).append(number)
            else:
                number = self.build(factor, guard)
                (fixed_above if self.graph.is_constant(number) else above).append(number)
        constant = self._quotient(fixed_above, fixed_below)
        value = None if constant is None else self.graph.value(constant)
        if value == -1.0:
            constant, negative = None, not negative
        elif value == 1.0 and (above or below):
            constant = None
        if constant is not None:  # the product of what varies is a node that others can share
            above = [constant, self._product(above)] if above else [constant]
        result = self._quotient(above, below)
        assert result is not None
        return self.graph.add("neg", result) if negative else result

    def _quotient(self, above: list[int], below: list[int]) -> int | None:
        if not above and not below:
            return None
        top = self._product(above)
        if not below:
            return top
        bottom = self._product(below)
        one, two = self.graph.value(top), self.graph.value(bottom)
        if one is not None and two:
            return self.graph.number(one / two)
        return self.graph.add("div", top, bottom)

    def _product(self, numbers: list[int]) -> int:
        if not numbers:
            return self.graph.number(1.0)
        if len(numbers) == 1:
            return numbers[0]
        values = [self.graph.value(n) for n in numbers]
        if None not in values:
            return self.graph.number(math.prod(values))  # type: ignore[arg-type]
        return self.graph.add("mul", *numbers)

    def _pow(self, e: sympy.Pow, guard: int | None) -> int:
        base, exponent = e.args
        if exponent.is_number and exponent.is_negative:
            return self._mul((e,), guard)
        if exponent.is_Float and float(exponent).is_integer():
            exponent = sympy.Integer(int(exponent))
        if exponent.is_Integer:
            number = self.build(base, guard)
            value = self.graph.value(number)
            if value is not None:
                return self.graph.number(value ** int(exponent))
            return number if exponent == 1 else self.graph.add("ipow", number, static=int(exponent))
        if base.is_number and exponent.is_number:
            return self.graph.number(_float(e))
        branches = by_branches(e)
        if branches is not None:
            return self.build(branches, guard)
        number = self._guarded(self.build(base, guard), guard)
        if exponent == sympy.S.Half:
            return self.graph.add("function", number, static="jnp.sqrt")
        return self.graph.add("pow", number, self.build(exponent, guard))

    # -- functions and conditions --------------------------------------------------------------

    def _function(self, e: Any, guard: int | None) -> int:
        name = type(e).__name__
        if e.is_number:
            return self.graph.number(_float(e))
        simpler = rewritten(e)
        if simpler is None:
            simpler = by_branches(e)
        if simpler is not None:
            return self.build(simpler, guard)
        jax_name, args = jax_function(e)
        safe = 2.0 if name == "acosh" else 0.5
        numbers = [self.build(a, guard) for a in args]
        if may_be_singular(e):
            numbers = [self._guarded(n, guard, safe) for n in numbers]
        return self.graph.add("function", *numbers, static=jax_name)

    def _guarded(self, number: int, guard: int | None, safe: float = 0.5) -> int:
        if guard is None or self.graph.value(number) is not None:
            return number
        return self.graph.add("where", guard, number, self.graph.number(safe))

    def _piecewise(self, e: Any, guard: int | None) -> int:
        branches = []
        excluded = guard
        for pair in e.args:
            assert isinstance(pair, ExprCondPair)
            if pair.cond == sympy.true:
                branches.append((None, self.build(pair.expr, excluded)))
                break
            condition = self.build(pair.cond, guard)
            branches.append((condition, self.build(pair.expr, self._and(excluded, condition))))
            excluded = self._and(excluded, self.graph.add("not", condition))
        else:
            branches.append((None, self.graph.number(math.nan)))
        result = branches[-1][1]
        for condition, value in reversed(branches[:-1]):
            result = self.graph.add("where", condition, value, result)  # type: ignore[arg-type]
        return result

    def _extreme(self, e: Any, guard: int | None) -> int:
        """The largest or smallest; what may be singular is a branch, taken where it is that."""
        largest = isinstance(e, sympy.Max)
        singular = [a for a in e.args if has_singular(a)]
        plain = [a for a in e.args if a not in singular]
        name = "jnp.maximum" if largest else "jnp.minimum"
        numbers = [self.build(a, guard) for a in plain]
        result = numbers[0] if numbers else self.build(singular.pop(), guard)
        for other in numbers[1:]:
            result = self.graph.add("function", result, other, static=name)
        for a in singular:
            value = self.build(a, guard)
            beyond = self.graph.add("compare", value, result, static="<" if largest else ">")
            taken = self.graph.add("not", beyond)  # so that what is not a number is kept
            value = self.build(a, self._and(guard, taken))
            result = self.graph.add("where", taken, value, result)
        return result

    def _and(self, a: int | None, b: int) -> int:
        return b if a is None else self.graph.add("and", a, b)

    def _condition(self, e: Any, guard: int | None) -> int:
        if e == sympy.true or e == sympy.false:
            return self.graph.add("truth", static=bool(e), shape=())
        if not (e.is_Relational or isinstance(e, (And, Or, Not))):
            return self._condition(e.to_nnf(simplify=False), guard)
        numbers = [self.build(a, guard) for a in e.args]
        if e.is_Relational:
            return self.graph.add("compare", *numbers, static=_RELATIONS[type(e)])
        if isinstance(e, Not):
            return self.graph.add("not", *numbers)
        op = "and" if isinstance(e, And) else "or"
        result = numbers[0]
        for other in numbers[1:]:
            result = self.graph.add(op, result, other)
        return result

    # -- arrays and derivatives ----------------------------------------------------------------

    def _array(self, e: Any, guard: int | None) -> int:
        graph, shape = self.graph, e.shape
        if isinstance(e, ConstantArray):
            if not shape:
                return graph.number(float(e.array))
            return graph.add("table", static=graph.table(e.array), shape=shape)
        pointwise = isinstance(e, (NeuralCall, NeuralDerivative)) and e.network.pointwise
        if guard is not None and graph.shapes[guard] and not pointwise:
            guard = graph.add("any", guard, shape=())  # elements are not the branch's own here
        if isinstance(e, NeuralDerivative):
            return derivative_node(graph, e, [self.build(a, guard) for a in e.call.operands])
        if isinstance(e, Matmul):
            product = product_with_derivative(graph, e, lambda a: self.build(a, guard))
            if product is not None:
                return product
        numbers = [self.build(a, guard) for a in e.operands]
        if isinstance(e, NeuralCall):
            network = e.network
            static = (network.name, e.convention, network.pointwise, e.single_output)
            return graph.add("call", *numbers, static=static, shape=shape)
        if isinstance(e, SolveLinear):
            return self._solve(numbers, shape)
        if isinstance(e, SolveMatrix) and graph.is_constant(numbers[0]):
            return self._solve_factored(numbers[0], numbers[1], shape)
        return graph.add(type(e).__name__.lower(), *numbers, static=e.settings, shape=shape)

    def _solve(self, numbers: list[int], shape: tuple[int, ...]) -> int:
        """A small linear system; a matrix that does not vary is factored once."""
        k = shape[0]
        matrix, right = numbers[: k * k], numbers[k * k :]
        if len(shape) > 1 or not all(map(self.graph.is_constant, matrix)):
            return self.graph.add("solve", *numbers, shape=shape)
        whole = self.graph.add("matrix", *matrix, shape=(k, k))
        return self._solve_factored(whole, self.graph.add("stack", *right, shape=(k,)), shape)

    def _solve_factored(self, matrix: int, right: int, shape: tuple[int, ...]) -> int:
        factors = self.graph.add("factor", matrix, shape=())
        return self.graph.add("backsolve", factors, right, shape=shape)

    def _total_derivative(self, e: sympy.Derivative) -> sympy.Expr:
        """A rate that is no state: the derivative of what it is the rate of, by the chain rule."""
        order, inner = e.derivative_count, e.expr
        for lower in range(order - 1, -1, -1):
            below = sympy.Derivative(inner, (e.variables[0], lower)) if lower else inner
            if below in self.definitions:
                return self.definitions[below].diff(e.variables[0], order - lower)
        raise DeclarationError(f"{text(e)} is not a derivative of an unknown of this system")


def _float(e: Any) -> float:
    if e.is_Float and e._mpf_[3] <= 53:
        return to_float(e._mpf_)  # as float(e), quicker
    value = complex(e.evalf(20)) if not e.is_Float else complex(float(e))
    if value.imag:
        raise DeclarationError(f"{text(e)} is complex; equations are real here")
    return value.real
