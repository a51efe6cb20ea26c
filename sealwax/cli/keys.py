"""`sealwax keys`: API keys."""

from typing import Annotated

from cyclopts import App, Parameter

from sealwax.cli.local import opened
from sealwax.cli.options import Json, Tenant
from sealwax.cli.output import say, say_json, say_table
from sealwax.errors import ConfigurationError

app = App(name="keys", help="API keys: create, list, revoke.")


@app.command
def create(
    name: Annotated[str, Parameter(help="What it is for.")],
    /,
    *,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Create a key. Its secret is shown this once."""
    with opened(tenant) as (store, tenant_id):
        created = store.create_key(tenant_id, name)
    if json:
        say_json(created)
        return
    say(created.key)
    say(f"This is key {created.id}. Keep it: it is not shown again.")


@app.command(name="list")
def list_(*, tenant: Tenant = None, json: Json = False) -> None:
    """List the keys, without their secrets."""
    with opened(tenant) as (store, tenant_id):
        keys = store.keys(tenant_id)
    if json:
        say_json({"data": keys})
        return
    say_table(
        ("id", "name", "created", "revoked"),
        [
            (
                key.id,
                key.name,
                f"{key.created_at:%Y-%m-%d %H:%M}",
                f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "",
            )
            for key in keys
        ],
    )


@app.command
def revoke(
    key_id: Annotated[str, Parameter(help="Its id, from `sealwax keys list`.")],
    /,
    *,
    tenant: Tenant = None,
) -> None:
    """Revoke a key. What it already sent goes on."""
    with opened(tenant) as (store, tenant_id):
        if not store.revoke_key(tenant_id, key_id):
            raise ConfigurationError(
                f"there is no key {key_id!r} in force; `sealwax keys list` shows those there are"
            )
    say(f"Key {key_id} is revoked.")
