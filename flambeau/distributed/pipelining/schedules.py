"""Schedules: how a stage runs the microbatches of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Any, ClassVar

from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, tree_map
from flambeau.distributed.pipelining.microbatch import TensorChunkSpec, merge, split, split_arguments
from flambeau.distributed.pipelining.orders import ORDERS, Pass
from flambeau.distributed.pipelining.stage import Loss, PipelineStage


class _Schedule:
    """A stage runs a batch in ``n_microbatches`` parts.

    Args:
        stage: this rank's.
        n_microbatches: in how many parts; all stages must say the same.
        loss_fn: ``loss_fn(output, target)``, a mean over the samples; all stages must say whether there is one. Without
            it nothing runs backward.
        args_chunk_spec, kwargs_chunk_spec: along which dimension each argument is cut; 0 where nothing is said.
        output_merge_spec: along which dimension each output is put together; 0 where nothing is said.
        scale_grads: weigh the loss of each microbatch by its share of the samples, so that gradients are those of the
            mean over the batch; else they are the sum of the microbatches'.

    Raises:
        ValueError: n_microbatches is below 1.
    """

    order: ClassVar[str]

    def __init__(
        self, stage: PipelineStage, n_microbatches: int, loss_fn: Loss | None = None,
        args_chunk_spec: Sequence[TensorChunkSpec] | None = None,
        kwargs_chunk_spec: Mapping[str, TensorChunkSpec] | None = None, output_merge_spec: Any = None,
        scale_grads: bool = True,
    ):  # fmt: skip
        if n_microbatches < 1:
            raise ValueError(f"{type(self).__name__}: n_microbatches must be at least 1, got {n_microbatches}")
        self._stage, self._n_microbatches, self._loss_fn = stage, n_microbatches, loss_fn
        self._args_spec, self._kwargs_spec, self._merge_spec = args_chunk_spec, kwargs_chunk_spec, output_merge_spec
        self.scale_grads = scale_grads
        self._plan = ORDERS[self.order](stage.stage_index, stage.num_stages, n_microbatches)

    def step(
        self, *args: Any, target: Any = None, losses: list[Tensor] | None = None, return_outputs: bool = True,
        loss_kwargs: Mapping[str, Any] | None = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Run a batch forward and, with a loss function, backward.

        The first stage gives the batch, the last one the target; keywords go to the stage's own part. ``losses`` gets
        those of the microbatches, on the last stage. Gradients add to those that the parameters have.

        Returns:
            On the last stage what the model gives for the batch, detached; None elsewhere, or without
            ``return_outputs``.

        Raises:
            ValueError: the batch is smaller than the number of microbatches; the last stage has no target.
        """
        return self._run(args, kwargs, target, losses, dict(loss_kwargs or {}), return_outputs, self._has_backward)

    def eval(self, *args: Any, target: Any = None, losses: list[Tensor] | None = None, **kwargs: Any) -> Any:
        """Run a batch forward, without gradients; as :meth:`step` otherwise."""
        with no_grad():
            return self._run(args, kwargs, target, losses, {}, True, False)

    @property
    def _has_backward(self) -> bool:
        return self._loss_fn is not None

    def _run(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], target: Any, losses: list[Tensor] | None,
        loss_kwargs: dict[str, Any], return_outputs: bool, trains: bool,
    ) -> Any:  # fmt: skip
        stage, count = self._stage, self._n_microbatches
        given = split_arguments(args, kwargs, count, self._args_spec, self._kwargs_spec)
        judged = stage.is_last and self._loss_fn is not None and (trains or target is not None)
        targets = self._targets(target) if judged else []
        outputs: list[Any] = []
        found: list[Tensor] = []
        try:
            for what, i in self._plan:
                if what is Pass.FORWARD:
                    output = stage.forward_one_chunk(i, *given[i], keep=trains)
                    if judged:
                        found.append(self._judge(output, targets[i][0], loss_kwargs))
                    if stage.is_last and return_outputs:
                        outputs.append(tree_map(_detached, output))
                elif trains:
                    weight = targets[i][1] if judged and self.scale_grads else 1.0
                    stage.backward_one_chunk(i, found[i] * weight if judged else None)
            stage.finish()
        finally:
            stage.forget()
        if losses is not None and judged:
            losses[:] = [loss.detach() for loss in found]
        return merge(outputs, self._merge_spec) if outputs else None

    def _judge(self, output: Any, target: Any, loss_kwargs: dict[str, Any]) -> Tensor:
        assert self._loss_fn is not None
        loss: Tensor = self._loss_fn(output, target, **loss_kwargs)
        return loss

    def _targets(self, target: Any) -> list[tuple[Any, float]]:
        """The target of each microbatch, and its share of the samples."""
        if target is None:
            raise ValueError("the last stage needs a target for its loss function: step(target=...)")
        count = self._n_microbatches
        parts = split(target, count, None, "target")
        sizes = [next((len(t) for t in flatten(p)[0] if isinstance(t, Tensor)), 1) for p in parts]
        return [(p, size / sum(sizes)) for p, size in zip(parts, sizes, strict=True)]


def _detached(value: Any) -> Any:  # Any: what a model gives
    return value.detach() if isinstance(value, Tensor) else value


class ScheduleGPipe(_Schedule):
    """All microbatches forward, then all backward: what all keep is in memory at once. arXiv:1811.06965."""

    __doc__ = f"{cleandoc(__doc__)}\n\n{cleandoc(_Schedule.__doc__ or '')}"
    order = "GPipe"


class Schedule1F1B(_Schedule):
    """Backwards as soon as they can run: a stage keeps at most as many microbatches as stages follow it, and its own.

    Narayanan et al., SOSP 2019, with a flush after each batch, arXiv:2006.09503.
    """

    __doc__ = f"{cleandoc(__doc__)}\n\n{cleandoc(_Schedule.__doc__ or '')}"
    order = "1F1B"
