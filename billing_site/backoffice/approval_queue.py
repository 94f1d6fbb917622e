"""What waits for a second person: what the reader could approve, and what he asks others for."""

from collections.abc import Callable, Iterable
from datetime import datetime

from django.db.models import F
from moneyed import Money

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.queries import REFUSED_FOR, approvals_to_give, own_requests, refused_lately
from invoicing.gate.models import InvoiceHold
from invoicing.invoices.models import Invoice
from invoicing.payments.models import Payment
from invoicing.run_proposals.queries import open_signed_runs
from invoicing.workflows.ask_first import asked_amount

OF_INVOICES = (ApprovedDeed.CREDIT_NOTE, ApprovedDeed.WRITE_OFF, ApprovedDeed.VOID)


def approval_queues(*, name: str, allowed: Callable[[str], bool], at: datetime) -> list[WorkQueue]:
    """Return what this person could approve, what he asks for and others decide or refused, and signed runs where he sees runs; `allowed` says what he may."""
    return [
        _queue(
            "Approvals to give",
            link="state=mine",
            empty="A billing run that somebody proposes, a large release, or a month to be opened again stands here until somebody else signs or refuses it.",
            waiting=list(approvals_to_give(name=name, allowed=allowed)),
        ),
        _queue(
            "Your requests that wait for others",
            link="state=asked",
            empty="What takes two people and you have asked for stands here until somebody else approves or refuses it.",
            waiting=list(own_requests(name=name)),
        ),
        _queue(
            "Refused, yours to read",
            link="state=refused_lately",
            empty="What you asked for and somebody else refused stands here for a week, or until you ask again.",
            waiting=list(refused_lately(name=name, since=at - REFUSED_FOR)),
        ),
        *([_runs_queue()] if allowed("invoicing.view_runproposal") else []),
    ]


def _runs_queue() -> WorkQueue:
    """Return the runs that are signed, and whose issue nobody asked for, or was refused because a figure differed."""
    runs = open_signed_runs()
    refused = [run.refusal for run in runs if run.refusal]
    told = [*(f"not issued: {refusal}" for refusal in refused[:1])]
    if waiting := len(runs) - len(refused):
        told.append(f"{waiting} signed, and not issued")
    return WorkQueue(
        name="Signed runs not issued",
        link=admin_list("runproposal"),
        empty="A billing run stands here from its signature until it is issued as it was signed.",
        count=len(runs),
        oldest=min((run.proposed_at for run in runs), default=None),
        why="; ".join(told)[:200],
    )


def _queue(title: str, *, link: str, empty: str, waiting: list[Approval]) -> WorkQueue:
    more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return WorkQueue(
        name=title,
        link=admin_list("approval", link),
        empty=empty,
        count=len(waiting),
        oldest=waiting[0].requested_at if waiting else None,
        money=_money_of(waiting),
        why=f"{waiting[0]}{more}" if waiting else "",
    )


def _money_of(waiting: Iterable[Approval]) -> tuple[Money, ...]:
    """Add up what is asked for, by currency: credit notes, write-offs, releases and reversals, which are over an amount."""
    numbers = [(ApprovedDeed(one.deed), int(one.subject.rpartition(" ")[2]), one) for one in waiting]
    credited = [(number, one) for deed, number, one in numbers if deed in OF_INVOICES]
    released = [number for deed, number, _ in numbers if deed is ApprovedDeed.RELEASE]
    taken_back = [number for deed, number, _ in numbers if deed is ApprovedDeed.PAYMENT_REVERSAL]
    invoices = Invoice.objects.in_bulk([number for number, _ in credited])
    amounts = [asked_amount(one, currency=invoices[number].currency) for number, one in credited]
    return amounts_by_currency(
        [
            *({"currency": amount.currency.code, "amount": amount.amount} for amount in amounts),
            *InvoiceHold.objects.filter(pk__in=released).values("currency", amount=F("total")),
            *Payment.objects.filter(pk__in=taken_back).values("currency", "amount"),
        ]
    )
