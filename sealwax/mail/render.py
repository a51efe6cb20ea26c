"""Templates: Handlebars in strict mode, by the Rust core."""

from collections.abc import Sequence

from sealwax import native
from sealwax.native import ItemError

__all__ = ["ItemError", "Rendered", "TemplateJob", "render_templates"]

# Subject, html, text (each a template or None), and the data as a JSON object.
TemplateJob = tuple[str | None, str | None, str | None, bytes]
# Subject, html and text, rendered; None where there was none.
Rendered = tuple[str | None, str | None, str | None]


def render_templates(jobs: Sequence[TemplateJob]) -> list[Rendered | ItemError]:
    """Renders each job; html escapes its values, subject and text do not.

    Returns:
        In order, the texts or what is wrong with that job: `missing_variable` names the variable,
        `template_syntax` the line; see also `.field`.
    """
    return native.render(jobs)
