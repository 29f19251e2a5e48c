"""What PyTorch documents beside its ops answers here: switches, versions, tags, what a device would need."""

from __future__ import annotations

import importlib
import io
from typing import Any

import pytest

import flambeau as fb
from flambeau.accelerator.absent import GRAPH
from flambeau.compat import symbolic
from flambeau.compat.torch.torch_version import TorchVersion
from flambeau.library import fallthrough_kernel


def _module(name: str) -> Any:
    return importlib.import_module(f"flambeau.compat.torch.{name}")


# -- versions --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("2.9", "2.13.0"), ("2.13.0a0", "2.13.0"), ("2.13.0.dev1", "2.13.0a0"), ("2.13.0", "2.13.0+cpu"),
        ("2.13.0", "2.13.0.post1"), ("2.13.0rc1", "2.13.0"), ("2.13.0+a", "2.13.0+b"), ("2.13.0+b", "2.13.0+1"),
        ("2.13", "1!1.0"), ("2.13.0-1", "2.13.0-2"), ("2.13.0b2", "2.13.0rc1"),
    ],
)  # fmt: skip
def test_versions_compare_by_their_order(less: str, more: str) -> None:
    a, b = TorchVersion(less), TorchVersion(more)
    assert a < b and b > a and a <= b and b >= a and a != b and a < more and b > less


def test_versions_compare_with_numbers_and_texts() -> None:
    version = TorchVersion("2.13.0+flambeau")
    assert version > (2, 13) and version >= [2, 13, 0] and version < (2, 14) and version > "1.9" and version[0] == "2"
    assert TorchVersion("2.13.0") == "2.13" and hash(version) == hash("2.13.0+flambeau")
    assert not version > "abc" and version != "abc"
    with pytest.raises(TypeError):
        assert version > 1.5


# -- tags and symbolic numbers ---------------------------------------------------------------------------------------
def test_symbolic_numbers_ask_their_node() -> None:
    class Node:
        def guard_int(self, file: str, line: int) -> int:
            return 3

        def guard_float(self, file: str, line: int) -> float:
            return 2.5

        def guard_bool(self, file: str, line: int) -> bool:
            return True

    size, number = fb.SymInt(Node()), fb.SymFloat(Node())
    assert int(size) == 3 and size.as_integer_ratio() == (size, 1) and bool(fb.SymBool(Node()))
    assert number.as_integer_ratio() == (5, 2) and not number.is_integer() and number.conjugate() is number
    assert number.hex() == (2.5).hex()


