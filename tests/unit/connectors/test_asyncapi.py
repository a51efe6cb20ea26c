"""docs/asyncapi.yaml: valid by the specification's own schema, and true of the code."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from connectors import asyncapi
from connectors.log.dead import dead_entry
from connectors.log.port import Record
from sealwax.model import topics

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docs/asyncapi.yaml"
OFFICIAL = ROOT / "target/asyncapi/schemas/3.0.0-without-$id.json"
TABLES = ROOT / "sealwax/store/analytics/schema"
DOCUMENT = yaml.safe_load(FILE.read_text())
MESSAGES = DOCUMENT["components"]["messages"]


def valid(schema: Any, value: Any) -> bool:
    """By JSON Schema; references are to the document."""
    with_parts = {"components": DOCUMENT["components"], **schema}
    return bool(jsonschema.Draft202012Validator(with_parts).is_valid(value))


def test_the_file_is_that_of_the_code():
    assert FILE.read_text() == asyncapi.text(), "run make docs"


def test_the_specifications_own_schema_accepts_the_document():
    assert OFFICIAL.is_file(), "the schema is missing: run make target/asyncapi/package.json"
    official = json.loads(OFFICIAL.read_text())
    validator = jsonschema.Draft7Validator(official)
    assert not [error.message for error in validator.iter_errors(DOCUMENT)]
    assert not validator.is_valid(DOCUMENT | {"channels": {"a": {"address": 7}}})


def test_every_reference_leads_somewhere():
    for pointer in re.findall(r"\$ref: '?#/([^'\s]+)", FILE.read_text()):
        found: Any = DOCUMENT
        for name in pointer.split("/"):
            found = found[name]


def test_the_channels_are_topics_of_ours():
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert addresses == {*topics.REQUESTED, topics.DEAD, topics.EVENTS}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_examples_are_what_the_document_says_that_they_must_be(name):
    message = MESSAGES[name]
    for example in message.get("examples", []):
        assert valid(message["payload"], example["payload"])
        assert valid(message.get("headers", {}), example.get("headers", {}))
    assert name == "DeadRecord" or message["examples"]


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({"api-key": "sw_3kQ9zT1a_" + "0" * 32}, True),
        ({"tenant": "default"}, True),
        ({"Idempotency-Key": "a"}, False),
        ({"api-key": "secret"}, False),
        ({"tenant": "default", "Idempotency-Key": "ü"}, False),
    ],
)
def test_a_request_says_who_sends_it(headers, good):
    assert valid(MESSAGES["EmailRequested"]["headers"], headers) is good


def test_the_headers_of_a_dead_record_are_those_that_we_write():
    record = Record(topics.REQUESTED[0], 1, 2, None, b"{", (), 0)
    entry = dead_entry(record, "bad_request", "detail", flow="render")
    ours = {name: value.decode() for name, value in entry.headers}
    documented = MESSAGES["DeadRecord"]["headers"]
    assert valid(documented, ours)
    # `src` is for our own read-back, `body` and `cut` stand where the record is large.
    assert set(ours) - {"src"} == set(documented["properties"]) - {"body", "cut"}


def test_an_event_has_the_columns_of_clickhouse():
    table = (TABLES / "0001_events.sql").read_text().split(") ENGINE")[0]
    columns = {
        name for name, rest in re.findall(r"^  ([a-z]\w*) (.*)$", table, re.MULTILINE)
        if "MATERIALIZED" not in rest
    } - {"waits"}  # fmt: skip
    columns |= {f"waits.{part}" for part in ("cause", "rule", "ms")}
    columns |= {
        name
        for path in TABLES.glob("*.sql")
        for name in re.findall(r"ADD COLUMN IF NOT EXISTS (\w+)", path.read_text())
    }
    assert set(DOCUMENT["components"]["schemas"]["EmailEvent"]["properties"]) == columns
