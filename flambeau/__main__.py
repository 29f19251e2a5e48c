"""``python -m flambeau``: the commands. Each imports what it alone needs when it runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from flambeau import __version__, get_default_device
from flambeau.backends.base import BackendUnavailableError
from flambeau.core.config import ConfigError
from flambeau.core.device import device
from flambeau.core.errors import DeviceError
from flambeau.explain import explain, explain_compiled


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return number


def _device_name(text: str) -> str:
    try:
        return str(device(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _demo(given: argparse.Namespace) -> int:
    from flambeau.demo import main as demo  # lazy for start-up

    options = {"device": given.device, "epochs": given.epochs, "seed": given.seed}
    demo(**{name: value for name, value in options.items() if value is not None})
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from flambeau.plugins import doctor  # lazy for start-up

    return doctor.main(as_json=given.json)


def _coverage(given: argparse.Namespace) -> int:
    from flambeau.plugins import coverage  # lazy for start-up

    return coverage.main(given.device or str(get_default_device()), as_json_text=given.json)


def _explain(given: argparse.Namespace) -> int:
    if given.compiled:
        return explain_compiled(given.compiled, full=given.full)
    if given.op is None:
        print("flambeau: explain: name an op, or --compiled SCRIPT", file=sys.stderr)
        return 2
    try:
        print(explain(given.op, given.device))
    except KeyError as error:  # an unknown op
        print(f"flambeau: {error.args[0]}", file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> int:
    from flambeau.compat import launch  # lazy for start-up

    return launch.run(given.program, module=given.module)


def _launch(given: argparse.Namespace) -> int:
    from flambeau.distributed import launch  # lazy for start-up

    return launch.main(given.arguments)


def _view(given: argparse.Namespace) -> int:
    from flambeau.export import ExportError, view  # lazy for start-up

    try:
        print(view.write(given.target, given.out, timed=given.profile))
    except (ExportError, OSError) as error:
        print(f"flambeau: {error}", file=sys.stderr)
        return 2
    return 0


def _torch_wheel(given: argparse.Namespace) -> int:
    from flambeau.compat import wheel  # lazy for start-up

    print(wheel.build(given.out))
    return 0


_EXAMPLES = """\
examples:
  python -m flambeau demo
  python -m flambeau doctor
  python -m flambeau coverage --device opencl
  python -m flambeau explain softmax --device opencl
  python -m flambeau explain --compiled train.py --epochs 3
  python -m flambeau run train.py --epochs 3
  python -m flambeau launch --nproc-per-node 2 train.py --epochs 3
  python -m flambeau view model.fbp --profile
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flambeau",
        description="PyTorch's way of working on hardware of your own choice.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"flambeau {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str, more: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {more}")
        added.set_defaults(run=run)
        return added

    demo = command(
        "demo", _demo, "train a small convolutional network on scanned digits",
        "Takes seconds; writes the model and, with matplotlib, its learning curve into ./flambeau-demo/.",
    )  # fmt: skip
    demo.add_argument("--device", type=_device_name, help="where to train (default: what FLAMBEAU_DEVICE picks)")
    demo.add_argument("--epochs", type=_positive, help="how many times to go through the data (default: 20)")
    demo.add_argument("--seed", type=int, help="the same seed gives the same losses, to the bit (default: 0)")

    doctor = command(
        "doctor", _doctor, "list plugins, devices, settings, and what is wrong",
        "Exit status 1 when something is broken.",
    )  # fmt: skip
    doctor.add_argument("--json", action="store_true", help="for programs")

    coverage = command(
        "coverage", _coverage, "show how a device serves each op, by dtype",
        "Native kernels, ops made of other ops, what falls back to the cpu, and what is missing.",
    )  # fmt: skip
    coverage.add_argument("--device", type=_device_name, help="such as opencl:0 (default: what FLAMBEAU_DEVICE picks)")
    coverage.add_argument("--json", action="store_true", help="for programs")

    explain = command(
        "explain", _explain, "show an op's record, generated code and kernels, or what a script compiled",
        "An op is explained for the devices in use, or for the one that --device names; a script is run.",
    )  # fmt: skip
    explain.add_argument("op", metavar="OP", nargs="?", help="for example add")
    explain.add_argument("--device", type=_device_name, help="this device, for example opencl:0")
    explain.add_argument("--full", action="store_true", help="with --compiled: every node of every recording")
    explain.add_argument(
        "--compiled", metavar="SCRIPT", nargs=argparse.REMAINDER,
        help="run a script with its arguments; at its end print what each compiled function recorded and replayed",
    )  # fmt: skip

    run = command(
        "run", _run, "run a program that is written for PyTorch on flambeau",
        "The program's `import torch`, and that of the processes it starts, gives flambeau.",
    )  # fmt: skip
    run.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module, as in python -m PROGRAM")
    run.add_argument("program", metavar="PROGRAM", nargs=argparse.REMAINDER, help="a script or module, its arguments")

    launch = commands.add_parser(
        "launch", add_help=False, prefix_chars="\0", help="start a program in several processes, on one machine or many"
    )
    launch.add_argument("arguments", nargs=argparse.REMAINDER)
    launch.set_defaults(run=_launch)

    view = command(
        "view", _view, "write an HTML page that shows the graph of a model",
        "A model is a file of flambeau.export or fb.jit, or module.py:function with a function that returns a program "
        "or a pair of a module and a tuple of its arguments.",
    )  # fmt: skip
    view.add_argument("target", metavar="MODEL", help="model.fbp, or module.py:function, which is run")
    view.add_argument("--out", help="the page (default: the name of the model with .html, here)")
    view.add_argument("--profile", action="store_true", help="run it, and show the time of each node")

    wheel = command(
        "torch-wheel", _torch_wheel, "build a wheel named torch that is flambeau",
        "Installed, it is the torch that other packages ask for.",
    )  # fmt: skip
    wheel.add_argument("--out", default=".", help="the folder to put it into (default: this one)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 2 when it could not run."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if "run" not in given:
        parser.print_help(sys.stderr)
        return 2
    try:
        status: int = given.run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (BackendUnavailableError, ConfigError, DeviceError) as error:  # the text alone tells what to do
        print(f"flambeau: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
