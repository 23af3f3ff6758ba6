"""Expressions and tables as text, LaTeX and HTML."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter

from ._symbols import t

_MOST = 50  # rows of a table, or lines of mathematics, that a notebook shows


def _is_rate(expression: Any) -> bool:
    return all(symbol == t for symbol, _ in expression.variable_count)


def _is_of_space(expression: Any) -> bool:
    """Whether an unknown is a function of coordinates, beside time."""
    return isinstance(expression, AppliedUndef) and expression.args != (t,)


class _Text(StrPrinter):
    def _print_Derivative(self, expr: Any) -> str:
        inside = self._print(expr.expr)
        if _is_rate(expr) and not _is_of_space(expr.expr):
            order = expr.derivative_count
            return f"D({inside})" if order == 1 else f"D({inside}, {order})"
        wrt = [self._print(s) for s, n in expr.variable_count for _ in range(n)]
        return f"D({inside}, {', '.join(wrt)})"

    def _print_AppliedUndef(self, expr: Any) -> str:
        name = expr.func.__name__
        if all(isinstance(a, sympy.Symbol) for a in expr.args):
            return name
        return f"{name}({', '.join(self._print(a) for a in expr.args)})"

    def _print_Function(self, expr: Any) -> str:
        if isinstance(expr, AppliedUndef):
            return self._print_AppliedUndef(expr)
        return super()._print_Function(expr)

    def _print_Float(self, expr: Any) -> str:
        return f"{float(expr):.6g}"


class _Latex(LatexPrinter):
    def _print_Symbol(self, expr: Any, style: str = "plain") -> str:
        shown = super()._print_Symbol(expr, style)
        return re.sub(r"(?<![\\A-Za-z])[A-Za-z]{2,}", r"\\mathrm{\g<0>}", shown)

    def _print_Derivative(self, expr: Any) -> str:
        order = expr.derivative_count
        inside = self._print(expr.expr)
        plain = isinstance(expr.expr, AppliedUndef) and not _is_of_space(expr.expr)
        if _is_rate(expr) and order <= 2 and plain:
            return rf"\{'d' * order}ot{{{inside}}}"
        return super()._print_Derivative(expr)

    def _print_Function(self, expr: Any, exp: Any = None) -> str:
        if isinstance(expr, AppliedUndef) and all(isinstance(a, sympy.Symbol) for a in expr.args):
            name = self._print(sympy.Symbol(expr.func.__name__))
            return name if exp is None else f"{name}^{{{exp}}}"
        return super()._print_Function(expr, exp)

    def _print_Float(self, expr: Any) -> str:
        return super()._print_Float(sympy.Float(float(f"{float(expr):.6g}"), 6))


_LATEX = _Latex({"mul_symbol": r" \, "})
_LATEX._settings["mul_symbol_latex_numbers"] = r" \cdot "


def text(expression: Any) -> str:
    """An expression as the user would write it: ``a*x - D(y)``."""
    return _Text().doprint(expression)


def latex(expression: Any) -> str:
    """An expression as LaTeX, with dots for rates."""
    return _LATEX.doprint(expression)


def name_of(symbol: Any) -> str:
    """The name of a symbol, the text of any other expression."""
    if isinstance(symbol, str):
        return symbol
    if isinstance(symbol, sympy.Symbol):
        return symbol.name
    return symbol.func.__name__ if isinstance(symbol, AppliedUndef) else text(symbol)


def number(value: Any) -> str:
    """A number or array in short form, for tables."""
    shape = getattr(value, "shape", ())
    if shape:
        return f"array{tuple(shape)}"
    if not getattr(value, "is_number", True):
        return text(value)
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return str(value)


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as aligned text; columns without any entry are left out."""
    cells = _filled(header, rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def table_html(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as HTML, of the first rows where there are very many; its cells are escaped."""
    titles, *shown = _filled(header, rows[:_MOST])
    if len(rows) > _MOST:
        shown.append([f"... {len(rows) - _MOST} more", *[""] * (len(titles) - 1)])
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in shown
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _filled(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Header and rows, without the columns that are empty in every row."""
    kept = [i for i in range(len(header)) if not rows or any(row[i] for row in rows)]
    return [[row[i] for i in kept] for row in (header, *rows)]


def aligned(lines: Iterable[tuple[Any, str, Any]]) -> str:
    """Lines ``(left, sign, right)`` as LaTeX, aligned at the signs; the first ones of very many."""
    lines = iter(lines)
    shown = [rf"{latex(a)} &{sign} {latex(b)}" for a, sign, b in itertools.islice(lines, _MOST)]
    if rest := sum(1 for _ in lines):
        shown.append(rf"&\;\;\vdots \quad \text{{({rest} more)}}")
    return r"\begin{aligned}" + r" \\ ".join(shown) + r"\end{aligned}"
