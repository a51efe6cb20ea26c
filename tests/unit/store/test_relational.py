"""The relational store on a real database."""

import base64
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
)
from sqlalchemy import MetaData, select

from sealwax.store.relational import (
    DomainExistsError,
    DomainNameError,
    KeyNameError,
    RelationalSettings,
    TemplateNameError,
    TemplateTextError,
    TenantIdError,
    UnknownTenantError,
    open_store,
)
from sealwax.store.relational.engine import make_engine
from sealwax.store.secrets import UnsealError


@pytest.fixture
def store(settings):
    store = open_store(settings)
    yield store
    store.close()


@pytest.fixture
def other(store):
    return store.create_tenant("other", "Other Ltd")


def test_the_first_start_makes_the_one_tenant(store, settings):
    (tenant,) = store.tenants()
    assert tenant == store.default_tenant()
    assert tenant.id == "default"
    assert abs(datetime.now(UTC) - tenant.created_at) < timedelta(minutes=1)
    again = open_store(settings)
    assert again.tenants() == (tenant,)
    again.close()


# Keys


def files_of(settings: RelationalSettings) -> list[bytes]:
    folder = settings.master_key_file.parent
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def rows_of(settings: RelationalSettings) -> list[bytes]:
    """Every row of every table, as text."""
    engine = make_engine(settings.url, timedelta(seconds=10))
    with engine.connect() as connection:
        tables = MetaData()
        tables.reflect(connection)
        rows = [row for table in tables.sorted_tables for row in connection.execute(select(table))]
    engine.dispose()
    return [repr(row).encode() for row in rows]


def test_a_key_opens_its_tenant_and_only_its_hash_is_stored(store, settings):
    created = store.create_key("default", "ci")
    assert re.fullmatch(r"sw_[0-9A-Za-z]{8}_[0-9A-Za-z]{32,}", created.key)
    assert created.key not in repr(created)
    owner = store.tenant_of_key(created.key)
    assert (owner.tenant_id, owner.key_id) == ("default", created.id)
    secret = created.key.rsplit("_")[-1].encode()
    stored = [*files_of(settings), *rows_of(settings)]
    assert created.id.encode() in b"".join(stored)
    assert not [some for some in stored if secret in some]


def test_a_key_with_one_wrong_character_opens_nothing(store):
    key = store.create_key("default", "ci").key
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    for text in (
        wrong,
        key + "a",
        key[:-1],
        key.upper(),
        "",
        "sw_",
        "\ud800",
        "é" * 44,
        key + "\n",
    ):
        assert store.tenant_of_key(text) is None


def test_a_revoked_key_opens_nothing_at_once_and_stays_listed(store, settings):
    created, kept = store.create_key("default", "ci"), store.create_key("default", "app")
    elsewhere = open_store(settings)
    assert elsewhere.tenant_of_key(created.key)
    assert store.revoke_key("default", created.id)
    assert elsewhere.tenant_of_key(created.key) is None
    assert elsewhere.tenant_of_key(kept.key)
    elsewhere.close()
    assert not store.revoke_key("default", created.id)
    listed = {key.id: key for key in store.keys("default")}
    assert listed[created.id].revoked_at is not None
    assert listed[kept.id].revoked_at is None


def test_nobody_sees_or_ends_keys_of_another_tenant(store, other):
    created = store.create_key("default", "ci")
    assert not store.revoke_key(other.id, created.id)
    assert store.keys(other.id) == ()
    assert store.tenant_of_key(created.key).tenant_id == "default"


@pytest.mark.parametrize("tenant", ["nobody", "", "\ud800", "a\0"])
def test_a_key_for_an_unknown_tenant_is_refused(store, tenant):
    with pytest.raises(UnknownTenantError, match="default one"):
        store.create_key(tenant, "ci")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "\ud800", "\0"])
def test_a_key_needs_a_name_that_can_be_shown(store, name):
    with pytest.raises(KeyNameError, match="1 to 100"):
        store.create_key("default", name)


