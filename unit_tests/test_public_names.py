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
}
# Private names of other objects than self: each is of an object of the same class.
OF_ITS_OWN_KIND = {
    ("source_commonroom.api.http", "quick._apply_limits"),
    ("source_commonroom.api.retriever", "quick._is_quick"),
    ("source_commonroom.api.retriever", "early._others_are_served"),
    ("source_commonroom.api.walk", "walk._seen"),
    ("source_commonroom.api.walk", "earlier._seen"),
    ("source_commonroom.api.walk", "walk._after"),
}
# os._exit is documented.
OF_THE_STANDARD_LIBRARY = {"os._exit"}


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
        module = importlib.import_module(name.removesuffix(".__init__"))
        yield from (getattr(module, node.name) for node in tree.body if isinstance(node, ast.ClassDef))


OF_THE_CDK = [kind for kind in classes() if any(base.__module__.startswith("airbyte_cdk") for base in kind.__mro__)]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_uses_private_names_of_objects_of_its_own_kind_alone(module: str) -> None:
    others = {
        ast.unparse(node)
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.Attribute) and is_private(node.attr)
        if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
    }

    assert {(module, other) for other in others - OF_THE_STANDARD_LIBRARY} <= OF_ITS_OWN_KIND


@pytest.mark.parametrize("module", MODULES)
def test_a_module_uses_no_private_name_of_self_that_none_of_its_classes_defines(module: str) -> None:
    """A class that stands in a function is one of them; what a class of the CDK defines is looked at below."""
    of_self = {
        node.attr
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.Attribute) and is_private(node.attr)
        if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
    }

    assert of_self <= set(defined(MODULES[module]))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_names_nothing_private_in_a_text(module: str) -> None:
    """As in `getattr(stream, "_cursor")` or `vars(stream)["_cursor"]`."""
    texts = {
        node.value
        for call in ast.walk(MODULES[module])
        if isinstance(call, ast.Call | ast.Subscript)
        for node in [*getattr(call, "args", []), getattr(call, "slice", None)]
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert not [text for text in texts if text.isidentifier() and is_private(text)]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_no_private_name_of_the_cdk(module: str) -> None:
    imported = [
        path
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.ImportFrom | ast.Import)
        for path in (
            [f"{node.module}.{name.name}" for name in node.names]
            if isinstance(node, ast.ImportFrom)
            else [name.name for name in node.names]
        )
    ]
    assert not [path for path in imported if path.startswith("airbyte_cdk") and any(map(is_private, path.split(".")))]
    # Another way to import would pass by this test, and by the contract of the rooms.
    assert "importlib" not in imported


def test_each_class_that_is_based_on_one_of_the_cdk_stands_at_the_top_of_its_module() -> None:
    """So that the test below looks at it."""
    nested = [
        f"{module}.{node.name}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node not in tree.body
    ]
    assert not nested


@pytest.mark.parametrize("kind", OF_THE_CDK, ids=lambda kind: kind.__name__)
def test_a_class_that_is_based_on_one_of_the_cdk_shares_no_private_name_with_it(kind: type) -> None:
    bases = [base for base in kind.__mro__ if base.__module__.startswith("airbyte_cdk")]
    theirs = {name for base in bases for name in defined(ast.parse(inspect.cleandoc(f"\n{inspect.getsource(base)}")))}
    own = ast.parse(inspect.cleandoc(f"\n{inspect.getsource(kind)}"))

    assert not theirs & {*accessed(own), *defined(own)}
