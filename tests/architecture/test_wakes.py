"""How far ahead sources ask to be called again: one that sleeps holds up all the others (R11)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_MS = 20
# Of partitions of a source that has others which wake soon. A worker that has only such ones holds up
# the rest for as long once in an epoch of ten seconds.
LONGEST_AMONG_OTHERS_MS = {"_HELD_WAKE_MS": 100}
SOURCES = {"StatefulSourcePartition", "StatelessSourcePartition"}


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return name_of(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def sources() -> list[tuple[Path, ast.Module, ast.ClassDef]]:
    """Every source partition in the code, with its module."""
    return [
        (path, module, node)
        for folder in ("connectors", "flows", "sealwax")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for module in [ast.parse(path.read_text())]
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and SOURCES & {name_of(base) for base in node.bases}
    ]


def constants(module: ast.Module) -> dict[str, object]:
    return {
        node.targets[0].id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }


def ends_of(value: ast.expr | None) -> list[ast.expr | None]:
    """What a returned expression can come to."""
    if isinstance(value, ast.IfExp):
        return [*ends_of(value.body), *ends_of(value.orelse)]
    return [value]


def test_there_are_sources_to_read():
    assert len(sources()) >= 5


@pytest.mark.parametrize(
    ("path", "module", "source"),
    sources(),
    ids=[f"{path.relative_to(ROOT)}:{source.name}" for path, _, source in sources()],
)
def test_every_source_wakes_soon_enough_for_all_others(path, module, source):
    wakes = [
        node
        for node in source.body
        if isinstance(node, ast.FunctionDef) and node.name == "next_awake"
    ]
    assert wakes, "without next_awake Bytewax calls it without end"
    known = constants(module)
    returned = [n.value for n in ast.walk(wakes[0]) if isinstance(n, ast.Return)]
    for end in (end for value in returned for end in ends_of(value)):
        if isinstance(end, ast.Constant) and end.value is None:
            continue  # at once
        assert isinstance(end, ast.Call), ast.unparse(wakes[0])
        assert name_of(end.func) == "wake_in", ast.unparse(end)
        for number in ends_of(end.args[0]):
            assert number is not None
            name = number.id if isinstance(number, ast.Name) else ""
            ms = known[name] if name else ast.literal_eval(number)
            assert isinstance(ms, int)
            assert 0 < ms <= LONGEST_AMONG_OTHERS_MS.get(name, LONGEST_MS)
