"""torch.compile, torch.compiler and torch._dynamo of a program that is written for PyTorch."""

from __future__ import annotations

from tests.conftest import RunPython

PROGRAM = """
from flambeau.compat.torch import install
install()
import torch
import torch._dynamo
import torch.compiler.config
from torch._dynamo.eval_frame import OptimizedModule
from torch._dynamo.external_utils import is_compiling
from torch._dynamo.utils import is_compile_supported

model = torch.compile(torch.nn.Linear(2, 1), mode="reduce-overhead")
assert isinstance(model, OptimizedModule) and isinstance(model, torch._dynamo.OptimizedModule)
for _ in range(5):
    model(torch.ones(2))
assert model.explain().replayed == 2
torch.compiler.reset()
assert model.explain().graphs == []

torch._dynamo.config.recompile_limit = 3
assert torch.compiler.config.recompile_limit == torch._dynamo.config.cache_size_limit == 3
assert torch.compile(abs).captured.limit == 3
torch._dynamo.config.cache_size_limit = 5
assert torch.compiler.config.recompile_limit == 5
with torch._dynamo.config.patch(recompile_limit=4):
    assert torch.compile(abs).captured.limit == 4
torch._dynamo.config.suppress_errors = True

told = torch._dynamo.explain(lambda x: x + x)(torch.ones(2))
assert (told.graph_count, told.graph_break_count, told.op_count) == (1, 0, 1)
assert torch._dynamo.explain(lambda x: x + x, torch.ones(2)).op_count == 1

twice = torch._dynamo.optimize("inductor", nopython=True)(lambda x: x + x)
assert [twice(torch.ones(1)).item() for _ in range(4)] == [2.0] * 4 and twice.captured.fullgraph

@torch.compiler.disable
def log(x):
    return x
@torch._dynamo.disable(recursive=False)
def log2(x):
    return x
assert log(3) == log2(3) == 3 and log.__name__ == "log"
assert not is_compiling() and not torch.compiler.is_compiling() and is_compile_supported("cpu")
assert torch._dynamo.is_dynamo_supported()
for name in torch.compiler.__all__:
    getattr(torch.compiler, name)
layer = torch.nn.Linear(2, 1)
layer.compile()
assert layer._compiled_call_impl is not None and layer(torch.ones(2)).shape == (1,)
with torch.compiler.set_stance("force_eager"):
    layer(torch.ones(2))
"""


def test_a_program_for_pytorch(run_python: RunPython) -> None:
    ran = run_python("-W", "error", "-c", PROGRAM)
    assert ran.returncode == 0, ran.stderr
