"""Writing a file in one step."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from flambeau.utils.files import atomic_write


def test_writes_and_leaves_nothing_else(tmp_path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
        assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_error_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_write(target) as file:
        file.write(b"new")
        raise KeyError
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_kill_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    program = (
        "import os, signal, sys\n"
        "from flambeau.utils.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(b'new' * 100_000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    ended = subprocess.run([sys.executable, "-c", program, target], env={**os.environ, "PYTHONPATH": paths}, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"


def test_the_folder_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none" / "a.bin"):
        pytest.fail("the block must not run")


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX")
def test_permissions_and_links_stay(tmp_path):
    target, link = tmp_path / "a.bin", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new", 0o640)


@pytest.mark.skipif(os.name != "posix", reason="the umask is POSIX")
def test_a_new_file_obeys_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.bin"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


# -- what nothing can take the place of ------------------------------------------------------------------
needs_posix = pytest.mark.skipif(os.name != "posix", reason="devices, pipes and locks are POSIX")


@needs_posix
@pytest.mark.parametrize("through", ["itself", "link", "link to a link"])
def test_a_device_is_written_to(tmp_path, through):
    path = "/dev/null"
    for name in {"itself": [], "link": ["a"], "link to a link": ["a", "b"]}[through]:
        (tmp_path / name).symlink_to(path)
        path = tmp_path / name
    before = os.listdir("/dev")
    with atomic_write(path) as file:
        file.write(b"new")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.path.islink(path) is (through != "itself") and os.stat(path).st_rdev == os.stat("/dev/null").st_rdev
    assert [n for n in os.listdir("/dev") if n not in before] == []


@needs_posix
def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    found = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    with atomic_write(path) as file:
        file.write(b"new" * 100_000)
    reader.join(timeout=30)
    assert found == [b"new" * 100_000] and path.is_fifo() and os.listdir(tmp_path) == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="this system has no /proc")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_what_a_process_has_open_is_written_to(tmp_path, name, kind):
    program = (
        "import sys\n"
        "from flambeau.utils.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file: file.write(b'new')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    output = tmp_path / "out"
    with output.open("wb") as opened:
        target = opened if kind == "file" else subprocess.PIPE
        done = subprocess.run([sys.executable, "-c", program, name], stdout=target, env=environment, timeout=60)
        assert done.returncode == 0
        if kind == "file":
            assert os.fstat(opened.fileno()).st_ino == output.stat().st_ino and output.read_bytes() == b"new"
        else:
            assert done.stdout == b"new"


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="it is a folder"), atomic_write(tmp_path):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("name", ["a" * 245, "a" * 255, "\u00e9" * 127, "\U0001f525" * 63, "a"])
def test_names_of_any_length_that_the_system_takes(tmp_path, name):
    with atomic_write(tmp_path / name) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"new"


def test_a_longer_name_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(OSError, match="name too long"), atomic_write(tmp_path / ("a" * 300)):
        pytest.fail("the block must not run")


# -- what killed processes leave -------------------------------------------------------------------------
KILLED = """
import os, signal, sys
from flambeau.utils.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b'new' * 100_000)
    if sys.argv[2] == "killed": os.kill(os.getpid(), signal.SIGKILL)
    print("begun", flush=True)
    sys.stdin.readline()
"""


def begun(path, how):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", KILLED, path, how], env=environment, **pipes)


@needs_posix
def test_what_killed_processes_left_is_cleared_away(tmp_path):
    process = begun(tmp_path / "b.bin", "killed")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL and len(os.listdir(tmp_path)) == 1
    others = [".a.bin.tmp", ".a.bin.12345678.saving.bak", "a.bin.12345678.saving", ".a.bin.1234.saving", ".saving"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".folder.12345678.saving").mkdir()
    (tmp_path / ".link.12345678.saving").symlink_to(tmp_path / "a.bin")
    kept = [*others, ".folder.12345678.saving", ".link.12345678.saving"]
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a.bin"])


@needs_posix
def test_what_others_write_at_the_same_time_stays(tmp_path):
    process = begun(tmp_path / "a.bin", "slow")
    try:
        assert process.stdout.readline() == b"begun\n"
        with atomic_write(tmp_path / "b.bin") as outer:
            outer.write(b"outer")
            with atomic_write(tmp_path / "b.bin") as inner:
                inner.write(b"inner")
            assert len(os.listdir(tmp_path)) == 3
        process.communicate(b"\n", timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin"]
    assert (tmp_path / "b.bin").read_bytes() == b"outer" and (tmp_path / "a.bin").stat().st_size == 300_000


@needs_posix
def test_many_writers_at_once(tmp_path):
    """None clears away what another has just made."""
    failed = []

    def write(number):
        try:
            for _ in range(30):
                with atomic_write(tmp_path / f"{number % 3}.bin") as file:
                    file.write(bytes([number]) * 100)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and sorted(os.listdir(tmp_path)) == ["0.bin", "1.bin", "2.bin"]
