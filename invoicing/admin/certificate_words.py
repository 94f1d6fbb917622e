"""A certificate as its page shows it: money as money, states as pills."""

from datetime import datetime
from typing import Any

from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display.figures import moment
from billing_site.display.pills import AMBER, BLUE, GREEN, pill
from invoicing.closing.models import MonthClose
from invoicing.core.posting import ACCOUNT_NAMES
from invoicing.reports.catalogue import REPORTS
from invoicing.workflows.certificate_document import digests_of_books

CHECK_TONES = {"green": GREEN, "shown": BLUE, "signed": BLUE, "open": AMBER}


def certificate_shown(close: MonthClose) -> dict[str, Any]:
    """Return a certificate with money as money."""
    told = close.certificate
    titles = {kind.name: kind.title for kind in REPORTS}
    return {
        **told,
        "close": close,
        "journals": digests_of_books(told=told),
        "debited": [Money(amount, code) for code, amount in sorted(told["journal"]["debited"].items())],
        "accounts": [
            {
                **one,
                "name": ACCOUNT_NAMES.get(one["account"], ""),
                **{name: Money(one[name], one["currency"]) for name in ("opening", "debit", "credit", "closing")},
            }
            for one in told["accounts"]
        ],
        "files": [
            (name, titles.get(name, name), told["reports"][name])
            # In the order of the catalogue; what it has no more comes last.
            for name in dict.fromkeys([*titles, *told["reports"]])
            if name in told["reports"]
        ],
        "checks": [
            {**one, "pill": pill(one["state"], tone=CHECK_TONES[one["state"]]), "signed_at": _moment(one)}
            for one in told["checklist"]
        ],
    }


def _moment(check: dict[str, Any]) -> SafeString | str:
    return moment(datetime.fromisoformat(check["signed_at"])) if "signed_at" in check else ""
