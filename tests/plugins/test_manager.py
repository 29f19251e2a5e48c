"""Discovery, hooks, quarantine: what a plugin may do wrong, and that nothing else is hurt by it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from flambeau.backends.base import BackendUnavailableError
from flambeau.core import config, registry
from flambeau.core.device import device
from flambeau.core.errors import UnknownDeviceError
from flambeau.plugins import catalogue, doctor, manager
from tests.plugins.fakes import Site

GOOD = """
def flambeau_backends():
    return Toy({!r})
"""


def error_of(device_type: str, *words: str) -> BackendUnavailableError:
    """The error that somebody gets who asks for a quarantined plugin's device; ``words`` are patterns of its text."""
    with pytest.raises(BackendUnavailableError) as caught:
        registry.get_backend(device_type)
    for pattern in words:
        caught.match(pattern)
    return caught.value


def reason_of(name: str) -> str | None:
    return next(s.reason for s in manager.plugin_report() if s.plugin.name == name)


# -- discovery -------------------------------------------------------------------------------------------------
def test_only_the_plugin_whose_device_is_asked_for_is_imported(site: Site) -> None:
    site.package("acme", GOOD.format("acme"))
    site.package("bolt", GOOD.format("bolt"))
    assert {"acme", "bolt", "cpu", "meta"} <= set(registry.known_types())
    assert site.imported() == []
    assert registry.get_backend("bolt").device_type == "bolt"
    assert site.imported() == ["bolt"]
    states = {s.plugin.name: s.state for s in manager.plugin_report()}
    assert (states["acme"], states["bolt"]) == ("not loaded", "loaded")


def test_every_plugin_at_once(site: Site) -> None:
    site.package("acme", GOOD.format("acme"))
    site.package("bolt", "raise OSError('libbolt.so: cannot open')")
    manager.discover("acme")
    manager.discover("bolt")
    manager.discover("acme")
    assert registry.backends["acme"].device_type == "acme" and registry.sources["acme"] == "acme 1.0"
    assert "libbolt.so" in str(reason_of("bolt"))


def test_the_hook_may_be_marked_and_may_give_several_backends(site: Site) -> None:
    source = """
    from flambeau.plugins import hookimpl

    @hookimpl(tryfirst=True)
    def flambeau_backends():
        return [Toy("acme"), Toy("acme_lite")]
    """
    site.package("acme", source, {"acme": "acme", "acme_lite": "acme"})
    first = registry.get_backend("acme_lite")
    manager.discover("acme")
    assert registry.get_backend("acme_lite") is first
    assert registry.get_backend("acme").device_type == "acme"


def test_a_plugin_object_instead_of_a_module(site: Site) -> None:
    source = """
    class Hooks:
        def flambeau_backends(self):
            return Toy("acme")

    hooks = Hooks()
    """
    site.package("acme", source, {"acme": "acme:hooks"})
    assert registry.get_backend("acme").device_type == "acme"


def test_a_plugin_named_by_a_setting(site: Site) -> None:
    site.package("acme", GOOD.format("npu"))
    config.set(plugins={"npu": "acme"})
    manager.rescan()
    assert registry.get_backend("npu").device_type == "npu"
    assert registry.sources["npu"] == "FLAMBEAU_PLUGINS (acme)"


def test_a_setting_goes_before_an_installed_plugin_of_the_same_name(site: Site) -> None:
    site.package("npu", "raise OSError('the installed one')")
    site.package("acme", GOOD.format("npu"))
    config.set(plugins="npu=acme")
    manager.rescan()
    assert registry.get_backend("npu").device_type == "npu"


@pytest.mark.parametrize("off", ["acme", "acme-backend", "all"])
def test_a_disabled_plugin_is_never_imported(site: Site, off: str) -> None:
    site.package("acme-backend", GOOD.format("acme"), {"acme": "acme_backend"})
    site.setenv("FLAMBEAU_DISABLE_PLUGINS", off)
    assert "FLAMBEAU_DISABLE_PLUGINS" in str(error_of("acme"))
    assert site.imported() == []
    assert not next(p for p in catalogue.catalogue() if p.name == "meta").disabled


def test_an_unknown_device_lists_the_known_ones(site: Site) -> None:
    site.package("acme", GOOD.format("acme"))
    with pytest.raises(UnknownDeviceError, match=r"unknown device type 'bolt'.*acme.*cpu.*doctor"):
        registry.get_backend("bolt")


