"""Attention over packed sequences is attention in each of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

import flambeau as fb
from flambeau.nn.attention.varlen import AuxRequest, varlen_attn, varlen_attn_out
from flambeau.nn.functional import scaled_dot_product_attention as attention

Q_ENDS, K_ENDS = [0, 2, 5, 5], [0, 3, 6, 7]


def _inputs(heads: int = 4, key_heads: int = 4) -> tuple[fb.Tensor, fb.Tensor, fb.Tensor]:
    g = fb.Generator().manual_seed(3)
    return (
        fb.randn(5, heads, 8, generator=g, dtype=fb.float64),
        fb.randn(7, key_heads, 8, generator=g, dtype=fb.float64),
        fb.randn(7, key_heads, 6, generator=g, dtype=fb.float64),
    )


def _each(q: fb.Tensor, k: fb.Tensor, v: fb.Tensor, **options: Any) -> fb.Tensor:
    """The same sequence by sequence, with padding nowhere."""
    parts = []
    for i in range(3):
        a, b = q[Q_ENDS[i] : Q_ENDS[i + 1]], slice(K_ENDS[i], K_ENDS[i + 1])
        masks = options.get("masks")
        mask = None if masks is None or not a.shape[0] else masks(a.shape[0], K_ENDS[i + 1] - K_ENDS[i])
        out = attention(
            a.transpose(0, 1), k[b].transpose(0, 1), v[b].transpose(0, 1), mask, scale=options.get("scale"),
            enable_gqa=options.get("gqa", False),
        )  # fmt: skip
        parts.append(out.transpose(0, 1))
    return fb.cat(parts)


def _call(q: fb.Tensor, k: fb.Tensor, v: fb.Tensor, **options: Any) -> Any:
    return varlen_attn(q, k, v, fb.tensor(Q_ENDS), fb.tensor(K_ENDS), 3, 3, **options)


def test_each_sequence_attends_to_its_own_keys() -> None:
    q, k, v = _inputs()
    fb.testing.assert_close(_call(q, k, v), _each(q, k, v))
    fb.testing.assert_close(_call(q, k, v, scale=0.5), _each(q, k, v, scale=0.5))


def test_key_heads_are_shared() -> None:
    q, k, v = _inputs(4, 2)
    fb.testing.assert_close(_call(q, k, v, enable_gqa=True), _each(q, k, v, gqa=True))
    with pytest.raises(RuntimeError, match="enable_gqa"):
        _call(q, k, v)


@pytest.mark.parametrize("window", [(-1, 0), (1, 0), (0, 1), (1, -1)])
def test_windows_are_counted_from_the_ends(window: tuple[int, int]) -> None:
    def masks(length: int, count: int) -> fb.Tensor:
        own = fb.arange(length)[:, None] + count - length
        near = fb.arange(count)[None] - own
        left, right = (10 if w < 0 else w for w in window)
        return (near >= -left) & (near <= right)

    q, k, v = _inputs()
    fb.testing.assert_close(_call(q, k, v, window_size=window), _each(q, k, v, masks=masks))


def test_sums_of_exponentials() -> None:
    q, k, v = _inputs()
    out, lse = _call(q, k, v, return_aux=AuxRequest(lse=True))
    assert lse.shape == (4, 5) and lse.dtype is fb.float32
    scores = (q[:2].transpose(0, 1) @ k[:3].transpose(0, 1).mT) * 8**-0.5
    fb.testing.assert_close(lse[:, :2], scores.logsumexp(-1).float())
    fb.testing.assert_close(out, _call(q, k, v))


def test_pages_of_keys() -> None:
    q, k, v = _inputs()
    pages = [(t.new_zeros(6, 2, *t.shape[1:])) for t in (k, v)]
    table = fb.tensor([[4, 0], [1, 5], [2, 3]])
    for i, (start, end) in enumerate(pairwise(K_ENDS)):
        for j in range(end - start):
            for page, t in zip(pages, (k, v), strict=True):
                page[table[i, j // 2].item(), j % 2] = t[start + j]
    used = fb.tensor([3, 3, 1])
    found = varlen_attn(q, *pages, fb.tensor(Q_ENDS), None, 3, 3, block_table=table, seqused_k=used)
    assert isinstance(found, fb.Tensor)
    fb.testing.assert_close(found, _each(q, k, v))


def test_fewer_keys_and_none() -> None:
    q, k, v = _inputs()
    out, lse = _call(q, k, v, seqused_k=fb.tensor([0, 3, 1]), return_aux=AuxRequest(True))
    assert not out[:2].any() and lse[:, :2].isneginf().all()
    fb.testing.assert_close(out[2:], _each(q, k, v)[2:])


def test_gradients_and_a_given_result() -> None:
    q, k, v = (t.requires_grad_() for t in _inputs())
    _call(q, k, v, window_size=(-1, 0)).sum().backward()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in (q, k, v))
    out = fb.zeros(5, 4, 6, dtype=fb.float64)
    with fb.no_grad():
        same = varlen_attn_out(out, q, k, v, fb.tensor(Q_ENDS), fb.tensor(K_ENDS), 3, 3)
        assert same is out
        fb.testing.assert_close(out, _each(q, k, v))
