"""Rules of this project that no linter checks: short files and short functions."""

import ast
from pathlib import Path

import pytest

import emotune

PACKAGE = Path(emotune.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert own_lines(node) <= 50, f"{node.name} has {own_lines(node)} lines"


def own_lines(function: ast.FunctionDef) -> int:
    """Return the number of lines of a function without its docstring and the functions inside it."""
    inside = [node for node in ast.walk(function) if isinstance(node, ast.FunctionDef) and node is not function]
    documented = function.body[0] if ast.get_docstring(function) is not None else None
    return lines(function) - sum(map(lines, inside)) - (0 if documented is None else lines(documented))


def lines(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1
