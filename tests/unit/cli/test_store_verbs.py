"""keys, domains, templates: they work without a running platform."""

import json


def test_a_created_key_is_shown_once_listed_without_its_secret_and_revoked(machine):
    created = json.loads(machine.run("keys", "create", "shop", "--json").stdout)
    assert created["key"].startswith(f"sw_{created['id']}_")
    listed = machine.run("keys", "list", "--json").stdout
    assert created["key"] not in listed
    assert [key["name"] for key in json.loads(listed)["data"]] == ["shop"]
    assert machine.run("keys", "revoke", created["id"]).returncode == 0
    again = machine.run("keys", "revoke", created["id"])
    assert again.returncode == 1
    assert "sealwax keys list" in again.stderr


def test_a_domain_is_added_with_its_records_shown_and_removed(machine):
    added = json.loads(machine.run("domains", "add", "Acme.Test", "--trusted", "--json").stdout)
    assert added["name"] == "acme.test"
    assert added["trusted"] is True
    assert {"type", "name", "value"} <= set(added["records"][0])
    shown = machine.run("domains", "show", "acme.test")
    for record in added["records"]:
        assert f"{record['name']} {record['type']} {record['value']}" in shown.stdout
    assert "acme.test" in machine.run("domains", "list").stdout
    assert machine.run("domains", "remove", "acme.test").returncode == 0
    gone = machine.run("domains", "show", "acme.test")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "there is no domain 'acme.test'" in gone.stderr


def test_a_template_gets_a_version_each_time(machine, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<p>Grüße {{name}}</p>")
    for version in (1, 2):
        put = machine.run("templates", "put", "hi", "--subject", "Hi", "--html-file", str(page))
        assert put.stdout == f"Stored hi, version {version}.\n"
    assert "Grüße {{name}}" in machine.run("templates", "show", "hi").stdout
    assert "version 3" in machine.run("templates", "show", "hi", "--version", "3").stderr


def test_a_tenant_that_is_not_there_is_refused(machine):
    refused = machine.run("keys", "create", "shop", "--tenant", "acme")
    assert refused.returncode == 1
    assert "there is no tenant 'acme'" in refused.stderr


def test_a_variable_that_is_no_setting_is_warned_of(machine):
    warned = machine.run("keys", "list", SEALWAX_DATADIR="x")
    assert warned.returncode == 0
    assert "did you mean SEALWAX_DATA_DIR" in warned.stderr
