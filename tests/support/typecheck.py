"""The type checker that conftest.py applies to every function of sciml."""

from beartype import BeartypeConf, beartype

# As for pyright, an int will do where a float is asked for.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
