"""docs/producers.md says what the code does to records of producers."""

import re
from pathlib import Path

from connectors.log.suspects import CRASHED
from sealwax.mail.submission_schema import BEYOND
from sealwax.model.topics import REQUESTED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/producers.md").read_text()
ENGINE = ROOT / "rust_core/engine/src"


def table(heading: str) -> dict[str, str]:
    """The table under a heading: first cell -> second cell."""
    rows = PAGE.partition(f"\n| {heading} |")[2].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0]: row[1] for row in cells}


def reasons_of_the_code() -> set[str]:
    """Every reason with which render puts a record aside."""
    python = "".join((ROOT / f"flows/operators/{name}.py").read_text() for name in ("intake", "once", "render"))  # fmt: skip
    rust = "".join(
        path.read_text() for part in ("render", "mime", "dkim") for path in (ENGINE / part).rglob("*.rs")
    )  # fmt: skip
    return {
        CRASHED,
        *re.findall(r'(?:RejectedError|\breject)\(\s*"(\w+)"', python),
        *re.findall(r'ItemError::new\(\s*"(\w+)"', rust),
    }


def test_the_page_has_every_reason_of_a_dead_request_and_no_other():
    found = {name for cell in table("Reason") for name in re.findall(r"`(\w+)`", cell)}
    assert found == reasons_of_the_code()
    assert len(found) > 15


def test_the_page_has_the_rules_that_the_schema_does_not_have():
    assert table("Rule") == dict(BEYOND)


def test_the_page_names_the_topics_and_the_headers():
    parts = table("Part")
    assert re.findall(r"`(email\.[\w.]+)`", parts["topic"]) == list(REQUESTED)
    assert {"header `api-key`", "header `Idempotency-Key`", "header `traceparent`"} <= set(parts)


def test_the_page_tells_where_the_samples_are():
    samples = {str(p.relative_to(ROOT)) for p in (ROOT / "examples/producers").glob("*/send.*")}
    assert samples == set(re.findall(r"\.\./(examples/[\w/.]+)", PAGE))
    assert len(samples) == 2


def test_the_lock_of_the_node_sample_names_no_machine():
    lock = (ROOT / "examples/producers/node/package-lock.json").read_text()
    assert set(re.findall(r'"resolved": "(https?://[^/]+)', lock)) <= {"https://registry.npmjs.org"}
    assert '"integrity": "sha512-' in lock
