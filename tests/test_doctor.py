"""`snn-helpers doctor`: every problem is a line with the command that mends it, and none ends the examination."""

import os
import shutil
import sys
import types
from pathlib import Path

import pytest

from snn_helpers import doctor
from snn_helpers.cli import main
from snn_helpers.doctor import Finding, examine

CHEAP = [name for name in doctor.CHECKS if name != "engine"]


@pytest.mark.parametrize("subject", doctor.CHECKS)
def test_nothing_is_wrong_in_the_environment_of_the_tests(subject, data_home, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_MEMORY", 0)  # what else runs here is no fault of the environment
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ((_, finding),) = examine({subject: doctor.CHECKS[subject]})
    assert finding.mend is None, finding
    assert finding.text


def test_command_prints_a_line_a_check_and_what_mends_it(capsys, monkeypatch):
    def broken():
        raise ZeroDivisionError("nothing\nhere")

    checks = {"one": lambda: Finding("is well"), "two": lambda: Finding("is ill", "mend two"), "three": broken}
    monkeypatch.setattr(doctor.report, "__defaults__", (checks,))
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok one        is well"
    assert lines[1] == "!! two        is ill"
    assert lines[2].strip() == "mend it with: mend two"
    assert lines[3] == "!! three      cannot be told: ZeroDivisionError: nothing here"
    assert lines[4].strip().startswith("mend it with: ")
    assert lines[5] == "2 of 3 need mending."


def test_command_succeeds_where_all_is_well(capsys, monkeypatch):
    monkeypatch.setattr(doctor.report, "__defaults__", ({"one": lambda: Finding("is well")},))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("Everything is well.\n")


@pytest.mark.parametrize("package", ["numba", "torch", "snntorch", "jupyter_client", "psutil", "packaging"])
def test_package_that_cannot_be_loaded_is_a_finding_and_not_the_end(package, data_home, monkeypatch):
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    findings = dict(examine({name: doctor.CHECKS[name] for name in CHEAP}))
    assert set(findings) == set(CHEAP)
    ill = [finding for finding in findings.values() if finding.mend]
    assert ill
    assert any(package in finding.text for finding in ill)


def test_package_that_breaks_while_it_loads_is_named_with_what_installs_it_again(monkeypatch):
    def import_module(name):
        if name == "numba":
            raise SystemError("initialization of _dispatcher failed")
        return types.ModuleType(name)

    monkeypatch.setattr(doctor.importlib, "import_module", import_module)
    finding = doctor.check_imports()
    assert finding.text == "numba cannot be loaded: SystemError: initialization of _dispatcher failed"
    assert finding.mend.startswith(f"{sys.executable} -m pip install --force-reinstall --no-deps numba==")


def test_missing_and_old_packages_are_named(monkeypatch):
    releases = {"torch": "1.0", "anywidget": None}
    monkeypatch.setattr(doctor, "release", lambda name: releases.get(name, "999"))
    finding = doctor.check_packages()
    assert "torch is 1.0, asked for is >=" in finding.text
    assert "anywidget is missing" in finding.text
    assert "numpy is" not in finding.text
    assert finding.mend.endswith("setup")


def test_package_that_is_not_installed_is_said(monkeypatch):
    def requires(name):
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", requires)
    assert "runs from a folder and is not installed" in doctor.check_packages().text
    assert doctor.check_packages().mend


def test_engine_that_fell_back_is_said_with_the_reason(monkeypatch):
    from snn_helpers.engine import cpu
    from snn_helpers.engine.cpu.runtime import EngineCompileError
    from snn_helpers.over_time import runner

    def fails():
        raise EngineCompileError("the kernel `scatter` could not be compiled")

    runner._ready.cache_clear()
    monkeypatch.setattr(cpu, "warm_up", fails)
    finding = doctor.check_engine()
    runner._ready.cache_clear()
    assert finding.text.startswith("snntorch (the plain loop), not cpu: ")
    assert "the kernel `scatter` could not be compiled" in finding.text
    assert "numba" in finding.mend


@pytest.mark.parametrize("variable", ["SNN_DATA_DIR", "SNN_RUNS_DIR", "SNN_LOGS_DIR", "SNN_RESULTS_DIR"])
def test_folder_that_cannot_be_written_or_is_full_is_named(variable, data_home, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    finding = doctor.check_folders()
    assert str(tmp_path / "file") in finding.text
    assert finding.mend.startswith(f"export {variable}=")
    monkeypatch.setenv(variable, str(tmp_path / "full"))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: usage if Path(folder) == tmp_path else usage._replace(free=2**40)
    )
    monkeypatch.setattr(doctor, "_LEAST_DISK", 2**30)
    finding = doctor.check_folders()
    assert "0.0 GiB are free" in finding.text
    assert not (tmp_path / "full").exists(), "looking leaves nothing behind"


def test_short_memory_is_said(monkeypatch):
    from snn_helpers.training import estimate

    monkeypatch.setattr(estimate, "free_memory", lambda device: 2**29)
    assert doctor.check_memory().text.startswith("0.5 GiB are free")
    assert "--batch_size" in doctor.check_memory().mend


def test_kernel_of_another_python_is_named(tmp_path, monkeypatch):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["/usr/bin/other-python", "-m", "ipykernel_launcher"]}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    finding = doctor.check_notebooks()
    assert "/usr/bin/other-python" in finding.text
    assert finding.mend == f"{sys.executable} -m ipykernel install --sys-prefix"


def test_ill_widgets_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    (tmp_path / "labconfig").mkdir()
    (tmp_path / "labconfig" / "page_config.json").write_text('{"disabledExtensions": {"anywidget": true}}')
    assert doctor.check_widgets().mend == "jupyter labextension enable anywidget"
    monkeypatch.setenv("SNN_WIDGETS", "yes")
    assert doctor.check_widgets().mend == "unset SNN_WIDGETS"
    monkeypatch.delenv("SNN_WIDGETS")
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *parts: [str(tmp_path)])
    assert "lacks the extension anywidget" in doctor.check_widgets().text
    monkeypatch.setattr(doctor, "release", lambda name: None)
    assert "figures are shown in place of widgets" in doctor.check_widgets().text


def test_driver_without_a_build_for_it_is_said(tmp_path, monkeypatch):
    import torch

    (tmp_path / "version").write_text("NVRM version")
    monkeypatch.setattr(doctor, "_DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    finding = doctor.check_gpu()
    assert "this build of torch is for CPUs" in finding.text
    assert finding.mend


def test_more_threads_than_cores_are_said(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 10 * os.cpu_count())
    assert "OMP_NUM_THREADS" in doctor.check_processor().mend
