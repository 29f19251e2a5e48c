"""What DistributedDataParallel does in one process: its buckets, and its errors without a group."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau import nn
from flambeau.nn.parallel import processes
from flambeau.nn.parallel.buckets import Bucket, GradBucket, divided
from flambeau.nn.parallel.reducer import leaves_of

DTYPES = (fb.float32, fb.float64)
Sizes = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(DTYPES)), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(Sizes, st.integers(1, 100), st.integers(1, 300), st.randoms())
def test_every_parameter_is_in_one_bucket_of_its_dtype(sizes: Any, first: int, other: int, random: Any) -> None:
    parameters = [fb.zeros(n, dtype=dtype) for n, dtype in sizes]
    order = random.sample(range(len(sizes)), len(sizes))
    buckets = divided(parameters, order, [first, other])
    assert sorted(n for b in buckets for n in b) == list(range(len(sizes)))
    seen: dict[object, int] = {}
    for numbers in buckets:
        dtype = parameters[numbers[0]].dtype
        assert {parameters[n].dtype for n in numbers} == {dtype}
        assert [order.index(n) for n in numbers] == sorted(order.index(n) for n in numbers)
        limit = first if dtype not in seen else other
        assert sum(parameters[n].nbytes for n in numbers[:-1]) < limit  # the last one filled it
        seen[dtype] = seen.get(dtype, 0) + 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5), st.booleans())
def test_views_have_the_forms_of_the_parameters_and_share_no_element(shapes: Any, transposed: bool) -> None:
    parameters = [fb.zeros(*shape).permute(*range(len(shape))[:: -1 if transposed else 1]) for shape in shapes]
    bucket = Bucket(0, range(len(shapes)), parameters)
    for i, (view, p) in enumerate(zip(bucket.views.values(), parameters, strict=True)):
        assert view.shape == p.shape
        moving = [i for i, n in enumerate(p.shape) if n > 1]
        if p.numel():
            assert [view.stride(i) for i in moving] == [p.stride(i) for i in moving]
        view.fill_(i + 1)
    wanted = [i + 1 for i, p in enumerate(parameters) for _ in range(p.numel())]
    assert bucket.flat.tolist() == wanted


def test_a_bucket_of_a_hook_takes_no_other_size() -> None:
    with pytest.raises(ValueError, match=r"takes a tensor of 6 elements, got one of shape \(5,\)"):
        GradBucket(Bucket(0, [0], [fb.zeros(2, 3)]), True).set_buffer(fb.zeros(5))


def test_leaves_of_results() -> None:
    a, b, c = (fb.ones(2, requires_grad=True) for _ in range(3))
    shared = a * 2
    found = leaves_of([(shared + shared).sum(), shared.view(2) * b.detach(), fb.ones(1)])
    assert found == {a._node} and c._node not in leaves_of([a, b.split(1)[0]]) == {a._node, b._node}


@pytest.mark.skipif(processes.available(), reason="this process is one of a group")
def test_without_a_process_group() -> None:
    with pytest.raises(ValueError, match="default process group has not been initialized"):
        nn.parallel.DistributedDataParallel(nn.Linear(2, 2))


def test_a_sync_batch_norm_in_one_process_is_a_batch_norm() -> None:
    plain = nn.BatchNorm2d(3)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    x = fb.randn(4, 3, 2, 2)
    assert (plain(x) == synced(x)).all() and (plain.running_var == synced.running_var).all()
    with pytest.raises(ValueError, match="at least 2D"):
        synced(fb.ones(3))
