"""The certificate of a closed month on paper, for whoever signs or audits it: what the JSON says, and nothing else.

It is not in the month's package, whose bytes never change: these change with the template and the fonts. The digest that it names is that of the JSON.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from moneyed import Money

from billing_site.kernel.words import counted
from invoicing.closing.models import MonthClose
from invoicing.core.posting import ACCOUNT_NAMES
from invoicing.invoices.printed_text import money_text
from invoicing.invoices.printing import print_pdf
from invoicing.reports.catalogue import REPORTS

TEMPLATE: Final = Path(__file__).resolve().parents[2] / "templates" / "closing" / "certificate.typ"


def certificate_pdf(*, close: MonthClose) -> bytes:
    """Print the certificate of a close as PDF/A."""
    return print_pdf(content=certificate_content(close=close), template=TEMPLATE)


def certificate_content(*, close: MonthClose) -> dict[str, Any]:
    """Return what the printed certificate says, each text and figure final; as it was kept, whatever has become of the books since."""
    told = close.certificate
    closed_at = datetime.fromisoformat(told["closed_at"])
    month = f"{close.month:%B %Y}"
    return {
        "title": f"Certificate of the close of {month}",
        "author": told["closed_by"],
        "dated": [closed_at.year, closed_at.month, closed_at.day],
        "digest": close.digest,
        "lead": (
            f"The books of {month} ({told['zone']}) were locked with what stands below. Whoever has the file certificate.json of this close"
            " finds the same figures in it; the product compares them with the books whenever it verifies."
        ),
        "facts": _facts(told, closed_at),
        "digests": [
            ("Digest of the certificate", close.digest),
            ("Digest of the journal", told["journal"]["digest"]),
            *[(f"Digest of the journal of {key}", digest) for key, digest in digests_of_books(told=told)],
            *([("Digest of the evidence", told["evidence"]["digest"])] if told["evidence"] else []),
        ],
        "checks": [_check(one) for one in told["checklist"]],
        "accounts": [_account(one) for one in told["accounts"]],
        "reports": _reports(told["reports"]),
        "series": [(one["prefix"], f"{one['count']:,}", one["seal"]) for one in told["series"]],
        "closing": f"Closed by {told['closed_by']} on {closed_at:%-d %B %Y, %H:%M} UTC: {told['reason']}",
    }


def digests_of_books(*, told: dict[str, Any]) -> list[tuple[str, str]]:
    """Return key and digest of the journal of each legal entity of a certificate, where there are several."""
    books = told.get("books", [])
    return [(one["legal_entity"], one["journal"]["digest"]) for one in books] if len(books) > 1 else []


def _facts(told: dict[str, Any], closed_at: datetime) -> list[tuple[str, str]]:
    journal, again = told["journal"], told["closed_before"]
    debited = " · ".join(_money(amount, code) for code, amount in sorted(journal["debited"].items()))
    evidence = told["evidence"]
    return [
        ("Closed", f"{closed_at:%-d %B %Y, %H:%M:%S} UTC by {told['closed_by']}"),
        ("Reason", told["reason"]),
        *([("Closed before", f"{again} {counted('time', again)}, and opened again by two people")] if again else []),
        ("Journal", f"{journal['entries']:,} entries, {journal['postings']:,} postings"),
        ("Debited, and credited alike", debited or "nothing"),
        *([("Chain of evidence", f"block {evidence['block']:,}, {evidence['rows']:,} rows")] if evidence else []),
    ]


def _check(one: dict[str, Any]) -> tuple[str, str, str, str]:
    if "signed_by" not in one:
        return one["title"], one["state"], one["summary"], ""
    signed_at = datetime.fromisoformat(one["signed_at"])
    signed = f"{one['reason']} ({one['signed_by']}, {signed_at:%-d %B %Y, %H:%M} UTC)"
    return one["title"], one["state"], one["summary"], signed


def _account(one: dict[str, str]) -> tuple[str, ...]:
    figures = (_money(one[name], one["currency"]) for name in ("opening", "debit", "credit", "closing"))
    return (f"{one['account']} {ACCOUNT_NAMES.get(one['account'], '')}".strip(), *figures)


def _reports(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    titles = {kind.name: kind.title for kind in REPORTS}
    # In the order of the catalogue; what it has no more comes last.
    names = [name for name in dict.fromkeys([*titles, *told]) if name in told]
    return [(titles.get(name, name), "yes" if told[name]["ties"] else "no", told[name]["file"]) for name in names]


def _money(amount: str, currency: str) -> str:
    return money_text(money=Money(amount, currency))
