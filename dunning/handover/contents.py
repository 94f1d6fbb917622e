"""What stands in the file of a case that is handed over: a ZIP with claims as CSV and JSON, the invoices' PDFs, the statement and what was sent."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from billing_site.kernel.archive import zipped
from billing_site.kernel.money import total, wire
from dunning.cases.arrears import Debt, figures_of, owed
from dunning.cases.models import DunningCase
from dunning.core.calendar import local_day
from dunning.notices.models import Notice
from dunning.overdue.queries import Accrued, accrued_of
from dunning.telling import REFERENCE
from invoicing.customers.models import Customer
from invoicing.customers.portal_links import without_entry
from invoicing.invoices.models import Invoice
from invoicing.reports.asking import Question
from invoicing.reports.statement import statement_report
from invoicing.reports.tabular import report_as_csv
from invoicing.tax.models import CustomerTax
from invoicing.workflows.render_documents import rendered_document

CLAIM_COLUMNS = ("invoice", "due_date", "currency", "total", "paid", "credited", "open", "claimed", "interest_and_fees")


def file_of(*, case: DunningCase, debts: Sequence[Debt], at: datetime) -> bytes:
    """Return the file over what a case is late with at a moment; each of its parts is named with its SHA-256 in SHA256SUMS.

    It leaves the house: of what was sent, the links that open the customer's portal do not.
    """
    return zipped(parts=_parts(case, debts, at), at=at)


def _parts(case: DunningCase, debts: Sequence[Debt], at: datetime) -> Iterator[tuple[str, bytes]]:
    invoices = list(Invoice.objects.filter(pk__in=[debt.invoice_id for debt in debts]).order_by("due_date", "pk"))
    accrued = accrued_of(customer=case.customer, at=at)
    told = _told(case, debts, accrued)
    yield "case.json", json.dumps(told, ensure_ascii=False, indent=2).encode()
    yield "claims.csv", _claims(invoices, debts, accrued).encode()
    yield "statement.csv", _statement(case.customer, invoices, at).encode()
    for invoice in invoices:
        yield f"invoices/{invoice.number}.pdf", bytes(rendered_document(document=invoice, at=at).content)
    for place, notice in enumerate(_sent(case), start=1):
        assert notice.sending_at is not None, "what was sent was written down"
        head = f"Date: {notice.sending_at:%Y-%m-%d %H:%M} UTC\nTo: {notice.to_address}\nSubject: {notice.subject}\n\n"
        yield (
            f"notices/{place:02}-{notice.kind}-{notice.sending_at:%Y-%m-%d}.txt",
            (head + without_entry(text=notice.text)).encode(),
        )


def _told(case: DunningCase, debts: Sequence[Debt], accrued: Sequence[Accrued]) -> dict[str, Any]:
    customer = case.customer
    tax = CustomerTax.objects.filter(customer=customer).first()
    return {
        "case": case.pk,
        "policy": str(case.policy),
        "late_since": case.anchor_day.isoformat(),
        "creditor": {"name": customer.legal_entity.name, "address": customer.legal_entity.address},
        "debtor": {
            "key": customer.key,
            "name": customer.name,
            "address": customer.address,
            "email": customer.email,
            "country": tax.country if tax else "",
            "vat_id": tax.vat_id if tax else customer.tax_id,
        },
        "claimed": wire(owed(debts, currency=customer.currency)),
        "invoices": figures_of(debts),
        "interest_and_fees": [
            {"what": one.words, "invoice": one.about.number, **wire(one.amount), "proof": one.proof} for one in accrued
        ],
        "steps": [
            {"day": step.day, "act": step.act, "at": step.done_at.isoformat(), "outcome": step.outcome, "why": step.why}
            for step in case.steps.order_by("number")
        ],
        "promises": [
            {
                "made_at": promise.made_at.isoformat(),
                "outcome": promise.outcome,
                "instalments": [
                    {"due_date": one.due_date.isoformat(), **wire(one.amount)}
                    for one in promise.instalments.order_by("number")
                ],
            }
            for promise in case.promises.order_by("pk")
        ],
    }


def _claims(invoices: Sequence[Invoice], debts: Sequence[Debt], accrued: Sequence[Accrued]) -> str:
    claimed = {debt.invoice_id: debt.amount for debt in debts}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(CLAIM_COLUMNS)
    for invoice in invoices:
        beside = [one.amount for one in accrued if one.about.pk == invoice.pk]
        amounts = (
            *(invoice.total, invoice.amount_paid, invoice.amount_credited, invoice.amount_due),
            *(claimed[invoice.pk], total(beside, invoice.currency)),
        )
        told = [wire(one)["amount"] for one in amounts]
        writer.writerow([invoice.number, invoice.due_date, invoice.currency, *told])
    return out.getvalue()


def _statement(customer: Customer, invoices: Sequence[Invoice], at: datetime) -> str:
    """Return the customer's statement from the first of the invoices until now."""
    today = local_day(at=at, zone=ZoneInfo("UTC"))
    issued = [invoice.issued_at for invoice in invoices if invoice.issued_at is not None]
    start = min((local_day(at=one, zone=ZoneInfo("UTC")) for one in issued), default=today)
    question = Question(as_of=today, start=start, end=today, currency=customer.currency, customer=customer)
    return report_as_csv(report=statement_report(question=question))


def _sent(case: DunningCase) -> Sequence[Notice]:
    sent = Notice.objects.filter(customer=case.customer, state="sent", reference__startswith=REFERENCE)
    return list(sent.filter(planned_at__gte=case.opened_at).order_by("sending_at", "pk"))
