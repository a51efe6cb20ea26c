"""Ownership of partitions on one machine."""

import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from connectors.log.ownership import FileOwnership
from sealwax.errors import OwnedElsewhereError
from tests.support.log_process import next_line

ROOT = Path(__file__).parents[4]
HOLDER = """
import sys
from pathlib import Path
from connectors.log.ownership import FileOwnership
held = FileOwnership(Path(sys.argv[1]), "dispatch")
held.acquire([int(n) for n in sys.argv[2:]])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds partitions 1 and 2 of dispatch."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path, "1", "2"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert next_line(process) == "held"
    yield process
    process.kill()
    process.communicate()


def test_owned_partitions_stay_owned(tmp_path):
    ownership = FileOwnership(tmp_path / "locks", "dispatch")
    assert ownership.acquire([2, 0, 1]) == [0, 1, 2]
    assert ownership.acquire([1, 3]) == [1, 3]
    assert ownership.valid_until() == inf
    ownership.close()
    ownership.close()


def test_a_second_process_learns_who_holds_a_partition(tmp_path, holder):
    ownership = FileOwnership(tmp_path, "dispatch")
    with pytest.raises(OwnedElsewhereError) as caught:
        ownership.acquire([0, 1, 2, 3])
    assert caught.value.pid == holder.pid
    assert str(holder.pid) in str(caught.value)


def test_what_could_not_be_taken_whole_is_not_held_in_part(tmp_path, holder):
    FileOwnership(tmp_path, "dispatch")
    with pytest.raises(OwnedElsewhereError):
        FileOwnership(tmp_path, "dispatch").acquire([0, 1])
    other = FileOwnership(tmp_path, "dispatch")
    assert other.acquire([0, 3]) == [0, 3]
    other.close()


def test_flows_do_not_exclude_each_other(tmp_path, holder):
    ownership = FileOwnership(tmp_path, "render")
    assert ownership.acquire([1, 2]) == [1, 2]
    ownership.close()


def test_a_killed_holder_gives_its_partitions_back(tmp_path, holder):
    holder.kill()
    holder.wait()
    ownership = FileOwnership(tmp_path, "dispatch")
    assert ownership.acquire([1, 2]) == [1, 2]
    assert (tmp_path / "dispatch.1").read_text() == str(os.getpid())
    ownership.close()


def test_children_do_not_inherit_what_is_held(tmp_path):
    ownership = FileOwnership(tmp_path, "dispatch")
    ownership.acquire([0])
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        ownership.close()
        again = FileOwnership(tmp_path, "dispatch")
        assert again.acquire([0]) == [0]
        again.close()
    finally:
        child.kill()
        child.wait()
