"""The reference is written by hand, by topic; that it is complete is checked here."""

import re
from pathlib import Path
from types import ModuleType

import sciml

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_every_public_name_has_its_place_in_the_reference():
    public = {
        name
        for name, value in vars(sciml).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    text = "".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    described = re.findall(r"(?:auto\w+|py:data):: sciml\.(\w+)", text)
    assert sorted(described) == sorted(public)
