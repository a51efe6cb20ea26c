"""The DNS records that a sending domain should publish.

The reverse_path of outgoing mail is `bounces@<domain>`: the domain of MAIL FROM is the domain of
From, so SPF is aligned even where DMARC asks for strict alignment (RFC 9989 section on identifier
alignment), and the SPF record belongs to the domain itself. Its price is that bounces arrive at
the domain's own MX; a return-path subdomain of ours, with its MX, comes with VERP.
"""

from collections.abc import Iterable

from sealwax.model.tenant import DnsRecord


def dns_records(
    domain: str, keys: Iterable[tuple[str, str, str]], sending_host: str
) -> tuple[DnsRecord, ...]:
    """What to publish, in the order of importance.

    Args:
        domain: A-labels, lower case.
        keys: Selector, algorithm (k=), public key in base64 (p=).
        sending_host: See RelationalSettings.
    """
    dkim = [
        DnsRecord(
            type="TXT",
            name=f"{selector}._domainkey.{domain}",
            value=f"v=DKIM1; k={algorithm}; p={public_key}",
            purpose=f"DKIM: lets receivers check the {algorithm} signature of your mail.",
        )
        for selector, algorithm, public_key in keys
    ]
    sources = f"a:{sending_host}" if "." in sending_host else "a mx"
    return (
        *dkim,
        DnsRecord(
            type="TXT",
            name=domain,
            value=f"v=spf1 {sources} ~all",
            purpose="SPF: says which hosts send for the domain. Where it has an SPF record "
            f"already, add `{sources}` to that one: two records make both invalid.",
        ),
        DnsRecord(
            type="TXT",
            name=f"_dmarc.{domain}",
            value=f"v=DMARC1; p=none; rua=mailto:postmaster@{domain}",
            purpose="DMARC: Gmail, Yahoo and Outlook want one. `p=none` only asks for reports; "
            "keep a stricter one that is there already.",
        ),
    )
