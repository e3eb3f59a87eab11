"""The project's files agree with each other."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import snn_helpers

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


EXTRAS = PROJECT["optional-dependencies"].values()
DECLARED = [*PROJECT["dependencies"], *(requirement for extra in EXTRAS for requirement in extra)]


@pytest.mark.parametrize("requirement", sorted(set(DECLARED)))
def test_every_dependency_has_one_exact_pin_within_its_bounds(requirement):
    name, low = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    pins = {plain(pinned): release for pinned, release in PINS.items()}
    release = pins[plain(name)]
    numbers = [tuple(map(int, text.split("."))) for text in (release, low)]
    assert numbers[0] >= numbers[1]


def test_every_line_of_the_constraints_is_an_exact_pin():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(PINS)


def test_conda_environment_takes_packages_from_the_two_lists_only():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert packages == {"pip": ["--constraint constraints.txt", "--editable .[lab,test]"]}


def test_citation_and_changelog_speak_of_this_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", snn_helpers.__version__)
    assert citation["license"] == PROJECT["license"]
    assert {"message", "title", "authors"} <= citation.keys()
    heads = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heads[0] in ("Unreleased", snn_helpers.__version__)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"CHANGELOG.md", "CITATION.cff"} <= set(re.findall(r"\]\((.+?)\)", readme))


@pytest.mark.parametrize("target", ["setup", "tutorial", "test", "lab", "book", "bench", "lint", "clean"])
def test_makefile_has_target(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def setup():
    """Return the set-up script as a module."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / ".ci" / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(**by_command):
    """Return a stand-in for `subprocess.run`: {word of the command: (exit code, printed)}, and what it was asked."""
    asked = []

    def run(command, **options):
        words = " ".join(map(str, command))
        asked.append(words)
        code, text = next((found for word, found in by_command.items() if word.replace("_", "-") in words), (0, ""))
        return subprocess.CompletedProcess(command, code, stdout=text, stderr=text)

    return run, asked


def test_no_dependency_needs_a_compiler_or_builds_parsers_in_every_process():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tool["uv"]["exclude-dependencies"] == ["expelliarmus", "rfc3987-syntax"]
    package = Path(importlib.util.find_spec("tonic").origin).parent
    assert not [path for path in package.rglob("*.py") if "expelliarmus" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(("sudo", "installs"), [(None, False), (1, False), (0, True)])
def test_missing_venv_is_installed_where_that_is_allowed_else_one_command_is_named(
    setup, tmp_path, monkeypatch, sudo, installs
):
    made = iter([1, 0])  # ensurepip is missing; then it is there
    run, asked = answers()

    def run_or_miss(command, **options):
        words = " ".join(map(str, command))
        if "ensurepip" in words:
            return subprocess.CompletedProcess(command, next(made))
        if words == "sudo -n true":
            return subprocess.CompletedProcess(command, sudo)
        return run(command, **options)

    monkeypatch.setattr(setup.subprocess, "run", run_or_miss)
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup.shutil, "which", lambda name: name if name != "sudo" or sudo is not None else None)
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if installs:
        setup.make_environment(tmp_path / "venv")
        assert f"sudo -n apt-get install --yes --no-install-recommends {package}" in asked
        assert asked[-1] == f"{sys.executable} -m venv {tmp_path / 'venv'}"
    else:
        with pytest.raises(SystemExit) as stop:
            setup.make_environment(tmp_path / "venv")
        commands = [line for line in str(stop.value).splitlines() if line.startswith("apt-get install ")]
        assert len(commands) == 1
        assert package in commands[0]
        assert asked == []


@pytest.mark.parametrize(
    ("reached", "packages", "backend", "said"),
    [
        (True, " + torch==2.13.0+cpu\n", ["--torch-backend", "auto"], "for CPUs: the environment takes about 2.5 GB"),
        (False, " + nvidia-cublas==1\n + torch==2.13.0\n", [], "cannot be reached from here: the environment takes"),
        (True, " + nvidia-cublas==1\n + torch==2.13.0\n", ["--torch-backend", "auto"], "with CUDA: the environment"),
        (True, " ~ snn-helpers==0.1.0\n", ["--torch-backend", "auto"], ""),
    ],
)
def test_size_is_said_before_anything_is_installed(setup, monkeypatch, capsys, reached, packages, backend, said):
    def run(command, **options):
        assert "--dry-run" in command
        code = int("--torch-backend" in command and not reached)
        return subprocess.CompletedProcess(command, code, stdout="", stderr=packages)

    monkeypatch.setattr(setup.subprocess, "run", run)
    assert setup.choose_torch(["uv", "pip", "install"], {}) == backend
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(printed) == bool(said)


def test_readme_states_the_sizes_that_the_setup_states(setup):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for size in (setup.CPU_SIZE, setup.CUDA_SIZE):
        assert size.split(" (")[0].removeprefix("about ") in readme


def test_setup_has_what_pip_is_configured_with_but_no_folder_that_is_gone(setup, tmp_path, monkeypatch):
    told = (
        f":env:.find-links='{tmp_path} /nowhere/wheels'\nglobal.cert='/nowhere/cert.pem'\n"
        f"global.index-url='https://mirror.example/simple'\nglobal.timeout='60'\n"
        f"user.extra-index-url='file://{tmp_path}\\nfile:///nowhere/simple'\n"
    )
    run, _ = answers(config=(0, told))
    monkeypatch.setattr(setup.subprocess, "run", run)
    for name in (*setup.FROM_PIP.values(), "UV_INDEX_STRATEGY", "UV_NO_CACHE"):
        monkeypatch.delenv(name, raising=False)
    settings = setup.settings_from_pip(Path("python"))
    assert settings == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": str(tmp_path),
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": f"file://{tmp_path}",
    }
    monkeypatch.setenv("UV_FIND_LINKS", "mine")
    assert "UV_FIND_LINKS" not in setup.settings_from_pip(Path("python"))


def test_lab_is_rooted_in_the_checkout_so_that_notebooks_of_runs_can_be_opened():
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "jupyter lab --ServerApp.root_dir='$(CURDIR)' notebooks/" in make
