"""Words for tests of notices."""

from datetime import UTC, date, datetime
from typing import Any

from django.db import transaction

from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import Words
from dunning.notices.models import Notice
from dunning.notices.outbox import plan_notice
from dunning.notices.sending import send_notice
from dunning.notices.template_operations import ask_for_approval, decide_version, draft_version
from dunning.notices.templates import TemplateVersion, VersionState
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from tests.factories import a_customer
from tests.invoicing.selling import item, once

NOW = datetime(2026, 9, 1, 9, tzinfo=UTC)
ACTS_ON = date(2026, 9, 8)
PLAIN = Words(subject="{total} is open", body="Please pay {total}.\n\n{payment_link}\n\n{invoices}", button="Pay")


def an_open_invoice(key: str = "cust_acme", *, amount: str = "120", currency: str = "USD", **fields: Any) -> Invoice:
    """An issued invoice of a new customer, which is not paid."""
    customer = a_customer(key, **({"currency": currency} | fields))
    return once(customer, item(amount, currency=currency), key=f"first-of-{key}")


def another_invoice(customer: Customer, *, amount: str = "30", key: str = "second") -> Invoice:
    """One more issued invoice of a customer."""
    return once(customer, item(amount, currency=customer.currency), key=key)


def planned(
    *invoices: Invoice,
    kind: NoticeKind = NoticeKind.REMINDER,
    reference: str = "case 1, step 1",
    acts_on: date | None = ACTS_ON,
    at: datetime = NOW,
) -> Notice:
    """A notice about invoices of one customer."""
    with transaction.atomic():
        return plan_notice(
            customer=invoices[0].customer,
            kind=kind,
            reference=reference,
            invoice_ids=[invoice.pk for invoice in invoices],
            acts_on=acts_on,
            at=at,
        )


def sent(notice: Notice, *, at: datetime = NOW) -> Notice:
    """The notice after its job has run."""
    return send_notice(notice_id=notice.pk, at=at)


def approved(
    words: Words, *, kind: NoticeKind = NoticeKind.REMINDER, language: str = "en", at: datetime = NOW
) -> TemplateVersion:
    """Words that Fiona of Finance has drafted and Lena of Legal has approved."""
    version = draft_version(kind=kind, language=language, words=words, at=at, actor="fiona", reason="our own tone")
    ask_for_approval(version_id=version.pk, at=at, actor="fiona", reason="please look")
    return decide_version(
        version_id=version.pk, state=VersionState.APPROVED, seen=words, at=at, actor="lena", reason="fine"
    )
