"""Hooks that reduce a bucket as it is, or in 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.core.dtype import DType, bfloat16, float16
from flambeau.core.tensor import Tensor
from flambeau.distributed.collectives import all_reduce
from flambeau.distributed.driven import driven
from flambeau.distributed.groups import get_world_size
from flambeau.futures import Future
from flambeau.nn.parallel.buckets import GradBucket

__all__ = [
    "allreduce_hook", "bf16_compress_hook", "bf16_compress_wrapper", "fp16_compress_hook", "fp16_compress_wrapper",
]  # fmt: skip

Hook = Callable[[Any, GradBucket], Future[Tensor]]  # Any: the hook's own state


def reduced(tensor: Tensor, group: Any) -> Future[Tensor]:  # Any: a process group, None for that of all processes
    """A Future of the sum of ``tensor`` over a group, in its place."""
    work = all_reduce(tensor, group=group, async_op=True)
    assert work is not None
    return driven(work.wait, tensor)


def mean(tensor: Tensor, group: Any) -> Future[Tensor]:  # Any: as above
    """A Future of the mean of ``tensor`` over a group, in its place."""
    return reduced(tensor.div_(get_world_size(group)), group)


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:  # Any: a group
    """The mean of the gradients over a group (None: all processes), as without a hook."""
    return mean(bucket.buffer(), process_group)


def _compressed(group: Any, bucket: GradBucket, dtype: DType) -> Future[Tensor]:
    buffer = bucket.buffer()
    return mean(buffer.to(dtype), group).then(lambda found: buffer.copy_(found.value()))


def fp16_compress_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:  # Any: a group
    """The mean of the gradients, sent and added in float16: half of what float32 sends."""
    return _compressed(process_group, bucket, float16)


def bf16_compress_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:  # Any: a group
    """The mean of the gradients, sent and added in bfloat16: half of what float32 sends."""
    return _compressed(process_group, bucket, bfloat16)


def _wrapped(hook: Hook, dtype: DType) -> Hook:
    def compressing(state: Any, bucket: GradBucket) -> Future[Tensor]:
        buffer = bucket.buffer()
        bucket.set_buffer(buffer.to(dtype))
        return hook(state, bucket).then(lambda found: buffer.copy_(found.value()))

    return compressing


def fp16_compress_wrapper(hook: Hook) -> Hook:
    """Another hook, which is given the gradients in float16."""
    return _wrapped(hook, float16)


def bf16_compress_wrapper(hook: Hook) -> Hook:
    """Another hook, which is given the gradients in bfloat16."""
    return _wrapped(hook, bfloat16)
