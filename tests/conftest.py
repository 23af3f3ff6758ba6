"""What holds for every test: x64, strict promotion, and annotations checked by beartype."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Before anything imports sciml; for the whole session, hence no `with`.
install_import_hook("sciml", "typecheck.checked")


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_functions():
    """Each compiled function holds maps of memory, of which a process may have only so many."""
    yield
    jax.clear_caches()