# -- quarantine ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('driver too old')", "driver too old"),
        ("raise OSError('libacme.so: cannot open')", "libacme.so"),
        ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
        ("raise SystemExit(3)", r"sys\.exit\(3\)"),
        ("class Skipped(BaseException): pass\nraise Skipped('not here')", "not here"),
        ("raise TimeoutError", "failed to load: TimeoutError"),
        ("class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute", "failed to load: Mute"),
        ("def flambeau_backends(): raise ValueError('no licence')", "no licence"),
        ("def flambeau_backend(): return []", "no hook 'flambeau_backend'; did you mean 'flambeau_backends'"),
        ("def flambeau_xyzzy(): return []", "the hooks are flambeau_backends, flambeau_register_kernels"),
        ("def flambeau_backends(device): return []", r"Argument\(s\) \{'device'\} are declared in the hookimpl"),
        ("x = 1", "has no hook; expected one of flambeau_backends"),
        ("def flambeau_backends(): return [3]", "gave 3, which is not a flambeau Backend"),
        ("def flambeau_backends(): return []", "flambeau_backends gave no backend"),
        ("def flambeau_backends(): return Toy('other')", "'other', for which acme 1.0 has no entry point"),
        ("Toy.api_version = 7\n" + GOOD.format("acme"), r"built for plugin API 7.*has plugin API 1; upgrade flambeau"),
        ("Toy.api_version = 0\n" + GOOD.format("acme"), r"built for plugin API 0.*runs 1 or newer; upgrade the plugin"),
        ("Toy.api_version = 'one'\n" + GOOD.format("acme"), "api_version of Toy must be an int, got 'one'"),
        ("del Toy.api_version\n" + GOOD.format("acme"), "Toy does not say for which plugin API.*`api_version = 1`"),
    ],
)
def test_a_broken_plugin_is_quarantined_with_its_traceback(site: Site, source: str, words: str) -> None:
    site.package("acme", source)
    site.package("bolt", GOOD.format("bolt"))
    for _ in range(2):  # the same error again, without a second import
        error = error_of("acme", "device 'acme': its plugin .*failed to load", words)
        assert error.__cause__ is not None and error.__cause__.__traceback__ is not None
    assert "acme" not in registry.backends
    assert registry.get_backend("bolt").device_type == "bolt"
    status = next(s for s in manager.plugin_report() if s.plugin.name == "acme")
    assert status.state == "failed" and "Traceback" in str(status.traceback)


def test_the_failed_import_stands_in_the_chained_traceback(site: Site) -> None:
    site.package("acme", "def start():\n    raise OSError('no driver')\nstart()")
    error = error_of("acme")
    assert isinstance(error.__cause__, OSError)
    assert "in start" in registry.failures["acme"].report()


def test_a_mended_plugin_loads_after_a_rescan(site: Site) -> None:
    site.package("acme", "raise OSError('not yet')")
    error_of("acme")
    (site.folder / "acme.py").unlink()
    site.package("acme", GOOD.format("acme"), version="1.10")
    assert registry.get_backend("acme").device_type == "acme"


def test_a_misspelt_hook_does_not_spoil_the_check_of_the_next_plugin(site: Site) -> None:
    site.package("acme", "def flambeau_backendz(): return []")
    site.package("bolt", GOOD.format("bolt"))
    error_of("acme", "flambeau_backendz")
    assert registry.get_backend("bolt").device_type == "bolt"


def test_two_plugins_for_one_device_type_are_an_error_that_names_both(site: Site) -> None:
    site.package("acme", GOOD.format("npu"), {"npu": "acme"})
    site.package("bolt", GOOD.format("npu"), {"npu": "bolt"}, version="2.0")
    site.package("cosy", GOOD.format("cosy"))
    error_of("npu", r"'npu' is offered by plugin 'npu' \(acme 1.0\) and by plugin 'npu' \(bolt 2.0\).*DISABLE_PLUGINS")
    assert site.imported() == []
    assert registry.get_backend("cosy").device_type == "cosy"
    config.set(disable_plugins="bolt")
    manager.rescan()
    assert registry.get_backend("npu").device_type == "npu" and registry.sources["npu"] == "acme 1.0"


def test_a_plugin_cannot_take_a_built_in_device_type(site: Site) -> None:
    site.package("acme", GOOD.format("meta"), {"meta": "acme"})
    with pytest.warns(RuntimeWarning, match=r"acme 1.0.*'meta', which flambeau itself has"):
        assert registry.get_backend("meta").device_type == "meta"
    assert registry.sources["meta"] == "flambeau" and site.imported() == []


