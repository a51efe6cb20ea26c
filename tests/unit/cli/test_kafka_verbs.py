"""`sealwax topics` and `sealwax log`: what they say where they cannot work, and what they print."""

import fcntl
import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from connectors.log import LogSettings, moved
from connectors.log.moved import Moved
from connectors.log.sqlite.log import SqliteLog
from sealwax.model import topics
from tests.support.kafka import namespace
from tests.support.platform import ROOT, SEALWAX

NOWHERE = "127.0.0.1:9"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def sealwax(data_dir: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SEALWAX_", "KAFKA_"))}
    return subprocess.run(
        [SEALWAX, *arguments],
        env={**kept, "SEALWAX_DATA_DIR": str(data_dir), **settings},
        cwd=ROOT, capture_output=True, text=True, timeout=90,
    )  # fmt: skip


def refusal(data_dir: Path, *arguments: str, **settings: str) -> str:
    run = sealwax(data_dir, *arguments, **settings)
    assert run.returncode == 1, run.stdout
    assert len(run.stderr.splitlines()) == 1, run.stderr
    return run.stderr


def make_log(data_dir: Path) -> None:
    with closing(SqliteLog(LogSettings(data_dir / "log", 2))) as log:
        log.create_topics(topics.ALL)


@pytest.mark.parametrize("verb", ["list", "apply"])
def test_topics_need_a_cluster(data_dir, verb):
    assert "set KAFKA_BOOTSTRAP_SERVERS" in refusal(data_dir, "topics", verb)


def test_a_copy_needs_a_cluster_and_a_log(data_dir):
    assert "set KAFKA_BOOTSTRAP_SERVERS" in refusal(data_dir, "log", "copy")
    said = refusal(data_dir, "log", "copy", KAFKA_BOOTSTRAP_SERVERS=NOWHERE)
    assert "there is no log in" in said


@pytest.mark.parametrize("lock", ["run/up.lock", "locks/dispatch.1", "locks/analytics.0"])
def test_a_copy_is_refused_while_a_process_works_on_the_data_directory(data_dir, lock):
    make_log(data_dir)
    path = data_dir / lock
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        file.write(str(os.getpid()))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        said = refusal(data_dir, "log", "copy", KAFKA_BOOTSTRAP_SERVERS=NOWHERE)
    assert f"is held by process {os.getpid()}" in said
    assert moved.read(data_dir / "log") is None


def test_a_copy_to_another_place_than_the_one_that_was_begun_is_refused(data_dir):
    make_log(data_dir)
    moved.write(data_dir / "log", Moved("broker:9092", "a.", done=False))
    said = refusal(data_dir, "log", "copy", KAFKA_BOOTSTRAP_SERVERS=NOWHERE)
    assert "a copy of this log to Kafka at broker:9092, namespace 'a.' was begun" in said
    said = refusal(data_dir, "topics", "apply", KAFKA_BOOTSTRAP_SERVERS=NOWHERE)
    assert "run `sealwax log copy` again" in said


def test_topics_are_made_listed_and_mended_and_a_log_is_copied_into_them(data_dir, kafka):
    ours = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "SEALWAX_KAFKA_NAMESPACE": namespace()}
    make_log(data_dir)
    listed = sealwax(data_dir, "topics", "list", **ours).stdout
    assert listed.count("is not there") == len(topics.ALL_OF_KAFKA)
    assert "To mend them: run `sealwax topics apply`." in listed
    assert sealwax(data_dir, "topics", "apply", "--partitions", "2", **ours).stdout.count(
        ": made"
    ) == len(topics.ALL_OF_KAFKA)
    assert sealwax(data_dir, "topics", "apply", **ours).stdout == "nothing to change\n"
    listed = sealwax(data_dir, "topics", "list", **ours).stdout
    assert "differs" in listed.splitlines()[0]
    assert "mend" not in listed
    assert "do not get fewer" in refusal(data_dir, "topics", "apply", "--partitions", "1", **ours)

    run = sealwax(data_dir, "log", "copy", **ours)
    assert run.returncode == 0, run.stderr
    assert "The topics get 2 partitions, as the log has, and not 12." in run.stdout
    assert "0 records are in Kafka" in run.stdout
    again = sealwax(data_dir, "log", "copy", **ours)
    assert again.stdout.startswith("The log was moved to Kafka at")
    assert sealwax(data_dir, "topics", "apply", **ours).stdout == "nothing to change\n"
    assert "was moved to Kafka" in refusal(data_dir, "dead", "list")
