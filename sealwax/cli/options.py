"""Flags that many verbs have."""

from typing import Annotated

from cyclopts import Parameter

Tenant = Annotated[
    str | None, Parameter(name="--tenant", help="Id of the tenant; without it the one there is.")
]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")]
