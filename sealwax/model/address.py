"""Mailbox addresses: RFC 5322 3.4 for what people write, RFC 5321 4.1.2 for what MTAs take."""

import re
from dataclasses import dataclass
from typing import Final

import idna
from typing_extensions import override

from sealwax.errors import SealwaxError

LOCAL_PART_OCTETS: Final = 64  # RFC 5321 4.5.3.1.1
DOMAIN_OCTETS: Final = 253  # RFC 1035 2.3.4, as text without the final dot
LABEL_OCTETS: Final = 63  # RFC 1035 2.3.4
ADDRESS_OCTETS: Final = 254  # RFC 5321 4.5.3.1.3, without the angle brackets
MAILBOX_CHARACTERS: Final = 998  # one line of a header section, RFC 5322 2.1.1

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter (RFC 3696 2), so that an IPv4 address is not a domain.
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
_LABEL_FORM = re.compile(_LABEL)
# Only these quoted local parts are taken; `@`, `<`, `\` and the like between quotes have no honest
# use and make programs disagree about who the recipient is.
_QUOTED_LOCAL_PART = re.compile(r'"([A-Za-z0-9!#$%&\'*+/=?^_`{|}~. -]+)"')
# Control characters and what ends a line in some program or other; surrogates are no text.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PLAIN_NAME = re.compile(r'[^"\\<>@,;:()\[\]]+')
_QUOTED_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+)*")


class AddressError(SealwaxError, ValueError):
    """A text is not one mailbox address.

    Attributes:
        problem: What is wrong with it; reads on after the address.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A person or a role and where mail for them goes.

    Attributes:
        name: Display name as text, without quotes; empty for none.
        local_part: As written: only the receiving host knows what it means (RFC 5321 2.3.11).
            ASCII, at most 64 octets; with its quotes where it needs them.
        domain: A-labels, lower case, at least two.
    """

    name: str
    local_part: str
    domain: str

    @property
    def address(self) -> str:
        """`local-part@domain`, as in MAIL and RCPT."""
        return f"{self.local_part}@{self.domain}"

    @override
    def __str__(self) -> str:
        """The form that `parse_mailbox` reads back to an equal value."""
        if not self.name:
            return self.address
        if _PLAIN_NAME.fullmatch(self.name):
            return f"{self.name} <{self.address}>"
        escaped = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}" <{self.address}>'


def parse_mailbox(text: str) -> Mailbox:
    """Reads `ada@example.com`, `Ada <ada@example.com>` or `"Lovelace, Ada" <ada@example.com>`.

    Args:
        text: One address. A domain may be internationalised; it becomes A-labels (UTS 46,
            nontransitional).

    Raises:
        AddressError: It is none, several, or one that cannot be delivered to over plain SMTP.
    """
    if len(text) > MAILBOX_CHARACTERS:
        raise AddressError(f"has {len(text)} characters; {MAILBOX_CHARACTERS} is the most")
    # One look for the usual text; what isprintable refuses beyond this set is for names (such as
    # the joiner inside an emoji).
    if not text.isprintable() and (found := _FORBIDDEN.search(text)):
        raise AddressError(f"contains a control character (U+{ord(found[0]):04X})")
    if text.endswith(">"):
        name, opening, address = text[:-1].rpartition("<")
        if not opening:
            raise AddressError("has a `>` without a `<` before it")
        return _mailbox(_display_name(name), address)
    if "<" in text or ">" in text:
        raise AddressError("has text after the address in angle brackets")
    return _mailbox("", text)


def a_label_domain(text: str) -> str:
    """A domain of at least two labels as A-labels in lower case.

    Raises:
        AddressError: It is no such domain: an IP address, a single label, an invalid label.
    """
    domain = text.lower() if text.isascii() else _to_a_labels(text)
    if len(domain) > DOMAIN_OCTETS:
        raise AddressError(f"has a domain of {len(domain)} octets; {DOMAIN_OCTETS} is the most")
    if _DOMAIN.fullmatch(domain) is None:
        raise AddressError(_domain_problem(domain))
    if "xn--" in domain:
        _check_a_labels(domain)
    return domain


