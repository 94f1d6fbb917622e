"""A service that charges customers itself reports that a payment failed: the refusal is recorded once, and dunning begins (S1-020, S1-101)."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidInput
from dunning.cases.models import DunningCase
from dunning.cases.operations import open_case, steps_to_come
from dunning.core.calendar import Planned
from dunning.core.case_life import LIVE
from invoicing.customers.queries import customer_by_key
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.printed_text import money_text
from invoicing.payments.operations import record_failure

COUNT_MAX = 1_000
# No bank said why.
REPORTED = "reported_by_service"


@dataclass(frozen=True)
class Reported:
    """What came of a report: the invoice, whether the refusal is new, the customer's case (None: too little is late) and its next step."""

    invoice: Invoice
    is_new: bool
    case: DunningCase | None
    next_step: Planned | None


@transaction.atomic
def report_failed_payment(*, tenant: str, failure_count: int, amount: Money, at: datetime) -> Reported:
    """Record that charging a customer over an amount failed for the n-th time, and open its case; the same count again changes nothing.

    The invoice is the oldest one of who pays for the customer of which exactly that is open. Raises NotFound (tenant_id), InvalidInput, and
    Conflict where no open invoice is over that amount: it may be paid by now (S1-044).
    """
    customer = customer_by_key(key=tenant, field="tenant_id").payer
    if not 1 <= failure_count <= COUNT_MAX:
        raise InvalidInput(f"must be from 1 to {COUNT_MAX}", field="failure_count")
    if amount.currency.code != customer.currency:
        raise InvalidInput(f"invoices of this customer are in {customer.currency}", field="invoice_amount")
    issued = Invoice.objects.filter(customer=customer, status=InvoiceStatus.ISSUED).order_by("due_date", "pk")
    invoice = next((one for one in issued if one.amount_due == amount), None)
    if invoice is None:
        raise Conflict(f"no open invoice is over {money_text(money=amount)}: it may be paid", field="invoice_amount")
    _, is_new = record_failure(
        invoice_id=invoice.pk,
        reference=f"reported:{invoice.pk}:{failure_count}",
        code=REPORTED,
        message=f"A service reports failed payment {failure_count}.",
        occurred_at=at,
    )
    open_case(customer_id=customer.pk, at=at)
    live = DunningCase.objects.filter(customer=customer, state__in=LIVE).select_related("customer", "policy")
    case = live.first()
    ahead = steps_to_come(case=case) if case else []
    return Reported(invoice, is_new, case, ahead[0] if ahead else None)
