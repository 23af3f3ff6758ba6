"""Golden files: the whole text of a message, compared with a file under tests/dsl/golden.

After a change of wording, ``SCIML_UPDATE_GOLDEN=1 pytest tests/dsl`` writes the files anew; read
their difference before committing it.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sciml.dsl import Eq, Equation, SciMLError
from sciml.dsl._origin import Origin

FOLDER = Path(__file__).parents[1] / "dsl" / "golden"
UPDATE = "SCIML_UPDATE_GOLDEN"


def at(line: int, file: str = "model.py") -> Origin:
    """A place that is the same on every machine."""
    return Origin(file, line)


def eq(line: int, lhs: object, rhs: object = 0) -> Equation:
    """An equation that was written at a line of model.py."""
    return Eq(lhs, rhs, origin=at(line))


def message(call: Callable[[], object]) -> str:
    """The class, the first public one, and the text of the error that a call raises."""
    with pytest.raises(SciMLError) as caught:
        call()
    public = (c.__name__ for c in type(caught.value).__mro__ if not c.__name__.startswith("_"))
    return f"{next(public)}: {caught.value}\n"


def agrees(case: str, text: str) -> None:
    """Asserts that a text is the one in the golden file of this case."""
    file = FOLDER / f"{case}.txt"
    if os.environ.get(UPDATE):
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"{file} is missing: {UPDATE}=1 writes it"
    assert text == file.read_text(encoding="utf-8"), f"{UPDATE}=1 rewrites {file}"


def cases_of(family: str) -> set[str]:
    """The names of the golden files of one family: names_clash.txt is of the family names."""
    return {file.stem for file in FOLDER.glob(f"{family}_*.txt")}
