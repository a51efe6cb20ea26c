"""The AsyncAPI document of the topics that others write to or read: docs/asyncapi.yaml.

`python -m connectors.asyncapi` writes it. What sealwax keeps for itself (email.ready.*,
email.retry.*, email.control, email.body) is not in it: those records may change with any release.
"""

from importlib.metadata import version
from typing import Any, Final

import msgspec

from connectors.log.dead import API_KEY
from sealwax.mail import submission_schema
from sealwax.model import topics
from sealwax.model.claim import MOST_KEY_CHARACTERS
from sealwax.model.event import Cause, Kind

Json = dict[str, Any]

_ID: Final = "019ab0c1-7a10-7c3e-8f5e-1b2c3d4e5f60"
_KEY: Final = "sw_3kQ9zT1a_" + "0" * 32
_TEXT: Final = {"type": "string"}
_WHOLE: Final = {"type": "integer", "minimum": 0}
_FLAG: Final = {"type": "boolean"}
_DIGITS: Final = {"type": "string", "pattern": "^[0-9]+$"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_MAP: Final = {"type": "object", "additionalProperties": _TEXT}


def _described(schema: Json, description: str) -> Json:
    return {**schema, "description": description}


def _optional(*names: str, schema: Json) -> Json:
    return dict.fromkeys(names, schema)


# The columns of ClickHouse's table `events`; a test holds that they are all of them.
_EVENT: Final[Json] = {
    "tenant": _described(_TEXT, "Whose email; empty where the sender is not known."),
    "email_id": {"type": "string", "format": "uuid"},
    "at": _described(_TEXT, "When it happened, ISO 8601 in UTC with milliseconds."),
    "kind": {"enum": [*Kind], "description": "What happened."},
    "stream": {"enum": [*topics.STREAMS]},
    "rcpt": _described(_TEXT, "The recipient's address."),
    "rcpt_index": _described(_WHOLE, "Its place among the email's recipients, from 0."),
    "rcpts": _described(_WHOLE, "How many recipients the email has."),
    "tags": _described(_MAP, "Those of the request."),
    "attempt": _described(_WHOLE, "Which attempt, from 1."),
    "code": _described(_WHOLE, "Of the reply."),
    "status": _described(_TEXT, "Enhanced status of the reply (RFC 3463)."),
    "reply": _described(_TEXT, "Text of the reply."),
    "class": _described(
        _TEXT, "What a refusal is about: docs/replies.md; the reason in `rejected` and `failed`."
    ),
    "rule": _described(_TEXT, "By which rule for replies the outcome was decided."),
    "rule_version": _described(_WHOLE, "And by which version of it."),
    "recipient_fate": _described(_TEXT, "What the rule says of the recipient; empty: kept."),
    "path_fate": _described(_TEXT, "What the rule says of the path; empty: nothing."),
    "detail": _described(_TEXT, "A sentence."),
    "alert": _described(_FLAG, "Whether somebody should look."),
    "in_doubt": _described(_FLAG, "Whether the message may have arrived before."),
    "elapsed_ms": _described(_WHOLE, "Since the request was accepted."),
    "waits.cause": {"type": "array", "items": {"enum": [*Cause]}},
    "waits.rule": _TEXTS,
    "waits.ms": {"type": "array", "items": _WHOLE},
    "limits": _MAP,
    "request_topic": _described(_TEXT, "With the next two: where the request stands."),
    **_optional("request_partition", "request_offset", schema=_WHOLE),
    **_optional(
        "rcpt_domain", "site", "provider", "pool", "source_ip", "mx_host", "template", "command",
        "dkim_domain", "tls", "url", "agent", "trace_id", schema=_TEXT,
    ),
    **_optional(
        "smtp_ms", "connect_ms", "dot_ms", "size", "machine", schema=_WHOLE
    ),
}  # fmt: skip
_REQUEST_HEADERS: Final[Json] = {
    API_KEY: {
        "type": "string",
        "pattern": "^sw_[0-9A-Za-z]{8}_[0-9A-Za-z]{32,64}$",
        "description": "A key of sealwax; it decides the tenant.",
    },
    "Idempotency-Key": {
        "type": "string",
        "minLength": 1,
        "maxLength": MOST_KEY_CHARACTERS,
        "pattern": "^[ -~]+$",
        "description": "Records of a tenant with one key and one value are sent once, those of "
        "the API with it.",
    },
    "traceparent": _described(_TEXT, "W3C trace context; accepted."),
    "tenant": _described(
        _TEXT,
        "The tenant's id in place of a key, only with the setting SEALWAX_TRUST_TENANT_HEADER.",
    ),
}
_DEAD_HEADERS: Final[Json] = {
    "reason": _described(_TEXT, "A stable word: docs/producers.md has them all."),
    "detail": _described(_TEXT, "A sentence that says what is wrong and what to do."),
    "flow": _described(_TEXT, "What could not process it: `render` for requests."),
    "owner": _described(_TEXT, "The tenant; empty where the sender is not known."),
    "source-topic": _described(_TEXT, "With the next two: where the record stood."),
    "source-partition": _DIGITS,
    "source-offset": _DIGITS,
    "body": _described(_TEXT, "Where the value is in email.body, if it has over 512 KB."),
    "cut": _described(_TEXT, "What of key and headers is not kept, if they have over 64 KB."),
}


def document() -> Json:
    """The document, AsyncAPI 3.0.0."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "sealwax topics",
            "version": version("sealwax"),
            "license": {"name": "Apache-2.0"},
            "description": "How Kafka producers submit email, and what others may read. "
            "docs/producers.md explains it. Where an installation sets SEALWAX_KAFKA_NAMESPACE, "
            "its text stands before each topic's name.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "plain": {
                "host": "localhost:9092",
                "protocol": "kafka",
                "description": "A broker for trying out: make kafka.",
            },
            "secured": {
                "host": "kafka.example:9093",
                "protocol": "kafka-secure",
                "description": "The brokers of KAFKA_BOOTSTRAP_SERVERS.",
                "security": [{"$ref": "#/components/securitySchemes/scram"}],
            },
        },
        "channels": {
            **{
                f"requested_{stream}": _channel(
                    topics.requested(stream), "EmailRequested", f"Requests to send {stream} email."
                )
                for stream in topics.STREAMS
            },
            "dead": _channel(topics.DEAD, "DeadRecord", "Records that could not be processed."),
            "events": _channel(topics.EVENTS, "EmailEvent", "What happened to every email."),
        },
        "operations": {
            **{
                f"render_{stream}": _operation("receive", f"requested_{stream}")
                for stream in topics.STREAMS
            },
            "put_aside": _operation("send", "dead"),
            "tell": _operation("send", "events"),
        },
        "components": {
            "messages": _messages(),
            "schemas": {
                **submission_schema.components("#/components/schemas/{name}"),
                "EmailEvent": {
                    "type": "object",
                    "required": ["tenant", "email_id", "at", "kind"],
                    "properties": _EVENT,
                    "description": "A row of ClickHouse. An absent field is empty.",
                },
            },
            "securitySchemes": {
                "scram": {"type": "scramSha512", "description": "Or whatever the brokers ask for."}
            },
        },
    }


def _channel(topic: str, message: str, description: str) -> Json:
    return {
        "address": topic,
        "description": description,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _operation(action: str, channel: str) -> Json:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _messages() -> Json:
    key = {"kafka": {"key": _described(_TEXT, "Free; the tenant's id spreads best."),
                     "bindingVersion": "0.5.0"}}  # fmt: skip
    return {
        "EmailRequested": {
            "title": "A request to send",
            "contentType": "application/json",
            "headers": {
                "type": "object",
                "properties": _REQUEST_HEADERS,
                "anyOf": [{"required": [API_KEY]}, {"required": ["tenant"]}],
                "description": "Names in any case. Others are ignored.",
            },
            "payload": {"$ref": "#/components/schemas/EmailJson"},
            "bindings": key,
            "examples": [
                {
                    "headers": {API_KEY: _KEY, "Idempotency-Key": f"order-{n}"},
                    "payload": payload,
                }
                for n, payload in enumerate(submission_schema.EXAMPLES, start=17)
            ],
        },
        "DeadRecord": {
            "title": "A record that could not be processed",
            "contentType": "application/octet-stream",
            "headers": {
                "type": "object",
                "properties": _DEAD_HEADERS,
                "required": ["reason", "detail", "source-topic", "source-partition",
                             "source-offset"],
                "description": "Behind those that it had, without its API key.",
            },
            "payload": _described({}, "The value as it was, whatever it was."),
        },
        "EmailEvent": {
            "title": "Something that happened to an email",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/EmailEvent"},
            "examples": [
                {
                    "payload": {
                        "tenant": "default",
                        "email_id": _ID,
                        "at": "2026-11-24T08:00:00.000Z",
                        "kind": "rejected",
                        "class": "bad_request",
                        "detail": "subject: The subject is missing or empty. Give the email one.",
                        "request_topic": topics.REQUESTED[0],
                        "request_partition": 2,
                        "request_offset": 17,
                    }
                }
            ],
        },
    }  # fmt: skip


def text() -> str:
    """The file."""
    import yaml  # noqa: PLC0415 - needed to make the document, and for nothing else

    # Each object on its own: one that stands twice would become an alias, which readers stumble on.
    plain: Json = msgspec.json.decode(msgspec.json.encode(document()))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201 - this is what the command is for
