"""One stage of a pipeline: a part of the model, and the messages to the stages before and after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from flambeau.autograd import backward
from flambeau.core.creation import zeros_like
from flambeau.core.device import DeviceLike
from flambeau.core.tensor import Tensor
from flambeau.distributed.groups import Group, member
from flambeau.distributed.pipelining.messages import Form, Receiver, Sender
from flambeau.nn.module import Module

Loss: TypeAlias = Callable[[Any, Any], Tensor]  # Any: what the model gives, and the target


class PipelineStage:
    """The part of a model that this rank runs.

    The stages are the ranks of the group in their order. What the submodule gives, a tensor or a tuple of them, goes to
    the next stage, which gets it as positional arguments; the shapes are told with the first message, and again where
    they change.

    Args:
        submodule: the part.
        stage_index, num_stages: which of how many.
        device: where the part is, and where what is received is put.
        input_args, output_args: accepted for PyTorch's sake; shapes are found out.
        group: as many ranks as there are stages; None: all.

    Raises:
        ValueError: stage_index is not this rank, or num_stages not the number of ranks.
        TypeError: submodule is no module.
    """

    def __init__(
        self, submodule: Module, stage_index: int, num_stages: int, device: DeviceLike = None,
        input_args: object = None, output_args: object = None, group: Group = None,
    ):  # fmt: skip
        if not isinstance(submodule, Module):
            raise TypeError(f"PipelineStage: submodule must be a Module, got {type(submodule).__name__}")
        found = member(group, "PipelineStage")
        if found is None:
            raise ValueError("PipelineStage: this rank is not in the group")
        if found.size() != num_stages:
            raise ValueError(f"PipelineStage: {num_stages} stages need as many ranks, and the group has {found.size()}")
        if stage_index != found.rank():
            raise ValueError(f"PipelineStage: rank {found.rank()} of the group runs the stage of that number, not "
                             f"{stage_index}")  # fmt: skip
        self.submod, self.stage_index, self.num_stages = submodule, stage_index, num_stages
        self.device, self.group = device, found
        before, after = stage_index - 1, stage_index + 1
        self._from_before = None if self.is_first else Receiver(found, before, device)
        self._to_before = None if self.is_first else Sender(found, before)
        self._from_after = None if self.is_last else Receiver(found, after, device)
        self._to_after = None if self.is_last else Sender(found, after)
        self._running: dict[int, tuple[list[Tensor], list[Tensor], tuple[Form, ...]]] = {}

    @property
    def is_first(self) -> bool:
        """Whether it takes the batch."""
        return self.stage_index == 0

    @property
    def is_last(self) -> bool:
        """Whether it gives the result."""
        return self.stage_index == self.num_stages - 1

    # -- one microbatch ----------------------------------------------------------------------------
    def forward_one_chunk(
        self, microbatch: int, args: tuple[Any, ...], kwargs: dict[str, Any], keep: bool
    ) -> Any:  # Any: what the part gives
        """Run a microbatch forward; ``keep`` what its backward needs. The first stage takes ``args``."""
        received: list[Tensor] = []
        if self._from_before is not None:
            if args:
                raise ValueError(f"stage {self.stage_index} gets its input from the stage before, so step() takes no "
                                 "positional arguments there")  # fmt: skip
            received = self._from_before.receive(microbatch)
            args = tuple(received)
        elif not args and not kwargs:
            raise ValueError("the first stage needs the batch: step() takes it")
        output = self.submod(*args, **kwargs)
        outputs: list[Tensor] = []
        forms: tuple[Form, ...] = ()
        if self._to_after is not None:
            outputs = self._tensors(output)
            forms = self._to_after.send(microbatch, outputs)
        if keep:
            self._running[microbatch] = received, outputs, forms
        return output

    def _tensors(self, output: Any) -> list[Tensor]:
        outputs = list(output) if isinstance(output, tuple | list) else [output]
        for i, t in enumerate(outputs):
            if not isinstance(t, Tensor):
                raise TypeError(
                    f"stage {self.stage_index}: what goes to the next stage must be a tensor or a tuple of tensors, "
                    f"and value {i} is {type(t).__name__}"
                )
        return outputs

    def backward_one_chunk(self, microbatch: int, loss: Tensor | None = None) -> None:
        """Run a microbatch backward, from ``loss`` on the last stage; the gradients of the inputs go back."""
        received, outputs, forms = self._running.pop(microbatch)
        if self._from_after is None:
            assert loss is not None
            backward([loss])
        else:
            wanted = [(t, form) for t, form in zip(outputs, forms, strict=True) if form.requires_grad]
            grads = self._from_after.receive_values([form for _, form in wanted])
            if wanted:
                backward([t for t, _ in wanted], grads)
        if self._to_before is not None:
            leaves = [t for t in received if t.requires_grad]
            self._to_before.send_values([t.grad if t.grad is not None else zeros_like(t) for t in leaves])

    def finish(self) -> None:
        """Wait until all that was sent is under way no more."""
        for sender in (self._to_before, self._to_after):
            if sender is not None:
                sender.finish()

    def forget(self) -> None:
        """Let go what microbatches kept that never ran backward."""
        self._running.clear()
