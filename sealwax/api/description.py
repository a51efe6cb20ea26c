"""The OpenAPI document: Litestar writes the part of its own handlers, this file the rest."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler

from sealwax.api.accept import Accepted, Refused
from sealwax.api.problems import ALL, MEDIA_TYPE, Problem
from sealwax.mail import submission_schema

_REF: Final = "#/components/schemas/{name}"
_OPEN: Final = ("/healthz", "/readyz", "/problems/{slug}", "/openapi.json")
_EXAMPLE: Final = {
    "from": "Ada <hello@acme.test>",
    "to": ["grace@example.test"],
    "subject": "Hi {{name}}",
    "html": "<p>Hello {{name}}</p>",
    "data": {"name": "Grace"},
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[ -~]+$"},
    "description": "Names the request. A repeat with the same key and the same body, byte for "
    "byte, within 24 hours (a setting) gets the first answer and sends nothing more.",
}
_CONFLICT: Final = (
    "The Idempotency-Key belongs to a request with another body (`invalid-idempotent-request`), "
    "or the first request with it is still under way (`concurrent-idempotent-requests`: send it "
    "again after Retry-After)."
)
_ID: Final = "019ab0c1-7a10-7c3e-8f5e-1b2c3d4e5f60"


def document(
    handlers: Sequence[ControllerRouterHandler], dependencies: Mapping[str, Provide]
) -> bytes:
    """The document as JSON; the same for the whole life of the process."""
    # An app that is never served: Litestar's own would add pages with assets from a CDN.
    described = Litestar(
        handlers,
        dependencies=dependencies,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="sealwax",
            version=version("sealwax"),
            description="Send email. Errors are problem details (RFC 9457).",
            use_handler_docstrings=True,
            components=Components(
                security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}
            ),
        ),
    )
    schema: dict[str, Any] = msgspec.to_builtins(described.openapi_schema.to_schema())
    _, answers = msgspec.json.schema_components([Accepted, Refused, Problem], ref_template=_REF)
    schemas = schema["components"].setdefault("schemas", {})
    schemas.update({**answers, **submission_schema.components(_REF)})
    schema["paths"] |= {
        "/v1/emails": {"post": _accept_one()},
        "/v1/emails/batch": {"post": _accept_batch()},
    }
    for path, item in schema["paths"].items():
        for operation in item.values():
            _complete(path, operation)
    return msgspec.json.encode(schema)


def _accept_one() -> dict[str, Any]:
    return _operation(
        "sendEmail",
        "Send an email",
        "202 means that the email is stored durably and will be sent.",
        request=(_ref("EmailJson"), _EXAMPLE),
        response=(_ref("Accepted"), {"id": _ID}),
    )


def _accept_batch() -> dict[str, Any]:
    refused = {
        "type": "/problems/invalid-field",
        "title": ALL["invalid-field"].title,
        "status": 422,
        "detail": "The subject is missing or empty. Give the email one.",
        "errors": [
            {"field": "subject", "detail": "The subject is missing or empty. Give the email one."}
        ],
    }
    return _operation(
        "sendBatch",
        "Send up to 1,000 emails",
        "Each is accepted or refused alone; the answers have the order of the request.",
        request=(
            {"type": "array", "items": _ref("EmailJson"), "minItems": 1, "maxItems": 1000},
            [_EXAMPLE, {"from": "hello@acme.test", "to": "grace@example.test", "text": "Hi"}],
        ),
        response=(
            {
                "type": "object",
                "properties": {
                    "data": {
                        "type": "array",
                        "items": {"anyOf": [_ref("Accepted"), _ref("Refused")]},
                    }
                },
                "required": ["data"],
            },
            {"data": [{"id": _ID}, {"error": refused}]},
        ),
    )


def _operation(
    ident: str,
    summary: str,
    description: str,
    *,
    request: tuple[dict[str, Any], object],
    response: tuple[dict[str, Any], object],
) -> dict[str, Any]:
    return {
        "operationId": ident,
        "summary": summary,
        "description": description,
        "parameters": [_KEY],
        "requestBody": {"required": True, "content": _content(*request)},
        "responses": {
            "202": {"description": "Accepted.", "content": _content(*response)},
            "409": {"description": _CONFLICT, "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}},
        },
    }


def _complete(path: str, operation: dict[str, Any]) -> None:
    """What all operations have in common: the key, and problems as errors."""
    if path not in _OPEN:
        operation["security"] = [{"key": []}]
    # Litestar describes its own form of a validation error, which this API never sends.
    operation["responses"].pop("400", None)
    operation["responses"]["default"] = {
        "description": "A problem (RFC 9457).",
        "content": {MEDIA_TYPE: {"schema": _ref("Problem")}},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _REF.format(name=name)}


def _content(schema: dict[str, Any], example: object) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": example}}
