"""nn.attention in the torch API: functions of scores, masks by blocks, causal masks, and who computes."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)


def _flex(T: Any) -> Any:
    return importlib.import_module(f"{T.__name__}.nn.attention.flex_attention")


def _bias(T: Any) -> Any:
    return importlib.import_module(f"{T.__name__}.nn.attention.bias")


def _numbers(T: Any, *shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(0)
    return [T.tensor(rng.normal(size=shape)).requires_grad_() for shape in shapes]


def _causal(b: Any, h: Any, q: Any, k: Any) -> Any:
    return q >= k


@case
def scores_and_blocks(T: Any) -> Any:
    q, k, v, table = _numbers(T, (2, 4, 10, 3), (2, 2, 7, 3), (2, 2, 7, 5), (4, 10, 7))
    mask = _flex(T).create_block_mask(_causal, 2, 4, 10, 7, BLOCK_SIZE=(4, 2), device="cpu")

    def moved(score: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        return score + table[h, i, j] + b

    q, k, v, table = (t.detach() for t in (q, k, v, table))
    out, lse = _flex(T).flex_attention(q, k, v, moved, mask, enable_gqa=True, return_lse=True)
    return [out, lse]


@case
def block_mask(T: Any) -> Any:
    mask = _flex(T).create_block_mask(_causal, 2, 4, 10, 7, BLOCK_SIZE=(4, 2), device="cpu")
    names = "kv_num_blocks kv_indices full_kv_num_blocks full_kv_indices q_num_blocks full_q_num_blocks"
    found = [getattr(mask, name) for name in names.split()]
    return [*found, mask.to_dense(), mask.sparsity(), list(mask.shape), mask[0].kv_indices, mask[:, 1].kv_num_blocks,
            mask.numel()]  # fmt: skip


@case
def queries_that_see_nothing(T: Any) -> Any:
    q, k, v = (t.detach() for t in _numbers(T, (1, 2, 10, 3), (1, 2, 7, 3), (1, 2, 7, 5)))
    flex = _flex(T)
    mask = flex.create_block_mask(lambda b, h, q, k: (q > 3) & (k < 2), None, None, 10, 7, device="cpu", BLOCK_SIZE=4)
    out, more = flex.flex_attention(q, k, v, None, mask, return_aux=flex.AuxRequest(lse=True))
    return [out, more.lse, more.max_scores]


@case
def masks_together(T: Any) -> Any:
    flex = _flex(T)
    last = lambda b, h, q, k: k == 6  # noqa: E731
    return [flex.create_mask(made(_causal, last), 2, 3, 4, 7, device="cpu") for made in (flex.or_masks, flex.and_masks)]


@case
def causal_biases(T: Any) -> Any:
    (q,) = (t.detach() for t in _numbers(T, (1, 2, 5, 3)))
    attend, bias = T.nn.functional.scaled_dot_product_attention, _bias(T)
    return [
        attend(q, q[:, :, :3], q[:, :, :3], bias.causal_lower_right(5, 3)),
        attend(q, q, q, bias.causal_upper_left(5, 5)),
        [int(v) for v in bias.CausalVariant],
    ]


@case
def by_its_ops(T: Any) -> Any:
    q, k, v = _numbers(T, (2, 4, 3), (2, 5, 3), (2, 5, 2))
    attention = importlib.import_module(f"{T.__name__}.nn.attention")
    with attention.sdpa_kernel([attention.SDPBackend.MATH]):
        out = T.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return [out, *T.autograd.grad((out * out).sum(), [q, k, v]), attention.SDPBackend.MATH.value]
