"""A flow module reads like its drawing: it declares a graph and does no more."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOWS = sorted((ROOT / "flows").glob("[!_]*.py"))


def test_there_are_flows():
    assert {path.stem for path in FLOWS} >= {"render", "dispatch", "analytics"}


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_a_flow_module_declares_and_does_no_more(path):
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {"build", "flow"} <= functions
    assert "Ports" in classes
    doing = (ast.For, ast.While, ast.Try, ast.With, ast.AsyncFunctionDef)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, doing)]


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_flows_meet_through_topics_and_never_by_import(path):
    tree = ast.parse(path.read_text())
    others = {f"flows.{other.stem}" for other in FLOWS}
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)} | {
        alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
    }
    assert not others & imported
