"""What holds for every test: x64, strict promotion, and annotations checked by beartype."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Before anything imports sciml; for the whole session, hence no `with`.
install_import_hook("sciml", "typecheck.checked")
