"""What a report of a bug should tell of the machine: the system, Python, flambeau, devices and packages."""

from __future__ import annotations

import importlib.metadata
import locale
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Final, NamedTuple

import flambeau
from flambeau.core.registry import get_backend, known_types

__all__ = [
    "SystemEnv", "get_cpu_info", "get_env_info", "get_os", "get_pip_packages", "get_platform", "get_pretty_env_info",
    "get_python_platform", "main", "pretty_str", "run", "run_and_parse_first_match", "run_and_read_all",
    "run_and_return_first_line",
]  # fmt: skip

TORCH_AVAILABLE: Final = True
COMMON_PATTERNS: Final = {"torch", "numpy", "triton", "optree"}
NVIDIA_PATTERNS: Final = {"cuda-cudart", "cuda-nvrtc", "cublas", "cudnn", "cufft", "cusparse", "nccl", "nvtx"}
ONEAPI_PATTERNS: Final = {"dpcpp-cpp-rt", "mkl", "onemkl-sycl-blas"}
PIP_PATTERNS: Final = (
    *sorted(COMMON_PATTERNS),
    "flambeau",
    "safetensors",
    "ml_dtypes",
    "jax",
    "pyopencl",
    "cupy",
    "mypy",
    "onnx",
)
CONDA_PATTERNS: Final = ("cudatoolkit", "mkl", "magma")


class SystemEnv(NamedTuple):
    """The facts, as texts."""

    flambeau_version: str
    os: str
    gcc_version: str | None
    clang_version: str | None
    cmake_version: str | None
    libc_version: str
    python_version: str
    python_platform: str
    devices: str
    cpu_info: str
    pip_packages: str