def test_nothing_of_a_plugin_stays_when_a_part_of_it_fails(site: Site) -> None:
    source = (
        GOOD.format("acme")
        + """
def flambeau_register_kernels(register):
    register("cpu", "exp", lambda following: following, priority=41)
    raise RuntimeError("second thoughts")
"""
    )
    site.package("acme", source)
    error_of("acme", "second thoughts")
    assert "acme" not in registry.backends
    assert not [o for stack in registry.overlays.values() for o in stack if "acme" in o.source]


# -- re-entrance and threads -----------------------------------------------------------------------------------
def test_a_plugin_may_use_another_device_while_it_loads(site: Site) -> None:
    site.package("acme", "from flambeau.core import registry\nregistry.get_backend('bolt')\n" + GOOD.format("acme"))
    site.package("bolt", GOOD.format("bolt"))
    assert registry.get_backend("acme").device_type == "acme"


def test_a_plugin_that_asks_for_itself_is_told_so(site: Site) -> None:
    site.package("acme", "from flambeau.core import registry\nregistry.get_backend('acme')\n" + GOOD.format("acme"))
    error_of("acme", "'acme' was asked for while .* was still loading")


def test_threads_that_ask_at_the_same_time_load_a_plugin_once(site: Site) -> None:
    site.package("acme", "import time; time.sleep(0.2)\n" + GOOD.format("acme"))
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(registry.get_backend("acme"))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 8 and len(set(map(id, found))) == 1


# -- kernels for somebody else's device ------------------------------------------------------------------------
OVERLAY = """
def make(following):
    return lambda *a, **k: following(*a, **k)

def flambeau_register_kernels(register):
    register({device!r}, "exp", make, priority={priority})
"""


def test_an_overlay_is_loaded_with_its_device(site: Site) -> None:
    site.package("acme", GOOD.format("acme"))
    site.package("faster", OVERLAY.format(device="acme", priority=3), {"acme.faster": "faster"})
    assert "acme.faster" not in registry.known_types()
    assert site.imported() == []
    registry.get_backend("acme")
    (overlay,) = registry.overlays["acme", "exp"]
    assert overlay.source == "acme.faster of faster 1.0" and overlay.priority == 3


def test_a_broken_overlay_warns_and_leaves_its_device_alone(site: Site) -> None:
    site.package("acme", GOOD.format("acme"))
    site.package("faster", "raise ImportError('built for another numpy')", {"acme.faster": "faster"})
    with pytest.warns(RuntimeWarning, match=r"'acme.faster' \(faster 1.0\) is off: built for another numpy.*doctor"):
        assert registry.get_backend("acme").device_type == "acme"
    assert "acme.faster" not in registry.known_types()
    assert "another numpy" in str(reason_of("acme.faster"))


def test_overlays_of_one_priority_are_an_error_that_names_both(site: Site) -> None:
    site.package("acme", GOOD.format("acme"))
    site.package("fast", OVERLAY.format(device="acme", priority=0), {"acme.fast": "fast"})
    site.package("quick", OVERLAY.format(device="acme", priority=0), {"acme.quick": "quick"})
    with pytest.warns(RuntimeWarning, match=r"acme.fast of fast 1.0 and acme.quick of quick 1.0"):
        registry.get_backend("acme")
    assert len(registry.overlays["acme", "exp"]) == 1


def test_an_overlay_of_an_unknown_op_is_an_error_that_says_what_was_meant(site: Site) -> None:
    site.package("acme", GOOD.format("acme"))
    source = OVERLAY.format(device="acme", priority=0).replace('"exp"', '"softmaks"')
    site.package("faster", source, {"acme.faster": "faster"})
    with pytest.warns(RuntimeWarning, match="there is no op 'softmaks'; did you mean 'softmax'"):
        registry.get_backend("acme")
    assert not registry.overlays.get(("acme", "softmaks"))


def test_a_package_whose_metadata_cannot_be_read_hides_nothing(site: Site) -> None:
    site.package("acme", GOOD.format("acme"))
    site.package("bolt", GOOD.format("bolt"))
    (site.folder / "bolt-1.0.dist-info" / "entry_points.txt").write_bytes(b"[flambeau]\nbolt = \xff\xfe\n")
    manager.rescan()
    assert registry.get_backend("acme").device_type == "acme"
    assert "utf-8" in str(catalogue.unreadable()["bolt"])
    found = doctor.report()
    assert any("package bolt: its entry points cannot be read" in line for line in doctor.problems(found))


