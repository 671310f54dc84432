"""Nothing depends on what airbyte-cdk doesn't publish."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import source_commonroom

ROOT = Path(source_commonroom.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__init__.py"
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def accessed(tree: ast.AST) -> Iterator[str]:
    """Yield the private names of objects that code reads, sets or calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr


def defined(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that code gives to objects, classes, functions and modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and is_private(node.name):
            yield node.name
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if is_private(name):
                yield name


def classes() -> Iterator[type]:
    for name, tree in MODULES.items():
        module = importlib.import_module(name)
        yield from (getattr(module, node.name) for node in tree.body if isinstance(node, ast.ClassDef))


# os._exit is documented.
OF_THE_STANDARD_LIBRARY = {"_exit"}
OURS = {name for tree in MODULES.values() for name in defined(tree)}
OF_THE_CDK = [kind for kind in classes() if any(base.__module__.startswith("airbyte_cdk") for base in kind.__mro__)]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_uses_no_private_name_that_none_of_ours_defines(module: str) -> None:
    assert set(accessed(MODULES[module])) <= OURS | OF_THE_STANDARD_LIBRARY


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_no_private_name_of_the_cdk(module: str) -> None:
    imported = [
        f"{node.module}.{name.name}"
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airbyte_cdk")
        for name in node.names
    ]
    assert not [path for path in imported if any(map(is_private, path.split(".")))]


@pytest.mark.parametrize("kind", OF_THE_CDK, ids=lambda kind: kind.__name__)
def test_a_class_that_is_based_on_one_of_the_cdk_shares_no_private_name_with_it(kind: type) -> None:
    bases = [base for base in kind.__mro__ if base.__module__.startswith("airbyte_cdk")]
    theirs = {name for base in bases for name in defined(ast.parse(inspect.cleandoc(f"\n{inspect.getsource(base)}")))}
    own = ast.parse(inspect.cleandoc(f"\n{inspect.getsource(kind)}"))

    assert not theirs & {*accessed(own), *defined(own)}
