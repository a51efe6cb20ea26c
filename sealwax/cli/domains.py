"""`sealwax domains`: domains to send from."""

from typing import Annotated

from cyclopts import App, Parameter

from sealwax.cli.local import opened
from sealwax.cli.options import Json, Tenant
from sealwax.cli.output import say, say_json, say_table
from sealwax.errors import ConfigurationError
from sealwax.model.tenant import Domain

app = App(name="domains", help="Domains to send from: add, list, show, remove.")

Name = Annotated[str, Parameter(help="Such as example.com.")]


@app.command
def add(
    name: Name,
    /,
    *,
    trusted: Annotated[
        bool,
        Parameter(
            negative=(), help="You vouch for the domain: it can be used without a check of its DNS."
        ),
    ] = False,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Add a domain and print the DNS records to publish."""
    with opened(tenant) as (store, tenant_id):
        domain = store.add_domain(tenant_id, name, trusted=trusted)
    _print(domain, json=json)


@app.command(name="list")
def list_(*, tenant: Tenant = None, json: Json = False) -> None:
    """List the domains."""
    with opened(tenant) as (store, tenant_id):
        domains = store.domains(tenant_id)
    if json:
        say_json({"data": domains})
        return
    say_table(
        ("name", "usable", "added"),
        [(d.name, _usable(d), f"{d.created_at:%Y-%m-%d %H:%M}") for d in domains],
    )


@app.command
def show(name: Name, /, *, tenant: Tenant = None, json: Json = False) -> None:
    """Show a domain with its DNS records."""
    with opened(tenant) as (store, tenant_id):
        domain = store.domain(tenant_id, name)
    if domain is None:
        raise _unknown(name)
    _print(domain, json=json)


@app.command
def remove(name: Name, /, *, tenant: Tenant = None) -> None:
    """Remove a domain and its DKIM keys for good."""
    with opened(tenant) as (store, tenant_id):
        if not store.remove_domain(tenant_id, name):
            raise _unknown(name)
    say(f"{name} is removed.")


def _print(domain: Domain, *, json: bool) -> None:
    if json:
        say_json(domain)
        return
    say(f"{domain.name}: usable: {_usable(domain)}")
    say("Publish these DNS records:")
    for record in domain.records:
        # One line each and never in a table: a value must be copied in one piece.
        say(f"\n# {record.purpose}\n{record.name} {record.type} {record.value}")


def _usable(domain: Domain) -> str:
    return "yes, trusted" if domain.trusted else "no, add it with --trusted"


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"there is no domain {name!r}; `sealwax domains list` shows those there are"
    )