# -- the default device ----------------------------------------------------------------------------------------
SWITCHED = """
class Switched(Toy):
    def unavailable_reason(self):
        return {reason!r}
    def accelerators(self):
        return {accelerators}
    yields_to = {yields_to}
    def device_count(self):
        return 2

def flambeau_backends():
    return Switched({name!r})
"""


def switched(
    site: Site, name: str, reason: str | None = None, accelerators: str = "()", yields_to: tuple[str, ...] = ()
) -> None:
    site.package(name, SWITCHED.format(name=name, reason=reason, accelerators=accelerators, yields_to=yields_to))


def choose(names: str | None) -> device:
    if names is not None:
        config.set(device=names)
    return manager.default_device()


def test_cpu_where_nobody_chooses(site: Site) -> None:
    switched(site, "acme", accelerators="(0,)")
    assert choose(None) is device("cpu") and site.imported() == []


def test_one_name_is_that_device_or_an_error_that_says_why(site: Site) -> None:
    switched(site, "acme")
    switched(site, "bolt", reason="no bolt card; insert one")
    assert choose("acme:1") is device("acme:1")
    with pytest.raises(BackendUnavailableError, match=r"device=bolt: device 'bolt:0' is not available: no bolt card"):
        choose("bolt")
    with pytest.raises(BackendUnavailableError, match=r"device=acme:2: .*acme has 2 device"):
        choose("acme:2")
    with pytest.raises(UnknownDeviceError, match="device=acmee: unknown device type 'acmee'"):
        choose("acmee")


def test_the_variable_is_named_when_it_was_the_one_that_asked(site: Site) -> None:
    site.setenv("FLAMBEAU_DEVICE", "zzz")
    with pytest.raises(UnknownDeviceError, match="FLAMBEAU_DEVICE=zzz"):
        manager.default_device()
    site.setenv("FLAMBEAU_DEVICE", "cpu,a b")
    config.reset()
    with pytest.raises(config.ConfigError, match="FLAMBEAU_DEVICE=cpu,a b: device: invalid device string 'a b'"):
        manager.default_device()


@pytest.mark.parametrize("cards, wanted", [("(0,)", "bolt:0"), ("()", "acme:1")])
def test_auto_tries_what_a_backend_yields_to_first(site: Site, cards: str, wanted: str) -> None:
    switched(site, "acme", accelerators="(1,)", yields_to=("bolt", "absent"))
    switched(site, "bolt", accelerators=cards)
    assert choose("auto") is device(wanted)


def test_a_list_picks_the_first_available(site: Site) -> None:
    switched(site, "acme")
    switched(site, "bolt", reason="no bolt card")
    assert choose("zzz,bolt,acme:1,cpu") is device("acme:1")
    with pytest.raises(BackendUnavailableError, match=r"none is available\. zzz:0: unknown.*; bolt:0: .*no bolt card"):
        choose("zzz,bolt")


@pytest.mark.parametrize("text", ["auto", ""])
def test_auto_takes_an_accelerator_before_the_cpu(site: Site, text: str) -> None:
    site.package("crash", "raise OSError('no driver')")
    switched(site, "plain")
    switched(site, "bolt", reason="no bolt card", accelerators="(0,)")
    assert choose(text) is device("cpu")
    switched(site, "zorg", accelerators="(1, 0)")
    assert choose(text) is device("zorg:1")


@pytest.mark.device("opencl")
def test_auto_passes_over_opencl_drivers_that_run_on_the_processor() -> None:
    backend = registry.get_backend("opencl")
    platforms = [backend.properties(i).details["platform"] for i in range(backend.device_count())]
    on_processor = {i for i, name in enumerate(platforms) if "Portable Computing Language" in name}
    assert not on_processor & set(backend.accelerators())


# -- the built-in plugins --------------------------------------------------------------------------------------
def test_a_built_in_plugin_names_the_extra_that_it_needs(site: Site) -> None:
    plugin = catalogue.Plugin("opencl", "a_driver_binding.backend", builtin=True, extra="opencl")
    with pytest.raises(manager.PluginError, match=r"'a_driver_binding'.*pip install 'flambeau\[opencl\]'"):
        manager._import(plugin)


@pytest.mark.parametrize("name", [p.name for p in catalogue.BUILTIN])
def test_built_in_plugins_load_by_the_same_hooks(name: str) -> None:
    backend = registry.get_backend(name)
    assert backend.device_type == name and registry.sources[name] == "flambeau"
