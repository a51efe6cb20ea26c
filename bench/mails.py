"""The mail that the figures are about: 5 KB of HTML, a text of its own."""

DOMAINS = 25
BODY = "<p style='color:#333'>Thank you for your order, it is on its way.</p>\n" * 68


def email(number: int) -> dict[str, str]:
    """The request of `POST /v1/emails`; recipients are spread over DOMAINS domains."""
    return {
        "from": "Acme <hello@acme.test>",
        "to": f"user{number}@d{number % DOMAINS}.sink.test",
        "subject": f"Your order {number}",
        "html": BODY,
        "text": "Thank you for your order, it is on its way.",
    }