def _mailbox(name: str, address: str) -> Mailbox:
    local_part, at, domain_text = address.rpartition("@")
    if not at:
        raise AddressError("is empty" if not address else "has no @")
    if len(local_part) > LOCAL_PART_OCTETS or _DOT_ATOM.fullmatch(local_part) is None:
        local_part = _unusual_local_part(local_part)
    domain = a_label_domain(domain_text)
    if len(local_part) + 1 + len(domain) > ADDRESS_OCTETS:
        raise AddressError(f"is longer than {ADDRESS_OCTETS} octets")
    return Mailbox(name, local_part, domain)


def _display_name(text: str) -> str:
    name = text.strip(" ")
    if not name or _PLAIN_NAME.fullmatch(name):
        return name
    quoted = _QUOTED_NAME.fullmatch(name)
    if quoted:
        return _QUOTED_PAIR.sub(r"\1", quoted[1]).strip(" ")
    if "@" in name:
        raise AddressError("holds several addresses, or a name with an @ that is not in quotes")
    raise AddressError(
        'has a name with special characters that is not in quotes: write "Lovelace, Ada" <...>, '
        'with \\" for a quote inside'
    )


def _unusual_local_part(local_part: str) -> str:
    """A local part that is no plain dot-atom: a simple quoted one, or the reason why not."""
    if len(local_part) > LOCAL_PART_OCTETS:
        raise AddressError(
            f"has a local part of {len(local_part)} octets; {LOCAL_PART_OCTETS} is the most"
        )
    quoted = _QUOTED_LOCAL_PART.fullmatch(local_part)
    if quoted is None:
        raise AddressError(_local_part_problem(local_part))
    # RFC 5321 4.1.2: quotes that are not needed should go, so that equal mailboxes are equal.
    return quoted[1] if _DOT_ATOM.fullmatch(quoted[1]) else local_part


def _local_part_problem(local_part: str) -> str:
    if not local_part:
        return "has nothing before the @"
    if any(separator in local_part for separator in ",;@"):
        return "holds several addresses or more than one @; one string takes one"
    if not local_part.isascii():
        return (
            "has characters outside ASCII before the @ (SMTPUTF8), which sealwax does not send "
            "to yet"
        )
    if " " in local_part:
        return "contains a space"
    if local_part.startswith(".") or local_part.endswith(".") or ".." in local_part:
        return "has a dot at an end of its local part, or two in a row"
    return "has a character before the @ that is not allowed there"


def _to_a_labels(text: str) -> str:
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as error:
        raise AddressError(f"has a domain that is not valid (IDNA: {error})") from error


def _check_a_labels(domain: str) -> None:
    """Refuses A-labels that stand for nothing; the label's own limits are checked already."""
    for label in domain.split("."):
        if label.startswith("xn--"):
            try:
                idna.ulabel(label)
            except idna.IDNAError as error:
                raise AddressError(f"has a domain that is not valid (IDNA: {error})") from error


def _domain_problem(domain: str) -> str:
    """Why a domain is none; the first that fits."""
    problems = (
        (not domain, "has no domain after the @"),
        (domain.startswith("["), "has an IP address in place of a domain"),
        (" " in domain, "contains a space"),
        ("," in domain or ";" in domain, "holds several addresses; one string takes one"),
        (domain.endswith("."), "ends with a dot"),
        ("." not in domain, "has a domain of one label: a dot is missing"),
        (_IPV4.fullmatch(domain), "has an IP address in place of a domain"),
    )
    return next((problem for holds, problem in problems if holds), _label_problem(domain))


def _label_problem(domain: str) -> str:
    labels = domain.split(".")
    for label in labels:
        if not label:
            return "has two dots in a row, or one at the start of its domain"
        if len(label) > LABEL_OCTETS:
            return f"has a domain label of {len(label)} octets; {LABEL_OCTETS} is the most"
        if _LABEL_FORM.fullmatch(label) is None:
            return f"has a domain label {label!r} with other than letters, digits and inner hyphens"
    return f"has a top-level domain {labels[-1]!r} that does not begin with a letter"
