"""What tensors of every layout hold, for cases to answer with."""

from __future__ import annotations

from typing import Any


def whole(x: Any) -> Any:
    """All that a sparse tensor is, of one by coordinates with its places in order; anything else as it is."""
    if isinstance(x, (list, tuple)):
        return [whole(v) for v in x]
    layout = str(getattr(x, "layout", "")).split(".")[-1]
    if layout == "sparse_coo":
        c = x.detach().coalesce()
        return [layout, list(x.shape), c.indices(), c.values(), x.sparse_dim(), x.dense_dim()]
    if layout in ("", "strided"):
        return x.detach() if hasattr(x, "detach") else x
    by_row = layout in ("sparse_csr", "sparse_bsr")
    parts = (x.crow_indices(), x.col_indices()) if by_row else (x.ccol_indices(), x.row_indices())
    return [layout, list(x.shape), *parts, x.values().detach(), x.sparse_dim(), x.dense_dim(), x._nnz()]
