"""DLPack and numpy: memory is shared where it can be, copied where asked, and refused with a reason otherwise."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import flambeau as fb


class OldProducer:
    """A library that knows the protocol without versions, as before 2024."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Elsewhere:
    """A producer whose memory is on a GPU; it gives host copies only when asked for them."""

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        assert copy and dl_device is not None, "a copy was taken without being asked for"
        return np.arange(3.0).__dlpack__(max_version=max_version)

    def __dlpack_device__(self):
        return 2, 0


def test_numpy_takes_a_tensor_without_a_copy():
    t = fb.arange(6, dtype=fb.float32).reshape(2, 3).T
    a = np.from_dlpack(t)
    assert a.shape == (3, 2) and a.strides == (4, 12)
    a[0, 1] = 9
    assert t[0, 1].item() == 9


def test_a_tensor_takes_an_array_without_a_copy():
    a = np.arange(6.0).reshape(2, 3)[:, ::2]
    t = fb.from_dlpack(a)
    t += 1
    assert a.tolist() == [[1, 3], [4, 6]]
    assert t.stride() == (3, 2)


@pytest.mark.parametrize("dtype", [fb.bool, fb.uint8, fb.int16, fb.int64, fb.float16, fb.float64, fb.complex64])
def test_dtypes_come_through(dtype):
    t = fb.tensor([0, 1, 1]).to(dtype)
    back = fb.from_dlpack(t)
    assert back.dtype is dtype and back.tolist() == t.tolist()
    assert back.data_ptr() != 0 and np.shares_memory(back.numpy(), t.numpy())


def test_the_unversioned_protocol_gives_writable_memory():
    a = np.zeros(4)
    t = fb.from_dlpack(OldProducer(a[1:]))
    t.fill_(3)
    assert a.tolist() == [0, 3, 3, 3]


def test_a_capsule_alone():
    a = np.arange(3)
    t = fb.from_dlpack(a.__dlpack__())
    a[0] = 7
    assert t.tolist() == [7, 1, 2]


def test_the_memory_outlives_the_producer():
    t = fb.from_dlpack(np.full(1000, 2.5))
    gc.collect()
    assert t.sum().item() == 2500


def test_read_only_memory_is_copied():
    a = np.zeros(2)
    a.flags.writeable = False
    t = fb.from_dlpack(a)
    t[0] = 1
    assert a[0] == 0
    with pytest.raises(BufferError, match="read-only"):
        fb.from_dlpack(a, copy=False)


def test_copy_and_device():
    a = np.zeros(2)
    t = fb.from_dlpack(a, copy=True)
    t[0] = 1
    assert a[0] == 0
    assert fb.from_dlpack(a, device="meta").device.type == "meta"
    exported = np.from_dlpack(t, copy=True)
    exported[1] = 4
    assert t[1].item() == 0


def test_a_device_that_is_not_shared():
    with pytest.raises(BufferError, match=r"DLPack device \(2, 0\).*copy=True"):
        fb.from_dlpack(Elsewhere())
    assert fb.from_dlpack(Elsewhere(), copy=True).tolist() == [0, 1, 2]


def test_an_unshared_tensor_is_refused_with_the_remedy():
    t = fb.zeros(2, device="meta")
    with pytest.raises(BufferError, match=r"'meta' does not share.*copy=True.*cpu\(\)"):
        t.__dlpack_device__()
    with pytest.raises(BufferError, match="'meta' does not share"):
        t.__dlpack__()


@pytest.mark.parametrize(
    ("export", "words"),
    [
        (lambda: fb.zeros(2, requires_grad=True).__dlpack__(), "detach"),
        (lambda: fb.from_numpy(np.arange(3.0)[::-1]).__dlpack__(copy=False), "negative strides.*contiguous"),
        (lambda: fb.zeros(2).__dlpack__(dl_device=(2, 0)), r"\(2, 0\)"),
        (lambda: fb.zeros(2).__dlpack__(stream=1), "no streams"),
    ],
)
def test_what_cannot_be_exported(export, words):
    with pytest.raises(BufferError, match=words):
        export()


def test_what_is_no_producer():
    with pytest.raises(TypeError, match=r"__dlpack__.*got list"):
        fb.from_dlpack([1, 2])


def test_torch_and_back():
    torch = pytest.importorskip("torch")
    t = torch.arange(4.0)
    f = fb.from_dlpack(t)
    f[0] = 5
    assert t[0].item() == 5
    back = torch.from_dlpack(f.reshape(2, 2))
    back[1, 1] = -1
    assert f[3].item() == -1


@pytest.mark.parametrize("max_version", [None, (1, 0)])
def test_bfloat16_in_both_directions(max_version):
    torch = pytest.importorskip("torch")
    t = fb.tensor([1.5, -2.0], dtype=fb.bfloat16)
    other = torch.from_dlpack(t.__dlpack__(max_version=max_version))
    assert other.dtype is torch.bfloat16
    other[0] = 3
    assert t.tolist() == [3, -2]
    back = fb.from_dlpack(other)
    assert back.dtype is fb.bfloat16
    back[1] = 7
    assert t.tolist() == [3, 7]
    assert fb.from_dlpack(t).data_ptr() == t.data_ptr()
    assert fb.tensor(other).dtype is fb.bfloat16


def test_negative_strides_leave_as_a_copy():
    """torch ends the process when it meets them."""
    torch = pytest.importorskip("torch")
    assert torch.from_dlpack(fb.from_numpy(np.arange(3.0)[::-1])).tolist() == [2, 1, 0]


def test_arrays_of_other_libraries_keep_their_dtype():
    class Interface:
        held = np.arange(3.0)
        __array_interface__ = held.__array_interface__

    class Converts:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3, dtype=np.int16)

    assert fb.tensor(Interface()).dtype is fb.float64
    shared = fb.as_tensor(Interface())
    shared[0] = 9
    assert Interface.held[0] == 9
    assert fb.tensor(Converts()).dtype is fb.int16
    torch = pytest.importorskip("torch")
    assert fb.tensor(torch.ones(2, dtype=torch.float64)).dtype is fb.float64
    t = torch.zeros(2)
    fb.as_tensor(t)[0] = 4
    assert t.tolist() == [4, 0]


def test_numpy_asks_for_no_copy():
    x = fb.ones(2)
    assert np.shares_memory(np.asarray(x, copy=False), x.numpy())
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(x, dtype=np.float64, copy=False)


def test_foreign_bytes_and_dtypes():
    swapped = np.arange(3, dtype=">i4")
    assert fb.tensor(swapped).tolist() == [0, 1, 2]
    assert fb.as_tensor(swapped).dtype is fb.int32
    with pytest.raises(ValueError, match="byte order"):
        fb.from_numpy(swapped)
    for dtype in ([("a", "i4")], "M8[D]", "U1", object):
        with pytest.raises(TypeError, match="no flambeau dtype"):
            fb.tensor(np.zeros(2, dtype=dtype))


def test_data_ptr_is_the_address():
    a = np.arange(4.0)
    t = fb.from_numpy(a)
    assert t.data_ptr() == a.ctypes.data
    assert t[1:].data_ptr() == a.ctypes.data + 8
