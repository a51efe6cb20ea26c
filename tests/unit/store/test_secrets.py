"""The master key file, and what it seals."""

import threading

import pytest

from sealwax.errors import ConfigurationError
from sealwax.store.secrets import MasterKey, UnsealError


def test_the_key_is_made_once_with_mode_0600_and_read_ever_after(tmp_path):
    path = tmp_path / "data" / "master.key"
    first = MasterKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(path.read_text())) == 32
    assert MasterKey.load_or_create(path).derive("grant") == first.derive("grant")
    assert [entry.name for entry in path.parent.iterdir()] == ["master.key"]


def test_all_who_start_at_once_get_the_same_key(tmp_path):
    path = tmp_path / "master.key"
    seen = []
    together = threading.Barrier(8)

    def start():
        together.wait()
        seen.append(MasterKey.load_or_create(path).derive("x"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_a_key_that_others_can_read_is_refused_with_the_command_that_helps(tmp_path):
    path = tmp_path / "master.key"
    MasterKey.load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        MasterKey.load_or_create(path)


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "é" * 64])
def test_a_broken_key_file_is_not_replaced(tmp_path, text):
    path = tmp_path / "master.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="backup"):
        MasterKey.load_or_create(path)
    assert path.read_text() == text


def test_what_is_sealed_opens_with_the_same_key_and_context():
    key = MasterKey(bytes(32))
    sealed = key.seal(b"secret", "dkim/acme")
    assert b"secret" not in sealed
    assert MasterKey(bytes(32)).unseal(sealed, "dkim/acme") == b"secret"
    assert key.seal(b"secret", "dkim/acme") != sealed


def test_another_key_another_context_and_a_changed_byte_do_not_open():
    key = MasterKey(bytes(32))
    sealed = key.seal(b"secret", "dkim/acme")
    for other, text, context in [
        (MasterKey(b"\1" * 32), sealed, "dkim/acme"),
        (key, sealed, "dkim/other"),
        (key, sealed[:-1] + bytes([sealed[-1] ^ 1]), "dkim/acme"),
        (key, b"\x02" + sealed[1:], "dkim/acme"),
        (key, sealed[:8], "dkim/acme"),
        (key, b"", "dkim/acme"),
    ]:
        with pytest.raises(UnsealError, match="backup"):
            other.unseal(text, context)


def test_derived_keys_differ_by_label_and_by_master_key():
    one, other = MasterKey(bytes(32)), MasterKey(b"\1" * 32)
    assert one.derive("grant") == MasterKey(bytes(32)).derive("grant")
    assert len({one.derive("grant"), one.derive("link"), other.derive("grant")}) == 3
    assert len(one.derive("grant")) == 32
