"""Habits of programs that are written for torch: old constructors, storages, devices, dtypes, memory formats, numpy."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np

from tests.recorded import Case, collected

GIVEN: dict[str, Case] = {
    "x": lambda T: T.tensor([1.0, 2.0, 3.0]),
    "image": lambda T: T.arange(120.0).reshape(2, 3, 4, 5).to(memory_format=T.channels_last),
    "a": lambda T: np.array([2.0, 3.0, 4.0]),
}

CASES: dict[str, Case] = {
    # -- old constructors and types --------------------------------------------------------------
    "tensor_of_sizes": lambda T: [tuple(t.shape) for t in (T.Tensor(2, 3), T.Tensor(), T.Tensor(T.Size([4])))],
    "tensor_of_values": lambda T: [T.Tensor([1, 2]), T.Tensor((1, 2)), T.Tensor(T.tensor([1, 2]))],
    "tensor_of_float": lambda T: T.Tensor(2.5),
    "typed": lambda T: [T.FloatTensor([1, 2]), T.LongTensor([1.7]), T.ByteTensor([1]), T.BoolTensor([0, 1])],
    "typed_sizes": lambda T: [t.dtype for t in (T.DoubleTensor(2), T.HalfTensor(1), T.IntTensor(2, 3))],
    "typed_tensor": lambda T: T.FloatTensor(T.ones(2)),
    "typed_other": lambda T: T.LongTensor(T.ones(2)),
    "typed_instance": lambda T, x: [
        isinstance(x, T.FloatTensor),
        isinstance(x, T.LongTensor),
        isinstance(1, T.FloatTensor),
    ],
    "typed_parameter": lambda T, x: isinstance(T.nn.Parameter(x), T.FloatTensor),
    "typed_class": lambda T: [issubclass(T.FloatTensor, T.Tensor), T.FloatTensor.__name__, T.FloatTensor.is_cuda],
    "type_names": lambda T, x: [t.type().rpartition(".")[2] for t in (x, x.long(), x.bool(), x.to(T.complex64))],
    "type_to": lambda T, x: [x.type("torch.LongTensor"), x.type(T.LongTensor), x.type(T.int8), x.type(T.FloatTensor)],
    "type_bare": lambda T, x: x.type("LongTensor"),
    "type_unknown": lambda T, x: x.type("torch.FooTensor"),
    "default_type_dtype": lambda T: T.set_default_tensor_type(T.float32),
    "new": lambda T: [
        T.tensor([1]).new([1.5, 2]),
        tuple(T.ones(1).new(2, 3).shape),
        T.ones(1).new((1, 2)),
        T.ones(1).new(),
    ],
    "new_dtype": lambda T: T.ones(1).new(3, dtype=T.float64),
    # -- storages ----------------------------------------------------------------------------------
    "storage_bytes": lambda T, x: [len(x.untyped_storage()), x[1:].untyped_storage().nbytes(), x.untyped_storage()[3]],
    "storage_same": lambda T, x: [
        x.untyped_storage() == x[1:].untyped_storage(),
        x.untyped_storage().data_ptr() == x.data_ptr(),
        hash(x.untyped_storage()) == hash(x.untyped_storage()),
        x.untyped_storage() is x.untyped_storage(),
        x.untyped_storage() == x.clone().untyped_storage(),
    ],
    "storage_typed": lambda T, x: [x.storage().tolist(), x.storage()[1], x.storage().size(), x.storage().nbytes()],
    "storage_slice": lambda T, x: x.storage()[1:],
    "storage_names": lambda T, x: [x.storage().pickle_storage_type(), x.storage_type().__name__],
    "storage_class": lambda T, x: [isinstance(x.storage(), T.FloatStorage), isinstance(x.storage(), T.LongStorage)],
    "storage_made": lambda T: [
        T.FloatStorage([1, 2]).tolist(),
        T.UntypedStorage([1, 2]).tolist(),
        len(T.UntypedStorage(4)),
    ],
    "storage_is": lambda T, x: [T.is_storage(x.storage()), T.is_storage(x), T.is_tensor(x.storage())],
    "storage_casts": lambda T, x: [x.storage().double().tolist(), x.storage().long().tolist()],
    "storage_resized": lambda T, x: [
        x.untyped_storage().resize_(24).nbytes(),
        x.tolist(),
        x.untyped_storage().nbytes(),
    ],
    "set_storage": lambda T, x: [
        T.empty(0).set_(x.untyped_storage()),
        T.empty(0).set_(x.storage(), 1, (2,), (1,)),
        T.empty(0).set_(source=x.storage(), storage_offset=0, size=(2,), stride=(2,)),
        T.empty(0).set_(x),
    ],
    "set_dtype": lambda T, x: T.empty(0, dtype=T.int32).set_(x),
    "set_nothing": lambda T, x: tuple(x.set_().shape),
    "set_to": lambda T, x: [T.empty(0).set_(x).is_set_to(x), x.is_set_to(x[:]), x.is_set_to(x[1:])],
    "versions": lambda T: [
        T.ones(1)._version,
        T.ones(1).add_(1)._version,
        T.ones(2)[0].add_(1)._version,
        T.ones(1).zero_()._version,
    ],
    "views": lambda T, x: [x[0]._is_view(), x._is_view(), x[0]._base is x, x._base],
    # -- attributes ----------------------------------------------------------------------------------
    "unknown_attribute": lambda T, x: x.foo,
    # -- devices, dtypes, sizes ------------------------------------------------------------------------
    "device_index": lambda T: [
        T.device("cpu").index,
        T.device("cpu:0").index,
        T.device("cuda").index,
        T.device("cuda", 1).index,
    ],
    "device_equal": lambda T: [
        T.device("cpu") == T.device("cpu:0"),
        T.device("cpu") == T.device("cpu"),
        T.device("cpu") == "cpu",
        hash(T.device("cuda:1")) == hash(T.device("cuda", 1)),
    ],
    "device_text": lambda T: [
        str(T.device("cuda")),
        repr(T.device("cuda")),
        str(T.device("cpu:0")),
        repr(T.device("cuda:1")),
    ],
    "device_of_tensor": lambda T: [str(T.ones(1, device="cpu:0").device), T.ones(1).device == T.device("cpu")],
    "device_pickled": lambda T: pickle.loads(pickle.dumps(T.device("cuda:1"))) == T.device("cuda:1"),
    "device_negative": lambda T: T.device("cuda", -1),
    "device_text_negative": lambda T: T.device("cuda:-1"),
    "device_twice": lambda T: T.device("cuda:0", 1),
    "device_meta": lambda T: [str(T.ones(1, device="meta").device), T.device("meta").index],
    "dtype_facts": lambda T: [
        T.float32.is_floating_point,
        T.float32.is_complex,
        T.float32.is_signed,
        T.float32.itemsize,
        str(T.float32.to_complex())[-9:],
        str(T.complex64.to_real())[-7:],
        T.uint4.itemsize,
        T.qint32.itemsize,
    ],
    "dtype_identity": lambda T: [
        pickle.loads(pickle.dumps(T.float16)) is T.float16,
        copy.deepcopy(T.int8) is T.int8,
        T.half is T.float16,
    ],
    "unheld": lambda T: T.zeros(2, dtype=T.quint8),
    "size": lambda T: [
        T.Size([2, 3]).numel(),
        T.Size([2, 3]) + (1,) == (2, 3, 1),  # noqa: RUF005
        type((1,) + T.Size([2])).__name__,  # noqa: RUF005
        type(T.Size([2]) * 2).__name__,
        type(2 * T.Size([2])).__name__,
        type(T.Size([2, 3])[:1]).__name__,
        T.Size([2, 3]).index(3),
        T.Size([]) == (),
    ],
    "size_text": lambda T: T.Size(["a"]),
    "size_float": lambda T: T.Size([2.5]),
    "size_tensor": lambda T: T.Size((T.tensor(2), 3)) == (2, 3),
    "size_list": lambda T: T.Size([2]) + [1],  # noqa: RUF005
    # -- memory formats ------------------------------------------------------------------------------
    "format_strides": lambda T, image: [
        image.stride(),
        (image + 1).stride(),
        (image * image).relu().stride(),
        image.clone().stride(),
        image.double().stride(),
        image.contiguous().stride(),
        T.empty_like(image).stride(),
        T.zeros_like(image).stride(),
        image.clone(memory_format=T.contiguous_format).stride(),
        T.empty(2, 3, 4, 5, memory_format=T.channels_last).stride(),
        T.empty(2, 3, 4, 5, 6, memory_format=T.channels_last_3d).stride(),
        T.ones_like(T.ones(2, 3).t()).stride(),
        T.ones(2, 1, 4, 5).contiguous(memory_format=T.channels_last).stride(),
    ],
    "format_is": lambda T, image: [
        image.is_contiguous(),
        image.is_contiguous(memory_format=T.channels_last),
        image.dim_order(),
        T.ones(2, 3).dim_order(),
        T.ones(2, 1, 4, 5).is_contiguous(memory_format=T.channels_last),
        T.ones(2, 3).is_contiguous(memory_format=T.channels_last),
    ],
    "format_layers": lambda T, image: [
        T.nn.Conv2d(3, 6, 3)(image).stride(),
        T.nn.functional.max_pool2d(image, 2).stride(),
        T.nn.BatchNorm2d(3)(image).stride(),
        T.nn.functional.adaptive_avg_pool2d(image, 2).stride(),
        T.nn.functional.avg_pool2d(image, 2).stride(),
        T.nn.Conv2d(3, 6, 3).to(memory_format=T.channels_last)(image.contiguous()).stride(),
        T.nn.Conv2d(3, 6, 3).to(memory_format=T.channels_last).weight.stride(),
    ],
    "format_values": lambda T, image: [image, image.contiguous(), image.sum(1)],
    "format_dims": lambda T: T.ones(2, 3).to(memory_format=T.channels_last),
    "format_preserve": lambda T, x: x.contiguous(memory_format=T.preserve_format),
    # -- numpy -----------------------------------------------------------------------------------------
    "numpy_right": lambda T, x, a: [x * a, x + a, x - a, x / a, x**a, x // a, x % a, x @ a, x == a, a == x],
    "numpy_left": lambda T, x, a: a * x,
    "numpy_left_matmul": lambda T, x, a: a @ x,
    "numpy_scalars": lambda T, x: [
        np.float32(2) * x,
        np.float64(2) - x,
        x * np.float64(2),
        x * np.int64(2),
        np.float32(1) < x,
    ],
    "numpy_functions": lambda T, x, a: [np.multiply(a, x), np.sin(x), np.add(x, x), np.greater(a, x)],
    "numpy_index": lambda T, a: [float(a[T.tensor(0)]), [1, 2, 3][T.tensor(1)]],
    "numpy_named": lambda T, x, a: T.add(x, a),
    "tensor_of_tensors": lambda T: [
        T.tensor([[T.tensor([1.0])]]),
        T.tensor([T.tensor(1.0), 2]),
        T.tensor([T.tensor([1])]),
    ],
    "tensor_of_scalars": lambda T: [T.tensor([np.float32(1)]).dtype.itemsize, T.tensor([range(3)]), T.tensor(range(2))],
    # -- what is asked of tensors ----------------------------------------------------------------------
    "flags": lambda T, x: [
        getattr(x, n)
        for n in [
            "is_cuda",
            "is_xpu",
            "is_mps",
            "is_sparse",
            "is_sparse_csr",
            "is_quantized",
            "is_nested",
            "is_mkldnn",
            "is_vulkan",
            "is_xla",
            "is_mtia",
            "is_cpu",
            "is_meta",
            "volatile",
            "name",
        ]
    ],
    "reinforce": lambda T, x: x.reinforce(1),
    "no_cuda_interface": lambda T, x: hasattr(x, "__cuda_array_interface__"),
    "record_stream": lambda T, x: x.record_stream(None),
    "const_data_ptr": lambda T, x: x.const_data_ptr() == x.data_ptr(),
    "old_resize": lambda T: [T.ones(2).resize(1, 2), T.ones(2).resize_as(T.ones(2, 1))],
    "one_by_one": lambda T, x: [
        x.map_(x, lambda a, b: a + b),
        x.map2_(x, x, lambda a, b, c: a + b + c),
        x.apply_(lambda v: v + 1),
    ],
    "module_load": lambda T, x: x.module_load(T.zeros(3)),
    # -- named tuples ------------------------------------------------------------------------------------
    "return_types": lambda T: [
        type(r).__name__
        for r in (
            T.ones(2, 2).max(0),
            T.ones(2, 2).min(0),
            T.ones(2).sort(),
            T.ones(2).topk(1),
            T.ones(2).kthvalue(1),
            T.ones(2).median(0),
            T.ones(2).mode(),
            T.ones(2).cummax(0),
            T.aminmax(T.ones(2)),
            T.linalg.qr(T.eye(2)),
            T.linalg.eigh(T.eye(2)),
            T.linalg.svd(T.eye(2)),
            T.linalg.slogdet(T.eye(2)),
        )
    ],
    "return_type": lambda T: T.return_types.max((T.ones(1), T.ones(1))).values,
    "return_type_fields": lambda T: [T.return_types.max.n_fields, T.ones(2, 2).max(0).n_sequence_fields],
    "return_type_short": lambda T: T.return_types.max([T.ones(1)]),
}

SMALL = {
    "float8_e4m3fn": [1.0, 2.5, 1000.0, np.inf, np.nan, 448.0, 464.0, -1e9, 0.001, -0.0],
    "float8_e5m2": [1.0, 2.5, 1e9, np.inf, np.nan, 61440.0, -1e9, 1e-6],
    "float8_e4m3fnuz": [1.0, 2.5, 1e9, np.inf, np.nan, 240.0, 248.0, -1e9],
    "float8_e5m2fnuz": [1.0, 2.5, 1e9, np.inf, np.nan, 57344.0, 61440.0, -1e9],
    "float8_e8m0fnu": [1.0, 2.5, 3.0, 1e9, np.inf, np.nan, 0.0, -1.0, 1e-45, 3e38],
}


def _small(name: str) -> Case:
    def case(T: Any) -> Any:
        dtype = getattr(T, name)
        t = T.tensor(SMALL[name]).to(dtype)
        return [t.float(), t.view(T.uint8)[:4], t.reshape(-1, 2).t().contiguous().float(), T.cat([t, t]).float(),
                T.empty(len(t), dtype=dtype).copy_(T.tensor(SMALL[name])).float(), t[0].item(), T.finfo(dtype).max,
                dtype.itemsize, t.is_floating_point(), T.full((2,), 2.0, dtype=dtype).float()]  # fmt: skip

    return case


for _name in SMALL:
    CASES[_name] = _small(_name)


@collected(CASES)
def float8_computes_nothing(T: Any) -> Any:
    return T.ones(2).to(T.float8_e4m3fn) + 1


@collected(CASES)
def float8_promotes_with_nothing(T: Any) -> Any:
    return T.promote_types(T.float8_e4m3fn, T.float32)


@collected(CASES)
def attributes_are_kept(T: Any) -> Any:
    t, p = T.ones(2), T.nn.Parameter(T.ones(2))
    t.foo, p.foo = [1], [2]
    found = [copy.deepcopy(t), copy.copy(t), pickle.loads(pickle.dumps(t)), copy.deepcopy(p), copy.copy(p),
             pickle.loads(pickle.dumps(p)), t.clone(), t.detach(), t + 1]  # fmt: skip
    return [v.__dict__ for v in found]


@collected(CASES)
def written_storages_are_the_tensors(T: Any, x: Any) -> Any:
    x.storage()[0] = 5
    x.untyped_storage()[7] = 0
    y = T.empty(0).set_(x.storage())
    y[2] = 9
    return x


@collected(CASES)
def gradients_by_views_of_a_dict(T: Any) -> Any:
    w = {"a": T.ones(2, requires_grad=True), "b": T.ones(2, requires_grad=True)}
    return T.autograd.grad((w["a"] * w["b"] * 3).sum(), w.values())
