"""Kernels from texts of C++; here an op with an expression, :mod:`flambeau.library`, makes one for every device."""

from __future__ import annotations

from flambeau.accelerator.absent import absent

_WHY = "register an op with an expression by flambeau.library instead"
create_jit_fn = _create_jit_fn = absent("flambeau.cuda.jiterator._create_jit_fn", _WHY)
_create_multi_output_jit_fn = absent("flambeau.cuda.jiterator._create_multi_output_jit_fn", _WHY)
