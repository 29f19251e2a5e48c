"""How workers are started, in which order batches come, and collating by functions of one's own."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import flambeau as fb
from flambeau.utils.data import (
    DataChunk,
    DataLoader,
    TensorDataset,
    guaranteed_datapipes_determinism,
    non_deterministic,
)
from flambeau.utils.data.collate import collate, default_collate_fn_map

HAS_FORK = "fork" in multiprocessing.get_all_start_methods()
SCRIPT = """
import flambeau as fb
from flambeau.utils.data import DataLoader, TensorDataset
times = 3
loader = DataLoader(TensorDataset(fb.arange(6, device="cpu")), batch_size=2, num_workers=2,
                    collate_fn=lambda batch: sum(x[0].item() for x in batch) * times)
print(loader._context.get_start_method(), list(loader))
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_FORK, reason="the system has no fork")
def test_a_script_without_a_guard_gets_fork(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout.strip() == "fork [3, 15, 27]", done.stderr
    guarded = "def main():\n" + "".join(f"    {line}\n" for line in SCRIPT.strip().split("\n")[:-1])
    guarded += "    print(loader._context.get_start_method())\nif __name__ == '__main__':\n    main()\n"
    script.write_text(guarded)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout.strip() == "forkserver", done.stderr


class Slow:
    """The first sample takes longer than all others."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        time.sleep(3.0 if index == 0 else 0.01)
        return index


@pytest.mark.slow
def test_batches_as_they_come() -> None:
    options: dict[str, Any] = {"batch_size": 1, "num_workers": 2, "prefetch_factor": 1}
    in_order = [batch.item() for batch in DataLoader(Slow(), **options)]
    as_they_come = [batch.item() for batch in DataLoader(Slow(), in_order=False, **options)]
    assert in_order == list(range(6)) == sorted(as_they_come)
    assert as_they_come[0] != 0


def test_options_that_change_nothing() -> None:
    loader = DataLoader(TensorDataset(fb.arange(2)), pin_memory_device="cuda", in_order=False)
    assert [batch[0].item() for batch in loader] == [0, 1] and loader.pin_memory_device == "cuda"


def test_collating_by_functions_of_ones_own() -> None:
    def longest(batch: Any, *, collate_fn_map: Any = None) -> str:
        return max(batch, key=len)

    own = default_collate_fn_map | {str: longest}
    found = collate([{"x": 1, "name": ("a", 2.0)}, {"x": 2, "name": ("bcd", 3.0)}], collate_fn_map=own)
    assert found["x"].tolist() == [1, 2] and found["name"][0] == "bcd" and found["name"][1].tolist() == [2, 3]


def test_what_datapipes_promise() -> None:
    @non_deterministic(lambda seed: seed is None)
    class Shuffled:
        def __init__(self, seed: int | None):
            self.seed = seed

    with guaranteed_datapipes_determinism():
        assert Shuffled(3).seed == 3
        with pytest.raises(TypeError, match="non-deterministic 'Shuffled'"):
            Shuffled(None)
    assert Shuffled(None).seed is None and DataChunk([1, 2]).as_str() == "[1, 2]"
