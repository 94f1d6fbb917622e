"""Tell a customer: the one place from which dunning plans a notice."""

from collections.abc import Sequence
from datetime import date, datetime

from dunning.core.notice_kinds import NoticeKind
from dunning.notices.outbox import plan_notice
from invoicing.customers.models import Customer

# What the references of dunning's notices begin with.
REFERENCE = "dunning:"
OF_AN_INSTALMENT = "instalment:"


def tell(
    *,
    customer: Customer,
    kind: NoticeKind,
    reference: str,
    invoice_ids: Sequence[int],
    acts_on: date | None,
    at: datetime,
) -> None:
    """Plan a notice in the caller's transaction, once per reference; it is read again, and dropped where nothing is owed, before it is sent."""
    plan_notice(
        customer=customer,
        kind=kind,
        reference=f"{REFERENCE}{reference}",
        invoice_ids=invoice_ids,
        acts_on=acts_on,
        at=at,
    )