def test_a_tenant_is_made_once(store, other):
    assert store.create_tenant("other", "Another name") == other
    assert {tenant.id for tenant in store.tenants()} == {"default", "other"}
    for text in ("", "A", "a b", "x" * 37, "-a", "a\n"):
        with pytest.raises(TenantIdError, match="1 to 36"):
            store.create_tenant(text, "x")


# Domains


def test_a_domain_gets_records_whose_keys_fit_the_private_ones(store):
    domain = store.add_domain("default", " ACME.Test. ", trusted=True)
    assert domain.name == "acme.test"
    rsa, ed25519, spf, dmarc = domain.records
    keys = store.signing_keys("default", "acme.test")
    assert [key.algorithm for key in keys] == ["rsa", "ed25519"]
    for record, key in zip((rsa, ed25519), keys, strict=True):
        assert record.type == "TXT"
        assert record.name == f"{key.selector}._domainkey.acme.test"
        assert record.value.startswith(f"v=DKIM1; k={key.algorithm}; p=")
        public = load_der_private_key(key.pkcs8_der, None).public_key()
        encoded = (
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            if key.algorithm == "rsa"
            else public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        )
        assert base64.b64decode(record.value.partition("p=")[2]) == encoded
        assert key.pkcs8_der.hex() not in repr(key)
    assert (spf.name, spf.value) == ("acme.test", "v=spf1 a mx ~all")
    assert dmarc.name == "_dmarc.acme.test"
    assert dmarc.value.startswith("v=DMARC1; p=none")
    assert all(record.purpose for record in domain.records)


def test_the_spf_record_names_the_sending_host_where_it_is_known(settings):
    store = open_store(
        RelationalSettings(settings.url, settings.master_key_file, "mail.platform.test")
    )
    domain = store.add_domain("default", "acme.test", trusted=False)
    store.close()
    assert "v=spf1 a:mail.platform.test ~all" in [record.value for record in domain.records]


def test_a_domain_is_usable_for_its_tenant_once_the_operator_vouches(store, other):
    first = store.add_domain("default", "acme.test", trusted=False)
    assert not store.usable_domain("default", "acme.test")
    again = store.add_domain("default", "acme.test", trusted=True)
    assert (again.id, again.records) == (first.id, first.records)
    assert store.usable_domain("default", "acme.test")
    assert store.add_domain("default", "acme.test", trusted=False).trusted
    assert not store.usable_domain(other.id, "acme.test")
    assert not store.usable_domain("default", "sub.acme.test")
    assert not store.usable_domain("default", "test")


def test_a_domain_belongs_to_one_tenant(store, other):
    store.add_domain("default", "acme.test", trusted=True)
    with pytest.raises(DomainExistsError, match=r"mail\.acme\.test"):
        store.add_domain(other.id, "Acme.test", trusted=True)
    assert store.domain(other.id, "acme.test") is None
    assert store.signing_keys(other.id, "acme.test") == ()
    assert not store.remove_domain(other.id, "acme.test")
    assert store.domains(other.id) == ()


def test_a_removed_domain_comes_back_with_other_keys_under_other_names(store, other):
    before = store.add_domain("default", "acme.test", trusted=True)
    assert store.remove_domain("default", "acme.test")
    assert not store.remove_domain("default", "acme.test")
    assert store.domain("default", "acme.test") is None
    assert store.signing_keys("default", "acme.test") == ()
    after = store.add_domain(other.id, "acme.test", trusted=False)
    assert not {r.value for r in before.records[:2]} & {r.value for r in after.records[:2]}
    assert not after.trusted


def test_domains_are_listed_by_name_and_found_in_any_spelling(store):
    names = ["zeta.test", "bücher.example", "acme.test"]
    for name in names:
        store.add_domain("default", name, trusted=False)
    listed = [domain.name for domain in store.domains("default")]
    assert listed == ["acme.test", "xn--bcher-kva.example", "zeta.test"]
    assert store.domain("default", "BÜCHER.example").name == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    "name",
    ["", "localhost", "127.0.0.1", "[::1]", "acme..test", "-acme.test", "a b.test", "x" * 64 + ".test",
     "acme.test/x", "user@acme.test", "acme.test\nevil.test", "acme_x.test", "xn--a.test", "."],
)  # fmt: skip
def test_what_cannot_send_mail_is_no_domain(store, name):
    with pytest.raises(DomainNameError, match=r"acme\.example"):
        store.add_domain("default", name, trusted=True)


