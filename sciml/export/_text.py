"""Numbers, arrays and lines as Python text."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import numpy as np

from sciml.dsl.codegen.text import number_text

WIDTH = 100
_WRITTEN_OUT = 400  # elements; larger arrays are packed as hexadecimal text
_OPEN, _CLOSE = "([{", ")]}"


def entry(prefix: str, array: Any, suffix: str = ",") -> str:
    """``prefix array suffix`` as lines of code, with numbers that read back exactly.

    Small arrays are nested tuples, large ones bytes in hexadecimal: ``packed("d", shape, "...")``.
    """
    array = np.asarray(array)
    code = {"f8": "d", "f4": "f", "i4": "i", "u4": "I"}.get(array.dtype.str[1:])
    if array.size <= _WRITTEN_OUT or code is None:
        return wrapped(f"{prefix}{_nested(array)}{suffix}")
    indent = prefix[: len(prefix) - len(prefix.lstrip())]
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes().hex()
    size = (WIDTH - 8) // 2 * 2
    lines = [f'{indent}    "{data[i : i + size]}"' for i in range(0, len(data), size)]
    shape = tuple(int(n) for n in array.shape)
    head = [f"{prefix}packed(", f'{indent}    "{code}",', f"{indent}    {shape},"]
    return "\n".join([*head, *lines, f"{indent}){suffix}"])


def _nested(array: Any) -> str:
    if array.ndim == 0:
        return scalar_text(array[()])
    inside = ", ".join(_nested(row) for row in array)
    return f"({inside}{',' * (len(array) == 1)})"


def scalar_text(value: Any) -> str:
    """A number that reads back exactly."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    return number_text(float(value))


def wrapped(line: str) -> str:
    """A line of code broken inside brackets until each part fits."""
    indent = line[: len(line) - len(line.lstrip())]
    if len(line) <= WIDTH:
        return line
    statement = re.match(r"(\s*(?:return |[\w, ]+ = ))(.*)", line, re.DOTALL)
    if statement and len(_split(statement[2], "+-")) > 1:
        return f"{statement[1]}(\n{_sum(indent + '    ' + statement[2])}\n{indent})"
    opening = _break_at(line)
    if opening is None:
        return line
    closing = _partner(line, opening)
    head, inside, tail = line[: opening + 1], line[opening + 1 : closing], line[closing:]
    parts = _split(inside, ",")
    deeper = indent + "    "
    if all(not any(c in part for c in _OPEN) for part in parts) and len(parts) > 1:
        body = _fill(inside, deeper)
        comma = "" if inside.endswith(",") else ","
        return f"{head}\n{body}{comma}\n{wrapped(indent + tail)}"
    if len(parts) == 1 and not inside.endswith(","):
        return f"{head}\n{_sum(deeper + inside.strip())}\n{wrapped(indent + tail)}"
    body = "\n".join(_sum(f"{deeper}{part.strip()},") for part in parts)
    return f"{head}\n{body}\n{wrapped(indent + tail)}"


def _fill(text: str, indent: str, rest: str | None = None) -> str:
    return textwrap.fill(
        text,
        WIDTH - 1,
        initial_indent=indent,
        subsequent_indent=indent if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sum(line: str) -> str:
    """A part that may be broken before its plus and minus signs, being inside brackets."""
    if len(line) <= WIDTH:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    terms = _split(line.strip(), "+-")
    if len(terms) == 1:
        return wrapped(line)
    lines = [indent + terms[0].strip()]
    for term in terms[1:]:
        if len(lines[-1]) + len(term) + 1 <= WIDTH:
            lines[-1] += " " + term.strip()
        else:
            lines.append(indent + term.strip())
    return "\n".join(wrapped(each) for each in lines)


def _split(text: str, separators: str) -> list[str]:
    """Parts between the outermost commas, or before outermost plus and minus signs."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in _OPEN) - (c in _CLOSE)
        if depth or c not in separators:
            continue
        if c == ",":
            parts.append(text[start:i])
            start = i + 1
        elif text[i - 1 : i] == " " and text[i + 1 : i + 2] == " ":
            parts.append(text[start:i])
            start = i
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


def _break_at(line: str) -> int | None:
    """The outermost bracket with the longest inside."""
    best, longest, i = None, 0, 0
    while i < len(line):
        if line[i] in _OPEN:
            end = _partner(line, i)
            if end - i - 1 > longest:
                best, longest = i, end - i - 1
            i = end
        i += 1
    return best


def _partner(line: str, opening: int) -> int:
    depth = 0
    for i in range(opening, len(line)):
        depth += (line[i] in _OPEN) - (line[i] in _CLOSE)
        if depth == 0:
            return i
    raise ValueError(f"unbalanced brackets: {line}")


def paragraph(text: str, indent: str = "") -> str:
    """Prose for a docstring: nothing in it ends the string or escapes."""
    safe = text.replace("\\", "/").replace('"""', "'''")
    lines = []
    for line in safe.split("\n"):
        own = indent + line[: len(line) - len(line.lstrip())]
        lines.append(_fill(line.strip(), own, own + "    "))
    return "\n".join(lines)
