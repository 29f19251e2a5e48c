"""Gradients averaged over all processes at first, and over subgroups later. Lin et al., arXiv:1808.07217."""

from __future__ import annotations

import logging
from typing import Any

from flambeau.core import events
from flambeau.core.tensor import Tensor
from flambeau.distributed.algorithms.ddp_comm_hooks.default_hooks import mean
from flambeau.futures import Future
from flambeau.nn.parallel.buckets import GradBucket

__all__ = ["PostLocalSGDState", "post_localSGD_hook"]

_log = logging.getLogger(__name__)


class PostLocalSGDState:
    """Of :func:`post_localSGD_hook`: the group of all processes and the subgroup, None for the default group of both.

    From iteration ``start_localSGD_iter`` on gradients are averaged over ``subgroup``, and with
    ``post_local_gradient_allreduce=False`` not at all.
    """

    def __init__(
        self, process_group: Any, subgroup: Any, start_localSGD_iter: int, post_local_gradient_allreduce: bool = True
    ):
        self.process_group, self.subgroup = process_group, subgroup
        self.start_localSGD_iter = start_localSGD_iter
        self.post_local_gradient_allreduce = post_local_gradient_allreduce
        self.iter = 0

    def maybe_increase_iter(self, bucket: GradBucket) -> None:
        """Count an iteration at its last bucket."""
        if bucket.is_last():
            self.iter += 1
            if self.iter == self.start_localSGD_iter:
                _log.info("gradients are averaged over subgroups from iteration %d on", self.iter)


def post_localSGD_hook(state: PostLocalSGDState, bucket: GradBucket) -> Future[Tensor]:
    """The mean of the gradients over all processes, or later over a subgroup.

    Models of different subgroups part then, until an averager brings them together, see
    :class:`flambeau.distributed.algorithms.model_averaging.averagers.PeriodicModelAverager`.
    """
    events.refuse("post-local SGD counts its iterations")
    buffer, late = bucket.buffer(), state.iter >= state.start_localSGD_iter
    state.maybe_increase_iter(bucket)
    if late and not state.post_local_gradient_allreduce:
        future: Future[Tensor] = Future()
        future.set_result(buffer)
        return future
    return mean(buffer, state.subgroup if late else state.process_group)
