"""What keeps `sealwax up` from starting: one sentence, status 1, and nothing started."""

import fcntl
import os
import shutil
import socket
import subprocess
from datetime import timedelta

import pytest

from sealwax.cli import preflight
from sealwax.cli.child import LifeLock
from sealwax.errors import OwnedElsewhereError, StorageFullError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners and mount")


def refuses(result, *words):
    assert result.returncode == 1, result
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("sealwax: ")
    for word in words:
        assert word in lines[0]


def nothing_started(machine):
    assert not list((machine.data_dir / "run").glob("*.pid"))


def test_a_port_in_use(machine):
    with socket.create_server(("127.0.0.1", machine.port)):
        refuses(machine.run("up"), f"127.0.0.1:{machine.port}", "in use", "SEALWAX_HTTP")
    nothing_started(machine)


def test_an_address_for_metrics_that_is_in_use_or_the_api_s(machine):
    with socket.create_server(("127.0.0.1", 0)) as other:
        metrics = f"127.0.0.1:{other.getsockname()[1]}"
        refuses(machine.run("up", SEALWAX_METRICS=metrics), metrics, "in use", "SEALWAX_METRICS")
    api = f"127.0.0.1:{machine.port}"
    refuses(machine.run("up", SEALWAX_METRICS=api), api, "SEALWAX_HTTP", "SEALWAX_METRICS")
    nothing_started(machine)


def test_rules_for_shaping_that_cannot_be_read(machine, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[default]\nlimits = [{ connections = 0 }]\n")
    refuses(
        machine.run("up", SEALWAX_SHAPING=str(own)),
        "SEALWAX_SHAPING: own.toml: default: connections must be a number from 1 on",
        "`sealwax check`",
    )
    nothing_started(machine)


def test_a_second_supervisor_names_the_first(machine):
    first = machine.start()
    first.wait_ready()
    refuses(machine.run("up"), str(machine.data_dir), f"process {first.process.pid}")
    assert first.process.poll() is None


def test_a_flow_that_runs_by_itself(machine):
    locks = machine.data_dir / "locks"
    locks.mkdir(parents=True)
    with (locks / "dispatch.2").open("w") as held:
        held.write(str(os.getpid()))
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        refuses(machine.run("up"), "dispatch", f"process {os.getpid()}")
    nothing_started(machine)


@needs_root
def test_a_data_directory_of_another_user(machine):
    machine.data_dir.mkdir()
    shutil.chown(machine.data_dir, "nobody")
    refuses(machine.run("up"), str(machine.data_dir), "nobody", "SEALWAX_DATA_DIR")


def test_a_data_directory_that_is_a_file(machine):
    machine.data_dir.write_text("")
    refuses(machine.run("up"), str(machine.data_dir))


@needs_root
def test_a_full_disk(machine):
    machine.data_dir.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(machine.data_dir)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        refuses(machine.run("up"), "full", str(machine.data_dir))
    finally:
        subprocess.run(["umount", str(machine.data_dir)], check=True)


def test_room_is_judged_by_the_bytes_that_are_asked_for(tmp_path):
    preflight.check_disk(tmp_path, 1)
    with pytest.raises(StorageFullError, match="full"):
        preflight.check_disk(tmp_path, 1 << 60)


def test_a_bad_setting_and_a_bad_flag(machine):
    refuses(machine.run("up", SEALWAX_DRAIN="soon"), "SEALWAX_DRAIN", "'soon'", "duration")
    refuses(machine.run("up", "--retry-delays", "1m;5m"), "SEALWAX_RETRY_DELAYS", "1m,5m,1h")


def test_survivors_that_do_not_end_are_named(tmp_path):
    lock = LifeLock(tmp_path, "dispatch").take()
    try:
        with pytest.raises(OwnedElsewhereError, match="dispatch"):
            preflight.wait_for_survivors(tmp_path, timedelta(seconds=0.1))
    finally:
        os.close(lock)
    preflight.wait_for_survivors(tmp_path, timedelta())
