"""Templates at accept: the version is pinned, and a trial rendering finds what would fail later."""

from typing import Any, Final

import msgspec

from sealwax.api.look_ups import LookUps
from sealwax.api.problems import (
    INVALID_TEMPLATE,
    MISSING_VARIABLE,
    UNKNOWN_TEMPLATE,
    ProblemError,
)
from sealwax.mail.render import ItemError, render_templates
from sealwax.mail.submission import SubmissionError, SubmissionLimits
from sealwax.mail.submission_parts import check_line
from sealwax.model.submission import Submission, TemplateRef
from sealwax.model.tenant import TemplateVersion
from sealwax.store.relational import Store

# A new version of a template is used after this at the latest.
_KEEP_S: Final = 1.0
_TEMPLATES: Final = 200
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class PinnedTemplates:
    """Finds the templates that submissions name, and writes their versions into the requests."""

    def __init__(self, store: Store, limits: SubmissionLimits) -> None:
        self._max_bytes = limits.max_bytes
        self._found: LookUps[tuple[str, str, int | None], TemplateVersion] = LookUps(
            lambda key: store.template(*key), keep_s=_KEEP_S, size=_TEMPLATES
        )

    async def find(self, tenant_id: str, wanted: TemplateRef) -> TemplateVersion:
        """The version to use.

        Raises:
            ProblemError: There is none.
        """
        found = await self._found.get((tenant_id, wanted.id, wanted.version))
        if found is None:
            version = "" if wanted.version is None else f" with version {wanted.version}"
            raise ProblemError(
                UNKNOWN_TEMPLATE,
                f"There is no template {wanted.id!a}{version}. `sealwax templates list` shows "
                "those there are.",
                field="template.id" if wanted.version is None else "template.version",
            )
        return found

    def pin(self, body: bytes, wanted: TemplateRef, found: TemplateVersion) -> bytes:
        """The request with its template as it is now; everything else stays byte for byte.

        Raises:
            SubmissionError: The request has no room for it.
        """
        fields: dict[str, Any] = dict(_FIELDS.decode(body))
        fields.pop("data", None)  # the same as `variables`
        fields["template"] = {
            "id": found.template_id,
            "version": found.version,
            "variables": wanted.variables,
        }
        value = msgspec.json.encode(fields)
        if len(value) > self._max_bytes:
            raise SubmissionError(
                "",
                f"The request has {len(value):,} bytes with its template's version; "
                f"{self._max_bytes:,} is the most",
                "Send a little less",
                413,
            )
        return value


def rendered(
    submission: Submission, template: TemplateVersion | None
) -> tuple[str | None, str | None, str | None]:
    """Subject, html and text as the recipients get them.

    Raises:
        ProblemError: A variable is missing, or a template cannot be read.
    """
    subject, html, text = submission.subject, submission.html, submission.text
    if submission.data is None:
        return subject, html, text
    if template is not None:
        subject, html, text = subject or template.subject, template.html, template.text
    (result,) = render_templates([(subject, html, text, submission.data_json or b"{}")])
    if isinstance(result, ItemError):
        raise _not_rendered(result, submission, template)
    return result


def check_rendering(submission: Submission, template: TemplateVersion | None) -> None:
    """Renders once, for what goes wrong.

    Raises:
        ProblemError: A variable is missing, or a template cannot be read.
        SubmissionError: The subject is missing, or rendered it is none.
    """
    subject, html, text = rendered(submission, template)
    if template is not None and not (html or text):
        raise SubmissionError(
            "template.id",
            f"The template {template.name!r} has neither html nor text",
            "Store a version that has one of them",
        )
    if not subject:
        raise SubmissionError(
            "subject",
            "The subject is missing or empty",
            "Give the email one, or store a version of the template with a subject",
        )
    check_line("subject", subject)


def _not_rendered(
    error: ItemError, submission: Submission, template: TemplateVersion | None
) -> ProblemError:
    of = "" if template is None else f" (template {template.name}, version {template.version})"
    if error.code == "missing_variable":
        name = "data" if submission.template is None else "template.variables"
        return ProblemError(
            MISSING_VARIABLE,
            f"{error.message}{of}. Put it into {name}.",
            field=error.field,
        )
    fix = "Mend the template" if template else "Mend it, or leave data out to send it as it is"
    return ProblemError(INVALID_TEMPLATE, f"{error.message}{of}. {fix}.", field=error.field)