def run(command: str | list[str]) -> tuple[int, str, str]:
    """The exit code and what a command wrote, to both of its outputs.

    >>> import sys
    >>> fb.utils.collect_env.run([sys.executable, "-c", "print(5)"])
    (0, '5', '')
    """
    shell = isinstance(command, str)
    try:
        done = subprocess.run(command, capture_output=True, shell=shell, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, "", str(error)
    encoding = locale.getpreferredencoding()
    out, err = (text.decode(encoding, "replace").strip() for text in (done.stdout, done.stderr))
    return done.returncode, out, err


def run_and_read_all(run_lambda: object, command: str | list[str]) -> str | None:
    """What a command wrote; None where it failed. ``run_lambda`` is :func:`run` or one like it."""
    assert callable(run_lambda)
    code, out, _ = run_lambda(command)
    return out if code == 0 else None


def run_and_parse_first_match(run_lambda: object, command: str | list[str], regex: str) -> str | None:
    """The first group of a pattern in what a command wrote."""
    out = run_and_read_all(run_lambda, command)
    match = None if out is None else re.search(regex, out)
    return None if match is None else match.group(1)


def run_and_return_first_line(run_lambda: object, command: str | list[str]) -> str | None:
    """The first line that a command wrote."""
    out = run_and_read_all(run_lambda, command)
    return None if out is None else out.split("\n")[0]


def _version_of(tool: str, pattern: str) -> str | None:
    return run_and_parse_first_match(run, [tool, "--version"], pattern) if shutil.which(tool) else None


def get_gcc_version(run_lambda: object = run) -> str | None:
    """GCC's."""
    return _version_of("gcc", r"gcc (.*)")


def get_clang_version(run_lambda: object = run) -> str | None:
    """Clang's."""
    return _version_of("clang", r"clang version (.*)")


def get_cmake_version(run_lambda: object = run) -> str | None:
    """CMake's."""
    return _version_of("cmake", r"cmake (.*)")


def get_platform() -> str:
    """The system's name, as Python has it.

    >>> fb.utils.collect_env.get_platform() in ("linux", "darwin", "win32", "cygwin")
    True
    """
    return "linux" if sys.platform.startswith("linux") else sys.platform


def get_os(run_lambda: object = run) -> str:
    """The system in words."""
    if get_platform() == "linux":
        try:
            return f"{platform.freedesktop_os_release()['PRETTY_NAME']} ({platform.machine()})"
        except (OSError, KeyError):
            return f"{platform.system()} ({platform.machine()})"
    return f"{platform.system()} {platform.release()} ({platform.machine()})"


def get_python_platform() -> str:
    """Python's name for the machine."""
    return platform.platform()


def get_libc_version() -> str:
    """The C library's."""
    return "-".join(platform.libc_ver()) if get_platform() == "linux" else "N/A"


def get_cpu_info(run_lambda: object = run) -> str:
    """The processor in words."""
    name = platform.processor() or platform.machine()
    if get_platform() == "linux":
        match = re.search(r"model name\s*: (.*)", _text_of("/proc/cpuinfo"))
        name = match.group(1) if match else name
    return f"{name}, {os.cpu_count()} cores"


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def get_pip_packages(run_lambda: object = run, patterns: tuple[str, ...] = PIP_PATTERNS) -> tuple[str, str]:
    """The word pip, and the installed packages whose names match, a line for each."""
    found = {d.name: d.version for d in importlib.metadata.distributions() if d.name}
    lines = [f"{n}=={v}" for n, v in sorted(found.items()) if any(p in n.lower() for p in patterns)]
    return "pip", "\n".join(lines)


def _of_device(kind: str, fact: str) -> str | None:
    """A fact of the first device of a type; None where there is none."""
    try:
        backend = get_backend(kind)
        found = backend.properties(0) if backend.is_available() and backend.device_count() else None
    except Exception:  # no such type, or a broken plugin
        return None
    if found is None:
        return None
    value = getattr(found, fact, None) or found.details.get(fact)
    return None if value is None else str(value)


def get_gpu_info(run_lambda: object = run) -> str | None:
    """The name of the first device of type cuda."""
    return _of_device("cuda", "name")


def get_nvidia_driver_version(run_lambda: object = run) -> str | None:
    """Its driver's version."""
    return _of_device("cuda", "driver_version")


def get_running_cuda_version(run_lambda: object = run) -> str | None:
    """Its runtime's version."""
    return _of_device("cuda", "runtime_version")


def get_cudnn_version(run_lambda: object = run) -> str | None:
    """That of a library which is not used; None."""
    return None


def get_nvidia_smi() -> str:
    """The path of the driver's own tool."""
    return shutil.which("nvidia-smi") or "nvidia-smi"


def get_intel_gpu_onboard(run_lambda: object = run) -> str:
    """The name of the first device of type xpu."""
    return _of_device("xpu", "name") or "N/A"


get_intel_gpu_detected = get_intel_gpu_onboard


def get_intel_gpu_driver_version(run_lambda: object = run) -> str:
    """Its driver's version."""
    return _of_device("xpu", "driver_version") or "N/A"


def get_cuda_module_loading_config() -> str:
    """What the environment says of when kernels are loaded."""
    return os.environ.get("CUDA_MODULE_LOADING", "N/A")


def get_cachingallocator_config() -> dict[str, str]:
    """What the environment says to PyTorch's allocators; the backends' own ask their settings."""
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
    return {name: os.environ[name] for name in names if name in os.environ}


def is_xnnpack_available() -> bool:
    """Whether that library is used; it is not.

    >>> fb.utils.collect_env.is_xnnpack_available()
    False
    """
    return False


def get_mac_version(run_lambda: object = run) -> str | None:
    """The version of macOS; None elsewhere."""
    return platform.mac_ver()[0] or None


def get_windows_version(run_lambda: object = run) -> str | None:
    """The version of Windows; None elsewhere."""
    return platform.win32_ver()[1] or None


def check_release_file(run_lambda: object = run) -> str | None:
    """The system's name in ``/etc/os-release``."""
    match = re.search(r'PRETTY_NAME="(.*)"', _text_of("/etc/os-release"))
    return None if match is None else match.group(1)


get_lsb_version = check_release_file


def get_conda_packages(run_lambda: object = run, patterns: tuple[str, ...] = CONDA_PATTERNS) -> str | None:
    """What conda has installed whose name matches; None without conda."""
    conda = os.environ.get("CONDA_EXE") or shutil.which("conda")
    out = None if conda is None else run_and_read_all(run_lambda, [conda, "list"])
    if out is None:
        return None
    lines = (line for line in out.splitlines() if not line.startswith("#"))
    return "\n".join(line for line in lines if any(p in line for p in patterns))


def get_linux_pkg_version(run_lambda: object, pkg_name: str) -> str:
    """The version of a package of the system, by dpkg."""
    if shutil.which("dpkg-query") is None:
        return "N/A"
    return run_and_read_all(run_lambda, ["dpkg-query", "-W", "-f=${Version}", pkg_name]) or "N/A"


def _devices() -> str:
    lines = []
    for name in known_types():
        try:
            backend = get_backend(name)
            reason = backend.unavailable_reason()
            lines.append(f"{name}: {reason or f'{backend.device_count()} device(s)'}")
        except Exception as error:  # a broken plugin is one of the facts
            lines.append(f"{name}: {error}")
    return "\n".join(lines)


def get_env_info() -> SystemEnv:
    """All facts.

    >>> fb.utils.collect_env.get_env_info().flambeau_version == fb.__version__
    True
    """
    return SystemEnv(
        flambeau.__version__, get_os(), get_gcc_version(), get_clang_version(), get_cmake_version(), get_libc_version(),
        sys.version.replace("\n", " "), get_python_platform(), _devices(), get_cpu_info(), get_pip_packages()[1],
    )  # fmt: skip


def pretty_str(envinfo: SystemEnv) -> str:
    """Facts as text."""
    titles = {name: name.replace("_", " ").capitalize() for name in envinfo._fields}
    lines = []
    for name, value in envinfo._asdict().items():
        text = "Could not collect" if value is None else value
        body = "\n" + "\n".join(f"  {line}" for line in text.split("\n")) if "\n" in text else f" {text}"
        lines.append(f"{titles[name]}:{body}")
    return "\n".join(lines)


def get_pretty_env_info() -> str:
    """All facts as text."""
    return pretty_str(get_env_info())


def main() -> None:
    """Print them: ``python -m flambeau.utils.collect_env``."""
    print("Collecting environment information...")
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
