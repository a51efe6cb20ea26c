"""`sealwax templates`: stored templates."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from sealwax.cli.local import opened
from sealwax.cli.options import Json, Tenant
from sealwax.cli.output import say, say_json, say_table
from sealwax.errors import ConfigurationError

app = App(name="templates", help="Stored templates: put, list, show.")


@app.command
def put(
    name: Annotated[str, Parameter(help="Letters, digits, '.', '_' and '-'.")],
    /,
    *,
    subject: Annotated[str | None, Parameter(help="Handlebars.")] = None,
    html_file: Annotated[Path | None, Parameter(help="File with the HTML, Handlebars.")] = None,
    text_file: Annotated[Path | None, Parameter(help="File with the text, Handlebars.")] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Store a template, or the next version of one."""
    html, text = _read(html_file), _read(text_file)
    if html is None and text is None:
        raise ConfigurationError("a template needs a body: give --html-file, --text-file or both")
    with opened(tenant) as (store, tenant_id):
        version = store.put_template(tenant_id, name, subject, html, text)
    if json:
        say_json(version)
        return
    say(f"Stored {version.name}, version {version.version}.")


@app.command(name="list")
def list_(*, tenant: Tenant = None, json: Json = False) -> None:
    """List the templates with their newest version."""
    with opened(tenant) as (store, tenant_id):
        templates = store.templates(tenant_id)
    if json:
        say_json({"data": templates})
        return
    say_table(
        ("name", "version", "stored", "subject"),
        [
            (t.name, str(t.version), f"{t.created_at:%Y-%m-%d %H:%M}", t.subject or "")
            for t in templates
        ],
    )


@app.command
def show(
    name: Annotated[str, Parameter(help="Its name or id.")],
    /,
    *,
    version: Annotated[int | None, Parameter(help="Without it the newest.")] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Show one version of a template."""
    with opened(tenant) as (store, tenant_id):
        template = store.template(tenant_id, name, version)
    if template is None:
        raise ConfigurationError(
            f"there is no template {name!r}"
            + (f" with version {version}" if version is not None else "")
            + "; `sealwax templates list` shows those there are"
        )
    if json:
        say_json(template)
        return
    say(f"{template.name}, version {template.version}, id {template.template_id}")
    for part, source in (
        ("Subject", template.subject),
        ("HTML", template.html),
        ("Text", template.text),
    ):
        if source is not None:
            say(f"\n# {part}\n{source}")


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
