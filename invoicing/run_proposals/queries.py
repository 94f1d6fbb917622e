"""Which proposed runs are signed and wait to be issued, and what of one has been issued otherwise."""

from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from billing_site.kernel.period import as_utc
from billing_site.kernel.words import counted
from invoicing.approvals.models import Decision
from invoicing.core.invoice_life import STANDING
from invoicing.invoices.models import Invoice, InvoiceKind
from invoicing.run_proposals.models import ISSUED, RunProposal


def open_signed_runs() -> list[RunProposal]:
    """Return the runs that are signed as they are and not issued, nor being issued, unless a later one that is issued or signed bills as much."""
    later = RunProposal.objects.filter(
        Q(committed_at__isnull=False) | Q(approval__decision=Decision.APPROVED),
        pk__gt=OuterRef("pk"),
        as_of__gte=OuterRef("as_of"),
    )
    waits = Q(asked_at=None) | Q(asked_at__lt=F("approval__decided_at")) | ~Q(refusal="")
    return list(_signed().filter(waits).exclude(Exists(later)).order_by("id"))


def issued_since(*, proposal: RunProposal) -> str:
    """Say how many of the invoices that an open proposal would issue have been issued otherwise meanwhile; "" where none was."""
    if proposal.committed_at is not None or proposal.figures is None:
        return ""
    due = {
        (row["customer"], datetime.fromisoformat(row["period_start"]))
        for row in proposal.figures["rows"]
        if row["state"] == ISSUED
    }
    rows = Invoice.objects.filter(
        kind=InvoiceKind.PERIOD,
        status__in=STANDING,
        customer__key__in={key for key, _ in due},
        period_start__in={start for _, start in due},
    )
    number = len(due & set(rows.values_list("customer__key", "period_start")))
    return (
        f"{number:,} of {len(due):,} {counted('invoice', len(due))} {'has' if number == 1 else 'have'} been issued"
        if number
        else ""
    )


def signed_run_with(*, draft: Invoice) -> RunProposal | None:
    """Return the run that is signed with this draft in it and can be issued as it is: issued alone, the draft would make it another."""
    row = {
        "customer": draft.customer.key,
        "period_start": as_utc(draft.period_start).isoformat(),
        "state": ISSUED,
    }
    signed = _signed().filter(refusal="", figures__rows__contains=[row])
    return next((one for one in signed.order_by("-id") if not issued_since(proposal=one)), None)


def _signed() -> "QuerySet[RunProposal]":
    """Return the runs that are not issued and are signed as they are."""
    return RunProposal.objects.filter(
        committed_at=None, approval__decision=Decision.APPROVED, approval__digest=F("figures_digest")
    )
