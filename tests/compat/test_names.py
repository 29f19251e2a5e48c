"""The table of torch's names, and that flambeau answers to no others."""

from __future__ import annotations

import pytest

from flambeau.compat import names, namespace


def test_the_table_knows_modules_names_and_identities() -> None:
    assert {"", "nn", "nn.modules.conv", "autograd.functional", "optim.lr_scheduler"} <= names.modules()
    conv = names.entries("nn.modules.conv")
    assert conv["Conv2d"] == names.Entry(("nn", "Conv2d"), False, True)
    assert conv["_ConvNd"].home == ("nn.modules.conv", "_ConvNd") and not conv["_ConvNd"].listed
    assert names.entries("")["nn"].is_module and "foo" not in names.entries("")
    assert names.entries("distributions.bernoulli")["Bernoulli"].home == ("distributions", "Bernoulli")
    assert ("nn.modules.conv", "Conv2d") in names.places("nn", "Conv2d")
    assert names.places("nn.modules.conv", "Conv2d")[0] == ("nn", "Conv2d")
    assert names.places("nn", "no such") == []


def _found(module: str, name: str) -> object:
    try:
        return namespace.look_up(module, name)
    except LookupError:
        return None


@pytest.mark.parametrize("module", sorted(m for m in names.modules() if m.startswith(("nn.modules.", "nn.utils."))))
def test_files_of_layers_hold_the_layers_themselves(module: str) -> None:
    """``nn.modules.activation.GLU`` is ``nn.GLU``, ``nn.utils.init.skip_init`` that of ``nn.utils``."""
    for name, entry in names.entries(module).items():
        if not entry.is_module and entry.home[0] in ("nn", "nn.utils"):
            assert _found(module, name) is _found(*entry.home), name
            assert not entry.listed or _found(module, name) is not None, name


def test_the_table_says_which_names_are_packages() -> None:
    assert names.is_package("") and names.is_package("nn.modules") and not names.is_package("nn.modules.conv")


@pytest.mark.parametrize("module", sorted(names.habits() - {"_torch"}))
def test_a_file_of_ours_imports_and_shows_names_of_torch(module: str) -> None:
    habit = namespace.habit(module)
    assert habit is not None and habit.__doc__
    if module not in names.modules():
        return
    table = {*names.entries(module), *map(str.lower, names.entries(module))}
    strange = {n for n in getattr(habit, "__all__", ()) if n not in table and not n.startswith("_")}
    assert not strange - FLAGS.get(module, set())


#: Names of modules that torch makes of objects, which the table cannot see, and of modules that it counts as leaves.
FLAGS = {
    "backends.cudnn": {
        "allow_tf32", "benchmark", "benchmark_limit", "conv", "deterministic", "enabled", "flags", "fp32_precision",
        "is_acceptable", "is_available", "rnn", "set_flags", "version",
    },
    "backends.miopen": {"immediate"},
    "backends.mkldnn": {
        "VERBOSE_OFF", "VERBOSE_ON", "VERBOSE_ON_CREATION", "verbose",
        "allow_tf32", "conv", "deterministic", "enabled", "flags", "fp32_precision", "is_available", "matmul", "rnn",
    },
    "backends.opt_einsum": {"enabled", "flags", "get_opt_einsum", "is_available", "set_flags", "strategy"},
    "compiler.config": {
        "accumulated_cache_size_limit", "accumulated_recompile_limit", "allow_unspec_int_on_nn_module",
        "assume_static_by_default", "automatic_dynamic_shapes", "cache_size_limit", "capture_dynamic_output_shape_ops",
        "capture_scalar_outputs", "disable", "dynamic_shapes", "fail_on_recompile_limit_hit", "force_disable_caches",
        "optimize_ddp", "patch", "recompile_limit", "suppress_errors", "verbose",
    },
    "hub": {"HASH_REGEX", "urlparse"},
    "jit": {"Final"},
    "utils.model_zoo": {"tqdm"},
    "backends.quantized": {"engine", "supported_engines"},
    "backends.xnnpack": {"enabled"},
}  # fmt: skip


def test_a_name_that_torch_has_not_is_missing() -> None:
    with pytest.raises(namespace._Missing):
        namespace.look_up("nn", "no_such_layer")
    assert namespace._member("", "fastpath") is None and namespace._member("", "demo") is None
    assert not namespace.exists("core") and not namespace.exists("plugins") and not namespace.exists("no.such")