def test_tags() -> None:
    assert len(symbolic.Tag) == 20 and symbolic.Tag.pointwise.name == "pointwise" and symbolic.Tag.core.value == 0
    library = fb.library.Library("names_tags", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor", tags=(symbolic.Tag.pt2_compliant_tag,))


# -- libraries -------------------------------------------------------------------------------------------------------
def test_kernels_of_ops() -> None:
    get_kernel = _module("library").get_kernel
    kernel = get_kernel("aten::sin", "CPU")
    assert kernel.call_boxed(None, fb.zeros(1)).item() == 0.0
    with pytest.raises(RuntimeError, match="does not exist"):
        get_kernel("aten::no_such_op", "CPU")
    with pytest.raises(ValueError, match="Invalid dispatch key"):
        get_kernel("aten::sin", "Nowhere")
    with pytest.raises(ValueError, match="unexpected type"):
        get_kernel(3, "CPU")


def test_the_kernel_of_a_custom_op_stays() -> None:
    library = fb.library.Library("names_kernels", "FRAGMENT")
    library.define("half(Tensor x) -> Tensor")
    library.impl("half", lambda x: x / 2, "CPU")
    kernel = _module("library").get_kernel("names_kernels::half", "CPU")
    library.impl("half", lambda x: x * 0, "CPU")
    assert kernel.call_boxed(None, fb.ones(1)).item() == 0.5
    library.register_symm_mem_args("half", ["x"])
    with pytest.raises(RuntimeError, match="global namespace"):
        library.fallback(fallthrough_kernel, "CPU")
    fb.library.Library("_", "IMPL").fallback(fallthrough_kernel, "CPU")
    with pytest.raises(RuntimeError):
        fb.library.Library("_", "IMPL").fallback(lambda *args: None, "CPU")


def test_custom_ops_have_the_class_of_the_inner_module() -> None:
    inner = _module("_library.custom_ops")
    op = inner.custom_op("names_inner::twice", lambda x: x * 2, mutates_args=(), schema="(Tensor x) -> Tensor")
    assert type(op) is inner.CustomOpDef is fb.library.CustomOp
    op.register_kernel("cpu")(lambda x: x * 3)
    with op.set_kernel_enabled("cpu", enabled=False):
        assert op(fb.ones(1)).item() == 2
    assert op(fb.ones(1)).item() == 3


# -- conversions of modules ------------------------------------------------------------------------------------------
def test_modules_get_new_parameters_or_keep_their_gradients() -> None:
    future = _module("__future__")
    layer = fb.nn.Linear(2, 2)
    before = layer.weight
    future.set_overwrite_module_params_on_conversion(True)
    try:
        assert future.get_overwrite_module_params_on_conversion()
        layer.double()
    finally:
        future.set_overwrite_module_params_on_conversion(False)
    assert layer.weight is not before and before.dtype is fb.float32 and layer.weight.dtype is fb.float64
    weight, grad = layer.weight, fb.ones(2, 2, dtype=fb.float64)
    weight.grad = grad
    future.set_swap_module_params_on_conversion(True)
    try:
        assert future.get_swap_module_params_on_conversion()
        layer.float()
    finally:
        future.set_swap_module_params_on_conversion(False)
    assert layer.weight is weight and weight.grad is grad and grad.dtype is weight.dtype is fb.float32


def test_files_without_data() -> None:
    file = io.BytesIO()
    with fb.serialization.skip_data():
        fb.save({"a": fb.ones(3)}, file)
    assert fb.load(file)["a"].shape == (3,)


# -- what a device or a library would need ---------------------------------------------------------------------------
@pytest.mark.parametrize("name", GRAPH.split())
def test_there_are_no_graphs_of_recorded_work(name: str) -> None:
    for cls in (fb.accelerator.Graph, fb.cuda.CUDAGraph, fb.xpu.XPUGraph):
        with pytest.raises(RuntimeError, match="no graphs of recorded work"):
            cls()
        with pytest.raises(RuntimeError, match="no graphs of recorded work"):
            getattr(cls, name)(None)


def test_other_members_of_what_is_not_there() -> None:
    members: dict[type, str] = {
        fb.cuda.CUDAGraph: "get_graph_data raw_cuda_graph raw_cuda_graph_exec",
        fb.xpu.XPUGraph: "raw_xpu_graph raw_xpu_graph_exec", fb.cuda.MemPool: "allocator id snapshot use_count",
        fb.xpu.MemPool: "allocator id snapshot use_count",
        fb.cuda.GreenContext: "Stream create max_workqueue_concurrency pop_context set_context",
        _module("cuda.gds").GdsFile: "deregister_handle load_storage register_handle save_storage",
    }  # fmt: skip
    for cls, names in members.items():
        for name in names.split():
            with pytest.raises(RuntimeError, match=rf"{cls.__name__}\.{name}: "):
                getattr(cls, name)()
    for name in ("gds_register_buffer", "gds_deregister_buffer"):
        with pytest.raises(RuntimeError, match=name):
            getattr(_module("cuda.gds"), name)(fb.UntypedStorage(4))
    with pytest.raises(RuntimeError, match="stay in their process"):
        fb.cuda.Event.from_ipc_handle(0, b"")
    assert fb.cuda.Event.ipc_handle.__name__ == "ipc_handle" and not fb.accelerator.Stream("cpu").is_capturing()
    for ask in (fb.Generator().graphsafe_get_state, lambda: fb.Generator().graphsafe_set_state(fb.Generator())):
        with pytest.raises(NotImplementedError):
            ask()


def test_memory_keeps_no_history() -> None:
    memory = fb.cuda.memory
    assert memory._snapshot() == {"segments": [], "device_traces": []}
    memory._record_memory_history(None)
    with pytest.raises(RuntimeError):
        memory._record_memory_history()
    with pytest.raises(RuntimeError):
        memory._dump_snapshot()


def test_kernels_are_not_chosen_by_measuring() -> None:
    tunable = fb.cuda.tunable
    defaults = (tunable.get_filename(), tunable.get_max_tuning_duration(), tunable.get_max_tuning_iterations())
    assert defaults == ("tunableop_results.csv", 30, 100) and tunable.get_rotating_buffer_size() == 0
    tunable.set_filename("other.csv")
    tunable.set_max_tuning_duration(5)
    tunable.set_max_tuning_iterations(6)
    tunable.set_rotating_buffer_size(7)
    tunable.set_numerical_check_tolerances(True)
    kept = (tunable.get_filename(), tunable.get_max_tuning_duration(), tunable.get_max_tuning_iterations())
    assert kept == ("other.csv", 5, 6) and tunable.get_rotating_buffer_size() == 7
    tunable.set_filename(defaults[0])
    tunable.set_max_tuning_duration(defaults[1])
    tunable.set_max_tuning_iterations(defaults[2])
    tunable.set_rotating_buffer_size(0)
    assert not (tunable.tuning_is_enabled() or tunable.record_untuned_is_enabled() or tunable.read_file())
    assert tunable.get_results() == tunable.get_validators() == ()
    for call in (tunable.record_untuned_enable, tunable.tuning_enable, tunable.tune_gemm_in_file):
        with pytest.raises(RuntimeError):
            call()
    with pytest.raises(RuntimeError):
        tunable.mgpu_tune_gemm_in_file("x", 1)


def test_copies_across_devices() -> None:
    comm = _module("cuda.comm")
    x = fb.arange(6.0).reshape(3, 2)
    found = comm.scatter(x, ["strict:0", "strict:0"], chunk_sizes=[1, 2])
    assert [t.device.type for t in found] == ["strict"] * 2 and [tuple(t.shape) for t in found] == [(1, 2), (2, 2)]
    assert fb.equal(comm.gather(found, destination="cpu"), x) and fb.equal(comm.gather(found, out=fb.empty(3, 2)), x)
    parts = [t.to("strict") for t in (x, x * 2)]
    assert fb.equal(comm.reduce_add(parts).cpu(), x * 3)
    assert fb.equal(comm.reduce_add_coalesced([[parts[0]], [parts[1]]])[0].cpu(), x * 3)
    copies = comm.broadcast(x, ["strict"])
    assert fb.equal(copies[0].cpu(), x) and fb.equal(comm.broadcast(x, out=[fb.empty(3, 2)])[0], x)
    assert len(comm.broadcast_coalesced([x, x], ["strict"])[0]) == 2
    out = comm.scatter(x, out=[fb.empty(1, 2), fb.empty(2, 2)])
    assert fb.equal(out[1], x[1:])
    with pytest.raises(ValueError, match="non cpu device"):
        comm.broadcast(x, ["cpu"])
    with pytest.raises(AssertionError, match="input 0 is on CPU"):
        comm.reduce_add([x])
    with pytest.raises(RuntimeError, match="exactly one"):
        comm.broadcast(x)


def test_drivers_profilers_are_not_used() -> None:
    profiler, itt = _module("mps.profiler"), _module("profiler.itt")
    assert not profiler.is_capturing_metal() and not profiler.is_metal_capture_enabled() and not itt.is_available()
    for block in (profiler.profile(), profiler.metal_capture("file")):
        with pytest.raises(RuntimeError, match="profiler is not used"), block:
            pass
    for call in (profiler.start, profiler.stop):
        with pytest.raises(RuntimeError):
            call()
    with itt.range("a"):
        itt.mark("b")
    assert itt.range_push("c") == 0 and itt.range_pop() == 0


def test_switches_of_libraries() -> None:
    for name, off in (("mkl", 0), ("mkldnn", 0)):
        verbose = _module(f"backends.{name}").verbose
        with verbose(off):
            pass
        with pytest.raises(RuntimeError, match=rf"^torch\.backends\.{name}\.verbose: "), verbose(1):
            pass
    nnpack = _module("backends.nnpack")
    with nnpack.flags(False):
        assert nnpack.set_flags(False) == (False,)
    assert nnpack.set_flags(True) == (True,)
    assert _module("backends.cusparselt").version() is None and _module("backends.miopen").immediate is False


def test_libraries_of_cuda() -> None:
    cuda = _module("backends.cuda")
    q = fb.ones(1, 1, 2, 2)
    params = cuda.SDPAParams(q, q, q, None, 0.5, True, False)
    assert params.dropout == 0.5 and params.is_causal and not params.enable_gqa
    for ask in (cuda.can_use_flash_attention, cuda.can_use_efficient_attention, cuda.can_use_cudnn_attention):
        assert not ask(params)
        with pytest.warns(UserWarning, match="plain products"):
            ask(params, True)
        with pytest.raises(TypeError):
            ask(None)
    cuda.allow_fp16_bf16_reduction_math_sdp(True)
    assert cuda.fp16_bf16_reduction_math_sdp_allowed()
    cuda.allow_fp16_bf16_reduction_math_sdp(False)
    for preferred in (cuda.preferred_blas_library, cuda.preferred_linalg_library, cuda.preferred_rocm_fa_library):
        assert preferred() == preferred("default") == "default"
        with pytest.raises(RuntimeError, match="Unknown input value"):
            preferred("x")
    with pytest.raises(RuntimeError, match="Cannot set"):
        cuda.preferred_blas_library("cublaslt")
    assert cuda.blas_workspace_size() == cuda.cublaslt_workspace_size() == 0
    for ask in (
        lambda: cuda.cufft_plan_cache.size,
        lambda: cuda.cufft_plan_cache.max_size,
        cuda.cufft_plan_cache.clear,
    ):
        with pytest.raises(AssertionError, match="cuFFT is not used"):
            ask()
    with pytest.raises(RuntimeError, match="expected 0 <= device index"):
        cuda.cufft_plan_cache[0]


# -- tensors, modules, and what stands around them -------------------------------------------------------------------
QUESTIONS = ("int_repr", "q_scale", "q_zero_point", "q_per_channel_scales", "q_per_channel_zero_points",
             "q_per_channel_axis", "qscheme")  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_tensor_is_quantized(name: str) -> None:
    x = fb.ones(2)
    assert not x.is_quantized
    with pytest.raises(NotImplementedError, match=f"{name}: expected a quantized tensor"):
        getattr(x, name)()
    if name != "qscheme":
        with pytest.raises(NotImplementedError):
            getattr(fb, name)(x)


def test_dequantizing_is_a_conversion() -> None:
    assert (
        fb.dequantize(fb.tensor([1, 2])).tolist() == [1.0, 2.0] and fb.ones(1).double().dequantize().dtype is fb.float32
    )
    with pytest.raises(NotImplementedError):
        fb.dequantize([fb.ones(1)])
    with pytest.raises(RuntimeError, match="oneDNN"):
        fb.ones(1).to_mkldnn()


def test_nodes_answer_by_the_class_of_nodes() -> None:
    x = fb.ones(1, requires_grad=True)
    node, Node = (x * 2).grad_fn, fb.autograd.graph.Node
    assert Node.name(node) == "MulBackward0" and Node.next_functions.fget(node)[0][1] == 0
    seen: list[Any] = []
    Node.register_hook(node, lambda *args: seen.append("after"))
    Node.register_prehook(node, lambda *args: seen.append("before"))
    node.metadata["a"] = 1
    assert Node.metadata.fget(node) == {"a": 1}
    fb.autograd.backward([(x * 2)])
    for scope in (fb.set_grad_enabled(True), fb.autograd.set_multithreading_enabled(True)):
        assert type(scope.clone()) is type(scope)
    assert fb.inference_mode(False).clone().mode is False


def test_old_functions_of_nested_values_keep_tensors() -> None:
    function = fb.autograd.function.NestedIOFunction()
    assert function.saved_tensors == ()
    function.save_for_backward(1, [2])
    function.mark_dirty(3)
    function.mark_non_differentiable(4, a=5)
    assert function.saved_tensors == (1, [2]) and function.dirty_tensors == ((3,), {})
    assert function.non_differentiable == ((4,), {"a": 5})


def test_the_name_and_the_pauses_of_a_recording() -> None:
    profile = fb.profiler.profile()
    assert profile.get_trace_id() is None
    profile.set_custom_trace_id_callback(lambda: "mine")
    profile.preset_metadata_json("a", "1")
    with profile:
        fb.ones(2).sum()
        profile.toggle_collection_dynamic(False, set(fb.profiler.ProfilerActivity))
        fb.ones(2).prod()
        profile.toggle_collection_dynamic(True, set(fb.profiler.ProfilerActivity))
    assert profile.get_trace_id() == "mine" and {r.name for r in profile.rows()} >= {"sum"}
    assert "prod" not in {r.name for r in profile.rows()}
    with fb.profiler.profile() as other:
        pass
    assert len(other.get_trace_id() or "") == 32


def test_small_values_of_the_profiler() -> None:
    util = _module("autograd.profiler_util")
    assert util.Interval(1, 3).elapsed_us() == 2 and util.Kernel("a", 0, 3).duration == 3
    assert util.StringTable()["name"] == "name"


def test_schedules_and_sums() -> None:
    p = fb.ones(1, requires_grad=True)
    cyclic = fb.optim.lr_scheduler.CyclicLR(fb.optim.SGD([p], lr=1.0, momentum=0.9), 0.1, 1.0, mode="triangular2")
    assert cyclic.scale_fn(3) == 0.25 and not {"_scale_fn_custom"} & set(cyclic.state_dict())
    own = fb.optim.lr_scheduler.CyclicLR(fb.optim.SGD([p], lr=1.0, momentum=0.9), 0.1, 1.0, scale_fn=lambda x: x * 2)
    assert own.scale_fn(3) == 6
    optimizer = fb.optim.Adagrad([p])
    optimizer.share_memory()
    assert optimizer.state[p]["sum"].is_shared()


def test_packed_sequences_tell_where_they_are() -> None:
    packed = fb.nn.utils.rnn.pack_sequence([fb.ones(2), fb.ones(1)])
    assert not packed.is_cuda and not packed.is_pinned()


def test_warnings_that_nobody_asked_for() -> None:
    backcompat = _module("utils.backcompat")
    assert not backcompat.broadcast_warning.enabled
    backcompat.keepdim_warning.set_enabled(True)
    assert backcompat.keepdim_warning.get_enabled()
    backcompat.keepdim_warning.enabled = False
    assert _module("nn.common_types")._size_2_t == int | tuple[int, int]
    assert _module("nn.modules.lazy").LazyModuleMixin in fb.nn.LazyLinear.__mro__


def test_flags_say_what_this_build_has() -> None:
    flags = _module("_torch")
    assert flags.has_lapack and flags.has_spectral and not flags.has_mkl and not flags.has_openmp
    assert not flags.is_vulkan_available()
