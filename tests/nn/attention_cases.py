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


@case
def backends_by_name(T: Any) -> Any:
    attention = importlib.import_module(f"{T.__name__}.nn.attention")
    kinds = attention.SDPBackend
    chosen = (kinds.ERROR, kinds.MATH, kinds.FLASH_ATTENTION, kinds.EFFICIENT_ATTENTION, kinds.CUDNN_ATTENTION,
              kinds.OVERRIDEABLE)  # fmt: skip
    q, k, v = (t.detach() for t in _numbers(T, (2, 4, 3), (2, 5, 3), (2, 5, 2)))
    found = [[int(kind), kind.name] for kind in chosen]
    for several in ([kinds.MATH, kinds.EFFICIENT_ATTENTION], [kinds.CUDNN_ATTENTION, kinds.OVERRIDEABLE, kinds.MATH]):
        with attention.sdpa_kernel(several, set_priority=True):
            found.append(T.nn.functional.scaled_dot_product_attention(q, k, v))
    return found


@case
def causal_bias_by_its_class(T: Any) -> Any:
    module = _bias(T)
    q, k, v = _numbers(T, (1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 2))
    found = []
    for variant in (module.CausalVariant.LOWER_RIGHT, module.CausalVariant.UPPER_LEFT):
        bias = module.CausalBias(variant, 3, 5)
        out = T.nn.functional.scaled_dot_product_attention(q, k, v, bias, scale=0.3)
        found += [bias.variant.name, bias.seq_len_q, bias.seq_len_kv, bias._materialize(), out]
        found += T.autograd.grad(out.square().sum(), [q, k, v])
    return found


@case
def causal_bias_of_a_word(T: Any) -> Any:
    return _bias(T).CausalBias("upper left", 3, 5)._materialize()


@case
def no_mask(T: Any) -> Any:
    flex = _flex(T)
    at = [T.tensor(i) for i in range(4)]
    mask = flex.create_block_mask(flex.noop_mask, 1, 2, 8, 8, BLOCK_SIZE=4, device="cpu")
    q, k, v = (t.detach() for t in _numbers(T, (1, 2, 8, 3), (1, 2, 8, 3), (1, 2, 8, 5)))
    return [flex.noop_mask(*at), flex.create_mask(flex.noop_mask, 1, 1, 2, 3, device="cpu"), mask.full_kv_num_blocks,
            mask.sparsity(), flex.flex_attention(q, k, v, block_mask=mask)]  # fmt: skip


@case
def auxiliary_outputs(T: Any) -> Any:
    flex = _flex(T)
    q, k, v = (t.detach() for t in _numbers(T, (1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2)))
    bare, given = flex.AuxOutput(), flex.AuxOutput(lse=q, max_scores=None)
    found = [bare.lse, bare.max_scores, given.lse is q, list(flex.AuxOutput._fields), list(flex.AuxRequest._fields)]
    for asked in ({}, {"lse": True}):
        out, more = flex.flex_attention(q, k, v, scale=0.7, return_aux=flex.AuxRequest(**asked))
        found += [out, type(more).__name__, more.lse, more.max_scores]
    return found


@case
def kernel_options(T: Any) -> Any:
    """Hints to a compiler, which change no result."""
    flex = _flex(T)
    q, k, v = (t.detach() for t in _numbers(T, (1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2)))
    options = flex.FlexKernelOptions(BLOCK_M=16, BLOCK_N=16, PRESCALE_QK=True)
    known = {"num_warps", "num_stages", "BLOCK_M", "BLOCK_N", "BACKEND", "ROWS_GUARANTEED_SAFE"}
    return [dict(options), flex.FlexKernelOptions.__total__, known <= set(flex.FlexKernelOptions.__annotations__),
            flex.flex_attention(q, k, v, kernel_options=options)]  # fmt: skip


@case
def pictures_of_a_block_mask(T: Any) -> Any:
    flex = _flex(T)

    def near(b: Any, h: Any, q: Any, k: Any) -> Any:
        return (q >= k) & (q - k < 6 + 4 * h)

    mask = flex.create_block_mask(near, 1, 2, 24, 24, BLOCK_SIZE=4, device="cpu")
    lines = [mask.to_string(**options).splitlines() for options in ({}, {"grid_size": 3}, {"grid_size": (6, 2)})]
    return [
        *lines,
        mask.to_string(limit=1).splitlines(),
        str(mask).splitlines(),
        repr(mask).replace(f"{T.__name__}.", "").splitlines(),
    ]
