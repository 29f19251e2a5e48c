"""Functions of scores have gradients; a module runs over several devices; flags and names of attention's kernels."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import flambeau as fb
from flambeau.nn import attention
from flambeau.nn.attention import flex_attention as flex


def _numbers(*shapes: tuple[int, ...]) -> list[fb.Tensor]:
    rng = np.random.default_rng(0)
    return [fb.tensor(rng.normal(size=shape)).requires_grad_() for shape in shapes]


def test_gradients_are_those_of_masked_attention() -> None:
    inputs = _numbers((1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2))
    mask = flex.create_block_mask(lambda b, h, q, k: q >= k, None, None, 4, 5, BLOCK_SIZE=2)
    out = flex.flex_attention(*inputs, block_mask=mask)
    wanted = fb.nn.functional.scaled_dot_product_attention(*inputs, attn_mask=mask.visible(1, 1, 4, 5, "cpu"))
    np.testing.assert_allclose(out.detach().numpy(), wanted.detach().numpy(), 1e-12)
    found = fb.autograd.grad((out * out).sum(), inputs)
    for f, w in zip(found, fb.autograd.grad((wanted * wanted).sum(), inputs), strict=True):
        np.testing.assert_allclose(f.numpy(), w.numpy(), 1e-10, 1e-12)


def test_blocks_alone_are_a_mask() -> None:
    counts, indices = fb.tensor([[[1, 2]]], dtype=fb.int32), fb.tensor([[[[1, 0], [0, 1]]]], dtype=fb.int32)
    mask = flex.BlockMask.from_kv_blocks(counts, indices, BLOCK_SIZE=2)
    assert mask.visible(1, 1, 4, 4, "cpu").int().tolist() == [[[[0, 0, 1, 1]] * 2 + [[1, 1, 1, 1]] * 2]]
    assert mask.q_num_blocks is not None and mask.q_num_blocks.tolist() == [[[1, 2]]]
    assert "sparsity=25.00%" in repr(mask) and str(mask).splitlines()[2:4] == ["  ██", "████"]


def test_which_computation_is_chosen() -> None:
    backend = attention.SDPBackend
    q = fb.ones(1, 2, 4)
    for nothing in (backend.ERROR, []):
        with pytest.raises(RuntimeError, match="no way to compute it is allowed"), attention.sdpa_kernel(nothing):
            fb.nn.functional.scaled_dot_product_attention(q, q, q)
    with pytest.raises(TypeError, match="must be SDPBackend"), attention.sdpa_kernel(["math"]):
        pass
    for chosen, names in ((backend.MATH, {"aten::softmax"}), ([backend.FLASH_ATTENTION, backend.MATH], set())):
        with fb.profiler.profile() as watched, attention.sdpa_kernel(chosen):
            fb.nn.functional.scaled_dot_product_attention(q, q, q)
        assert {e.key for e in watched.key_averages()} & {"aten::softmax"} == names


def test_switches_choose_the_computation() -> None:
    cuda = importlib.import_module("flambeau.compat.torch.backends.cuda")
    q = fb.ones(1, 2, 4)

    def composed() -> bool:
        with fb.profiler.profile() as watched:
            fb.nn.functional.scaled_dot_product_attention(q, q, q)
        return "aten::softmax" in {e.key for e in watched.key_averages()}

    others = (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_cudnn_sdp)
    try:
        found = [composed(), *((enable(False), composed())[1] for enable in others)]
    finally:
        for enable in others:
            enable(True)
    assert found == [False, False, False, True] and not composed()


def test_kernels_by_name() -> None:
    log: list[str] = []

    class Registered:
        def remove(self) -> None:
            log.append("removed")

    attention.register_flash_attention_impl("mine", register_fn=Registered)
    attention.activate_flash_attention_impl("mine")
    assert attention.current_flash_attention_impl() == "mine" and attention.list_flash_attention_impls() == ["mine"]
    attention.restore_flash_attention_impl()
    assert log == ["removed"] and attention.current_flash_attention_impl() is None
    with pytest.raises(ValueError, match="'other' is not registered; there are: mine"):
        attention.activate_flash_attention_impl("other")
    attention._implementations.clear()


def test_a_module_over_two_devices() -> None:
    layer = fb.nn.Linear(3, 2).to("strict")
    both = fb.nn.DataParallel(layer, device_ids=["strict", "strict"])
    x = fb.ones(5, 3, device="strict")
    np.testing.assert_allclose(both(x).detach().cpu().numpy(), layer(x).detach().cpu().numpy(), 1e-6)
    both(x).sum().backward()
    assert layer.bias is not None and layer.bias.grad is not None and layer.bias.grad.cpu().tolist() == [5.0, 5.0]
    assert fb.nn.parallel.data_parallel(layer, x, ["strict", "strict"]).shape == (5, 2)