@pytest.mark.parametrize("name", ["", "localhost", "\ud800", "a\0.test", "unknown.test"])
def test_a_domain_that_cannot_be_or_is_not_there_is_found_by_nobody(store, name):
    assert store.domain("default", name) is None
    assert not store.usable_domain("default", name)
    assert store.signing_keys("default", name) == ()
    assert not store.remove_domain("default", name)


def test_a_domain_for_an_unknown_tenant_is_refused(store):
    with pytest.raises(UnknownTenantError):
        store.add_domain("nobody", "acme.test", trusted=True)


def test_a_domain_added_from_many_threads_has_one_pair_of_keys(store):
    found = []
    together = threading.Barrier(6)

    def add():
        together.wait()
        found.append(store.add_domain("default", "acme.test", trusted=True))

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert len(store.signing_keys("default", "acme.test")) == 2


def test_a_sealed_key_that_was_moved_to_another_domain_does_not_open(store):
    store.add_domain("default", "acme.test", trusted=True)
    store.add_domain("default", "evil.test", trusted=True)
    with store._writing() as connection:
        connection.exec_driver_sql(
            "UPDATE dkim_key SET sealed_private_key = (SELECT k.sealed_private_key FROM dkim_key k"
            " JOIN domain d ON d.id = k.domain_id WHERE d.name = 'acme.test' AND k.position = 1)"
            " WHERE domain_id = (SELECT id FROM domain WHERE name = 'evil.test') AND position = 1"
        )
    with pytest.raises(UnsealError):
        store.signing_keys("default", "evil.test")


# Templates


def test_each_put_is_a_new_version_and_the_old_ones_stay(store):
    first = store.put_template("default", "welcome", "Hi {{name}}", "<p>1</p>", None)
    second = store.put_template("default", "welcome", None, None, "2")
    assert (first.version, second.version) == (1, 2)
    assert first.template_id == second.template_id
    assert store.template("default", "welcome") == second
    assert store.template("default", first.template_id, 1) == first
    assert store.template("default", "welcome", 3) is None
    assert store.template("default", "nothing") is None
    third = store.put_template("default", "alert", "!", None, "x")
    assert store.templates("default") == (third, second)


def test_templates_of_two_tenants_may_have_one_name(store, other):
    mine = store.put_template("default", "welcome", "a", None, "a")
    theirs = store.put_template(other.id, "welcome", "b", None, "b")
    assert theirs.version == 1
    assert store.template(other.id, "welcome") == theirs
    assert store.template(other.id, mine.template_id) is None


@pytest.mark.parametrize(
    "name", ["", "a b", "-a", "a/b", "x" * 101, "a\n", "0193aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"]
)
def test_a_name_that_cannot_be_typed_or_hides_an_id_is_refused(store, name):
    with pytest.raises(TemplateNameError, match="1 to 100"):
        store.put_template("default", name, "s", "h", None)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_database_keeps_is_refused_by_its_field(store, text):
    for texts in ((text, None, None), (None, text, None), (None, None, text)):
        field = ("subject", "html", "text")[texts.index(text)]
        with pytest.raises(TemplateTextError, match=f"the {field} of"):
            store.put_template("default", "welcome", *texts)
    assert store.template("default", text) is None


def test_versions_from_many_threads_have_no_hole_and_no_double(store):
    together = threading.Barrier(8)

    def put():
        together.wait()
        for _ in range(5):
            store.put_template("default", "welcome", "s", "h", None)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.template("default", "welcome").version == 40
    assert all(store.template("default", "welcome", n) for n in range(1, 41))
