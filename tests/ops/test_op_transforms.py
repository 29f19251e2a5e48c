"""torch's database of ops under vmap, forward mode and second derivatives."""

from __future__ import annotations

import warnings

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", range(8))
def test_every_op_under_transforms(part: int) -> None:
    """A sample of each entry; ``python -m tests.ops.op_transforms`` takes three."""
    pytest.importorskip("torch")
    from torch.testing._internal.common_methods_invocations import op_db  # why: torch takes seconds to load

    from tests.ops import op_transforms

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        differing = [
            line for info in filter(op_transforms.on_cpu, op_db[part::8]) for line in op_transforms.run(info, count=1)
        ]
    assert not differing, "\n".join(differing)
