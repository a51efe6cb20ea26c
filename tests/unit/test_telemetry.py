"""Log lines."""

import json
import subprocess
import sys

PROGRAM = """
import logging, structlog, sys
from sealwax import telemetry
telemetry.configure("dispatch", level=sys.argv[2], form=sys.argv[1])
structlog.get_logger().info("ready", site="example.test")
logging.getLogger("library").warning("from %s", "outside")
password = "hunter2"
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("broken")
"""


def lines(form: str, level: str = "info") -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, form, level], capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_a_person_reads_time_process_level_and_event_in_one_line():
    first, second, *_ = lines("text")
    assert first.split()[2:] == ["dispatch", "info", "ready", "site=example.test"]
    assert second.split()[2:] == ["dispatch", "warning", "from", "outside"]


def test_a_program_reads_json_a_line():
    first, second, third = (json.loads(line) for line in lines("json"))
    assert (first["process"], first["event"], first["site"]) == (
        "dispatch",
        "ready",
        "example.test",
    )
    assert second["event"] == "from outside"
    assert third["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_no_log_shows_the_values_of_variables():
    for form in ("text", "json"):
        assert "hunter2" not in "\n".join(line for line in lines(form) if "password =" not in line)


def test_what_is_below_the_level_is_not_logged():
    assert not [line for line in lines("text", "error") if "ready" in line or "outside" in line]
