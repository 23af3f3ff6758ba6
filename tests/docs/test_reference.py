"""The reference is written by hand, by topic; that it is complete is checked here."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import sciml

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def public_names(namespace: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(namespace).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]


PUBLIC = [
    *public_names(sciml),
    *(f"data.{name}" for name in public_names(sciml.data)),
    *(f"nn.{name}" for name in public_names(sciml.nn)),
]


def named(name: str) -> object:
    folder, _, last = name.rpartition(".")
    return getattr(getattr(sciml, folder) if folder else sciml, last)


def test_every_public_name_has_its_place_in_the_reference():
    text = "".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    described = re.findall(r"(?:auto\w+|py:data):: sciml\.([\w.]+)", text)
    assert sorted(described) == sorted(PUBLIC)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "t"])
def test_every_public_name_says_what_it_is_and_functions_have_an_example(name):
    described = inspect.getdoc(named(name)) or ""
    assert described.split("\n")[0].rstrip().endswith((".", "``", ":")), described
    if inspect.isfunction(named(name)):
        assert ">>> " in described
