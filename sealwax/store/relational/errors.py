"""What the relational store refuses, and why."""

from sealwax.errors import SealwaxError


class StoreAwayError(SealwaxError):
    """The database did not answer: locked for too long, disk full, server gone. Try again."""


class UnknownTenantError(SealwaxError):
    """There is no such tenant.

    Attributes:
        tenant_id: What was asked for.
    """

    def __init__(self, tenant_id: str) -> None:
        super().__init__(
            f"there is no tenant {tenant_id[:40]!r}; leave the tenant out to use the default one"
        )
        self.tenant_id = tenant_id


class DomainNameError(SealwaxError):
    """A text cannot be a domain that sends mail."""


class DomainExistsError(SealwaxError):
    """The domain belongs to another tenant; the text does not say to whom.

    Attributes:
        name: The domain.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is already set up for another account; remove it there first, or send from "
            f"a subdomain such as mail.{name}"
        )
        self.name = name


class TemplateNameError(SealwaxError):
    """A text cannot be the name of a template."""


class TemplateTextError(SealwaxError):
    """A template's text cannot be stored."""


class KeyNameError(SealwaxError):
    """A text cannot be the name of an API key."""


class TenantIdError(SealwaxError):
    """A text cannot be the id of a tenant."""
