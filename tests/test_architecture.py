"""The table in CONTRIBUTING.md is true: every module stands in it and imports only what stands above."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "snn_helpers"


def read_table(text):
    """Return {module: (level, forbidden packages)}."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|[^|]*\|([^|]*)\|$", text, flags=re.MULTILINE)
    return {
        name: (int(level), {item.strip() for item in forbidden.split(",") if item.strip()})
        for level, name, forbidden in rows
    }


def imports_of(source):
    """Return the dotted names that a source file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def violations(room, source, table):
    level, forbidden = table[room]
    for name in imports_of(source):
        head, *rest = name.split(".")
        if head in forbidden:
            yield f"{room} must not import {head}"
        target = rest[0] if head == "snn_helpers" and rest else None
        if target in table and target != room and (table[target][0] >= level or target in forbidden):
            yield f"{room} (level {level}) must not import {target} (level {table[target][0]})"


TABLE = read_table((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py" and "__pycache__" not in path.parts
)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_table_names_every_room_and_no_other():
    assert {room_of(path) for path in FILES} == set(TABLE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_stands_above(path):
    assert list(violations(room_of(path), path.read_text(encoding="utf-8"), TABLE)) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("events", "import torch"),
        ("events", "from snn_helpers.data import load_dataset"),
        ("neurons", "def f():\n    from snn_helpers import data"),
        ("plots", "from snn_helpers.training.loop import train"),
    ],
)
def test_planted_violation_is_caught(room, source):
    assert list(violations(room, source, TABLE))
