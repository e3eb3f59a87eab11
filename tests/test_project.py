"""The project's files agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("target", ["setup", "tutorial", "test", "lab", "bench", "lint", "clean"])
def test_makefile_has_target(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_lab_is_rooted_in_the_checkout_so_that_notebooks_of_runs_can_be_opened():
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "jupyter lab --ServerApp.root_dir='$(CURDIR)' notebooks/" in make
