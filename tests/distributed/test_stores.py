"""Stores do what torch's stores do, over the network too, where each is the other's client."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.distributed import errors, stores
from flambeau.distributed.stores.base import LONGEST
from flambeau.distributed.stores.server import MAGIC, Ask, StoreServer

SHORT = timedelta(milliseconds=50)
SOON = timedelta(seconds=20)
KINDS = ("hash", "file", "tcp", "prefix")


def made(kind: str, folder: Path) -> tuple[Any, Any]:
    """A store, and the same store as another process has it."""
    if kind == "hash":
        one = stores.HashStore()
        return one, one.clone()
    if kind == "file":
        return stores.FileStore(folder / "store"), stores.FileStore(folder / "store")
    if kind == "tcp":
        master = stores.TCPStore("127.0.0.1", 0, is_master=True, timeout=SOON)
        return master, stores.TCPStore("127.0.0.1", master.port, timeout=SOON)
    one, other = made("tcp", folder)
    return stores.PrefixStore("a/b", one), stores.PrefixStore("a/b", other)


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    yield made(request.param, tmp_path)


def test_values(pair: tuple[Any, Any]) -> None:
    one, other = pair
    one.set("a", "text")
    other.set("b", b"\x00\xff")
    assert (other.get("a"), one.get("b")) == (b"text", b"\x00\xff")
    assert (one.add("n", 3), other.add("n", -5), one.get("n")) == (3, -2, b"-2")
    assert one.check(["a", "b"]) and not other.check(["a", "c"])
    other.append("a", "+")
    assert other.multi_get(["a", "b"]) == [b"text+", b"\x00\xff"]
    one.multi_set(["c", "d"], ["1", b"2"])
    assert sorted(one.list_keys()) == ["a", "b", "c", "d", "n"]
    assert (one.num_keys(), other.num_keys()) == (5, 5)
    assert other.delete_key("c") and not one.delete_key("c") and one.num_keys() == 4


def test_compare_set(pair: tuple[Any, Any]) -> None:
    one, other = pair
    assert one.compare_set("k", "old", "new") == b"old" and not one.check(["k"])
    assert other.compare_set("k", "", "first") == b"first"
    assert one.compare_set("k", "old", "new") == b"first"
    assert one.compare_set("k", "first", "new") == b"new" and other.get("k") == b"new"


def test_waits(pair: tuple[Any, Any]) -> None:
    one, other = pair
    waiting = threading.Thread(target=lambda: one.wait(["x", "y"], SOON))
    waiting.start()
    other.set("x", "1")
    waiting.join(0.1)
    assert waiting.is_alive()
    other.set("y", "2")
    waiting.join(10)
    assert not waiting.is_alive()


def test_waits_end(pair: tuple[Any, Any]) -> None:
    one, _ = pair
    with pytest.raises(errors.DistStoreError, match=r"wait timeout after 50ms, keys: .*nobody"):
        one.wait(["nobody"], SHORT)
    one.set_timeout(SHORT)
    assert one.timeout == SHORT
    with pytest.raises(errors.DistStoreError, match="nobody"):
        one.get("nobody")
    one.set("there", "1")
    assert one.get("there") == b"1"


def test_wrong_arguments(pair: tuple[Any, Any]) -> None:
    one, _ = pair
    with pytest.raises(TypeError, match="a value must be a str or bytes, got int"):
        one.set("a", 1)
    with pytest.raises(ValueError, match="2 keys but 1 values"):
        one.multi_set(["a", "b"], ["1"])
    with pytest.raises(TypeError, match="expected a timedelta, got float"):
        one.set_timeout(1.0)


@pytest.mark.parametrize("kind", ["hash", "tcp", "prefix"])
def test_queues(kind: str, tmp_path: Path) -> None:
    one, other = made(kind, tmp_path)
    one.queue_push("q", "1")
    assert one.queue_len("q") == 1  # what is set is not answered: another process may come before it
    other.queue_push("q", "2")
    assert (other.queue_len("q"), other.queue_pop("q"), one.queue_pop("q", block=False), one.queue_len("q")) == (
        2, b"1", b"2", 0,
    )  # fmt: skip
    with pytest.raises(errors.QueueEmptyError):
        one.queue_pop("q", block=False)
    popped: list[bytes] = []
    waiting = threading.Thread(target=lambda: popped.append(one.queue_pop("q")))
    waiting.start()
    other.queue_push("q", "3")
    waiting.join(10)
    assert popped == [b"3"]


def count(store: Any) -> None:
    """Add to a counter."""
    for _ in range(50):
        store.add("n", 1)


def test_counters_of_many_processes(pair: tuple[Any, Any]) -> None:
    threads = [threading.Thread(target=count, args=(store.clone(),)) for store in pair * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert pair[0].get("n") == b"200"


def test_a_value_that_is_no_number(tmp_path: Path) -> None:
    store = stores.HashStore()
    store.set("k", "text")
    with pytest.raises(errors.DistStoreError, match="'k' is no whole number"):
        store.add("k", 1)


# -- files ---------------------------------------------------------------------------------------------
def test_a_file_survives_a_writer_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = stores.FileStore(path)
    store.set("a", "1")
    whole = path.read_bytes()
    store.set("b", "2" * 100)
    path.write_bytes(path.read_bytes()[:-7])
    again = stores.FileStore(path)
    assert again.get("a") == b"1" and not again.check(["b"])
    assert path.read_bytes() == whole
    again.set("b", "3")
    assert stores.FileStore(path).get("b") == b"3"


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is a letter, not a store\n" * 3)
    with pytest.raises(errors.DistStoreError, match="is no file of a store"):
        stores.FileStore(tmp_path / "text").num_keys()


def test_the_last_process_removes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "store"
    first, second = stores.FileStore(path, 2), stores.FileStore(path, 2)
    first.set("a", "1")
    first.close()
    assert second.get("a") == b"1"
    second.close()
    assert not path.exists()


# -- the network ---------------------------------------------------------------------------------------
def test_the_master_waits_for_the_others() -> None:
    port = stores.TCPStore("127.0.0.1", 0, is_master=True).port
    with pytest.raises(errors.DistStoreError, match=r"1 of 2 processes joined within 0\.1 s"):
        stores.TCPStore("127.0.0.1", 0, 2, is_master=True, timeout=timedelta(seconds=0.1))
    with pytest.raises(errors.DistNetworkError, match=rf"no master at .*:{port}"):
        stores.TCPStore("127.0.0.1", port, timeout=timedelta(seconds=0.1))


def test_a_client_may_come_first() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    came: list[bytes] = []
    late = threading.Thread(target=lambda: came.append(stores.TCPStore("127.0.0.1", port, timeout=SOON).get("k")))
    late.start()
    time.sleep(0.05)
    master = stores.TCPStore("127.0.0.1", port, is_master=True)
    master.set("k", "v")
    late.join(20)
    assert came == [b"v"]


def test_a_port_that_is_taken() -> None:
    master = stores.TCPStore("127.0.0.1", 0, is_master=True)
    with pytest.raises(errors.DistNetworkError, match=f"cannot listen at port {master.port}"):
        stores.TCPStore("127.0.0.1", master.port, is_master=True)
    shared = stores.TCPStore("127.0.0.1", master.port, is_master=True, multi_tenant=True)
    master.set("k", "v")
    assert shared.get("k") == b"v"


def test_a_master_that_ends() -> None:
    master = stores.TCPStore("127.0.0.1", 0, is_master=True)
    client = stores.TCPStore("127.0.0.1", master.port, timeout=SOON)
    master.close()
    with pytest.raises(errors.DistNetworkError, match="gone"):
        client.get("k")


def text(value: bytes) -> bytes:
    return struct.pack("<q", len(value)) + value


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<BI", Ask.VALIDATE, MAGIC + 1),
        struct.pack("<BI", Ask.VALIDATE, MAGIC) + b"\xff",
        struct.pack("<BIBq", Ask.VALIDATE, MAGIC, Ask.SET, LONGEST + 1),
        struct.pack("<BIBq", Ask.VALIDATE, MAGIC, Ask.SET, -1),
        struct.pack("<BIBq", Ask.VALIDATE, MAGIC, Ask.WAIT, 1 << 40),
        struct.pack("<BIB", Ask.VALIDATE, MAGIC, Ask.SET) + text(b"\xff\xfe") + text(b"x"),
        struct.pack("<BIB", Ask.VALIDATE, MAGIC, Ask.SET) + text(b"/n") + text(b"x")
        + struct.pack("<B", Ask.ADD) + text(b"/n") + struct.pack("<q", 1),
    ],
)  # fmt: skip
def test_nonsense_ends_its_connection_only(sent: bytes) -> None:
    master = stores.TCPStore("127.0.0.1", 0, is_master=True, timeout=SOON)
    with socket.create_connection(("127.0.0.1", master.port), 10) as sock:
        sock.sendall(sent)
        assert sock.recv(100) == b""
    master.set("k", "v")
    assert master.get("k") == b"v"


@pytest.mark.parametrize("seed", range(10))
def test_requests_in_any_pieces(seed: int) -> None:
    server = StoreServer(host="127.0.0.1")
    stream = struct.pack("<BIB", Ask.VALIDATE, MAGIC, Ask.SET) + text(b"/k") + text(b"value")
    stream += struct.pack("<B", Ask.GET) + text(b"/k") + struct.pack("<B", Ask.GETNUMKEYS)
    cuts = sorted(random.Random(seed).sample(range(1, len(stream)), 5))
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            sock.sendall(stream[begin:end])
        answer = b""
        while len(answer) < 21:
            answer += sock.recv(100)
    server.close()
    assert answer == text(b"value") + struct.pack("<q", 1)


# -- beside torch's ------------------------------------------------------------------------------------
KEYS, VALUES = st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "1", "-7", "x"])
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, VALUES),
    st.tuples(st.just("add"), st.just("n"), st.integers(-3, 3)),
    st.tuples(st.just("append"), KEYS, VALUES),
    st.tuples(st.just("compare_set"), KEYS, VALUES, VALUES),
    st.tuples(st.just("delete_key"), KEYS),
    st.tuples(st.just("check"), st.lists(KEYS, min_size=1, max_size=2)),
    st.tuples(st.just("num_keys")),
)


def answers(store: Any, steps: list[tuple[Any, ...]]) -> list[Any]:
    """What a store says to a sequence of calls; then the values that it has."""
    said = [getattr(store, name)(*arguments) for name, *arguments in steps]
    return [*said, *(store.get(key) for key in ("a", "b", "c", "n") if store.check([key]))]


@pytest.fixture(scope="module")
def torchs() -> Any:
    """torch.distributed, where it is."""
    return pytest.importorskip("torch").distributed


@settings(deadline=None)
@given(steps=st.lists(STEPS, max_size=12))
def test_hash_stores_answer_as_torchs(torchs: Any, steps: list[tuple[Any, ...]]) -> None:
    assert answers(stores.HashStore(), steps) == answers(torchs.HashStore(), steps)


@pytest.mark.parametrize(
    ("server", "client"), [("ours", "torch"), ("torch", "ours"), ("torch", "torch"), ("ours", "ours")]
)
def test_stores_of_the_network_speak_with_torchs(torchs: Any, server: str, client: str) -> None:
    homes = {"ours": stores, "torch": torchs}
    master = homes[server].TCPStore("127.0.0.1", 0, None, True, SOON)
    other = homes[client].TCPStore("127.0.0.1", master.port, None, False, SOON)
    master.set("seed", "7")
    steps: list[tuple[Any, ...]] = [
        ("get", "seed"), ("add", "n", 5), ("set", "a", "x" * 100_000), ("append", "a", "y"), ("check", ["a", "zz"]),
        ("compare_set", "b", "", "1"), ("compare_set", "b", "0", "2"), ("compare_set", "c", "0", "2"), ("num_keys",),
        ("delete_key", "b"), ("delete_key", "b"), ("multi_set", ["d", "e"], ["1", "2"]), ("multi_get", ["d", "e"]),
    ]  # fmt: skip
    assert [getattr(other, name)(*arguments) for name, *arguments in steps] == [
        b"7", 5, None, None, False, b"1", b"1", b"0", 4, True, False, None, [b"1", b"2"],
    ]  # fmt: skip
    with pytest.raises(RuntimeError, match="wait timeout after 50ms"):
        other.wait(["nobody"], SHORT)
    assert other.get("d") == b"1" and master.get("e") == b"2"
