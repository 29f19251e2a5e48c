"""Ray Train's workers are the ranks of a job."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.distributed.jobs import run_bounded

PROGRAM = """
import json, sys
import ray
from ray.train import ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from flambeau.distributed.ray import FlambeauConfig

def loop(config):
    import flambeau as fb, flambeau.distributed as dist
    from ray import train
    x = fb.ones(2) * (dist.get_rank() + 1)
    dist.all_reduce(x)
    assert (dist.get_rank(), dist.get_world_size()) == (train.get_context().get_world_rank(), 2)
    if config["fails"] and dist.get_rank() == 1:
        raise ValueError("boom")
    dist.barrier()
    with open(f"{config['folder']}/{dist.get_rank()}.json", "w") as file:
        json.dump(x.tolist(), file)

ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
trainer = DataParallelTrainer(
    loop, train_loop_config={"folder": sys.argv[1], "fails": sys.argv[2] == "fails"},
    backend_config=FlambeauConfig(timeout_s=60), scaling_config=ScalingConfig(num_workers=2),
)
trainer.fit()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["well", "fails"])
def test_a_local_ray(tmp_path: Path, how: str) -> None:
    pytest.importorskip("ray")
    (tmp_path / "program.py").write_text(PROGRAM)
    ran = run_bounded([sys.executable, str(tmp_path / "program.py"), str(tmp_path), how], 240, {"HOME": str(tmp_path)})
    if how == "well":
        assert ran.returncode == 0, ran.stderr
        assert [(tmp_path / f"{rank}.json").read_text() for rank in range(2)] == ["[3.0, 3.0]"] * 2
    else:
        assert ran.returncode != 0 and "ValueError: boom" in ran.stderr


def test_without_ray_the_extra_is_named() -> None:
    program = "import sys; sys.modules['ray'] = None; import flambeau.distributed.ray"
    ran = run_bounded([sys.executable, "-c", program], 60)
    assert ran.returncode == 1 and "needs Ray Train: pip install 'flambeau[ray]'" in ran.stderr
