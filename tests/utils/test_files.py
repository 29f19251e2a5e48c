"""Writing a file in one step."""

import os
import signal
import subprocess
import sys

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
