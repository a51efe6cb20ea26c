"""Pid and ready files."""

import os
import shutil
import socket
import subprocess
import sys

from sealwax.store.processes import ProcessFiles, lives


def test_a_process_is_ready_when_its_pid_and_its_word_agree_and_it_lives(tmp_path):
    files = ProcessFiles(tmp_path)
    assert not files.ready("api")
    files.mark_ready("api")
    assert files.ready("api")  # without a supervisor there is no pid file
    files.write_pid("api", os.getpid())
    assert files.ready("api")
    files.write_pid("api", os.getppid())
    assert not files.ready("api")  # the word of the process before


def test_one_that_ended_is_not_ready_even_while_its_parent_has_not_looked(tmp_path):
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import sys; from pathlib import Path; from sealwax.store.processes import ProcessFiles;"
                "ProcessFiles(Path(sys.argv[1])).mark_ready('api')"
            ),
            str(tmp_path),
        ],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not lives(child.pid)
    assert not ProcessFiles(tmp_path).ready("api")
    child.wait()
    assert not lives(child.pid)


def test_clearing_leaves_the_files_of_a_later_process(tmp_path):
    files = ProcessFiles(tmp_path)
    files.write_pid("api", os.getppid())
    files.mark_ready("api")
    files.clear("api", os.getpid())
    assert files.pid("api") == os.getppid()
    assert not (tmp_path / "run" / "api.ready").exists()
    files.clear("api", os.getppid())
    assert files.pid("api") is None
    files.clear("api", os.getpid())


def test_a_copy_of_a_data_directory_is_called_otherwise_and_the_same_one_always_the_same(tmp_path):
    here = ProcessFiles(tmp_path / "data")
    (tmp_path / "data").mkdir()
    name = here.instance("dispatch")
    assert name.endswith("-dispatch")
    assert ProcessFiles(tmp_path / "data").instance("dispatch") == name
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert ProcessFiles(tmp_path / "copy").instance("dispatch") != name


def test_a_copy_on_another_host_is_called_otherwise(tmp_path, monkeypatch):
    name = ProcessFiles(tmp_path).instance("dispatch")
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert ProcessFiles(tmp_path).instance("dispatch") != name
