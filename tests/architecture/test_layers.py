"""Who imports whom, and how long a file may be."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 400
SOURCES = sorted(
    path
    for folder, kind in (
        ("sealwax", "*.py"),
        ("flows", "*.py"),
        ("connectors", "*.py"),
        ("tests", "*.py"),
        ("rust_core", "*.rs"),
    )
    for path in (ROOT / folder).rglob(kind)
    if "target" not in path.parts
)


def test_imports_follow_the_layers():
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines: it has more than one noun"
