"""What the documents say is true of the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sealwax.cli import app as cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SETTING = re.compile(r"\bSEALWAX_[A-Z_]+[A-Z]\b")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_of(page: Path) -> str:
    """What the page sets as code: fenced or indented blocks, and spans."""
    text = page.read_text()
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    indented = re.findall(r"^    \S.*$", text, re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", text)
    return "\n".join([*blocks, *indented, *spans])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_make_target_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", code_of(page))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_a_page_names_exists(page):
    verbs = {name for name, _, _ in cli.VERBS}
    named_verbs = set(re.findall(r"(?:^|[\s/])sealwax ([a-z]+)\b", code_of(page)))
    assert named_verbs <= verbs


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_setting_that_a_page_names_exists(page):
    from sealwax.config.table import SETTINGS

    assert set(SETTING.findall(page.read_text())) <= {setting.name for setting in SETTINGS}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_a_page_links_to_exists(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert not [link for link in local if not (page.parent / link).exists()]


def test_every_rfc_that_the_code_cites_is_in_the_list_of_specifications():
    cited = {
        number
        for folder in ("sealwax", "flows", "connectors", "rust_core")
        for pattern in ("*.py", "*.rs")
        for path in (ROOT / folder).rglob(pattern)
        for number in re.findall(r"\bRFC (\d{4})\b", path.read_text())
    }
    listed = set(re.findall(r"\bRFC (\d{4})\b", (ROOT / "docs/specifications.md").read_text()))
    assert cited <= listed


def test_decisions_are_numbered_without_a_hole():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_help_is_quick_because_it_imports_no_verb():
    program = "import sys; import sealwax.cli.app; print('sqlalchemy' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"
