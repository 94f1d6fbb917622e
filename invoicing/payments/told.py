"""What Stripe is told: of a customer, once and again when it has changed, and of an invoice the lines and when it is due."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from billing_site.kernel.digest import digest_of
from billing_site.kernel.period import Period, as_utc
from invoicing.customers.models import Customer
from invoicing.invoices.consumers import account_of, with_consumers
from invoicing.invoices.models import STATED, Invoice, InvoiceKind, InvoiceLine
from invoicing.invoices.taxes import tax_sums
from invoicing.payments import gateway
from invoicing.payments.locks import only_worker
from invoicing.payments.models import PushIntent, StripeCustomer
from invoicing.payments.operations import record_failure
from invoicing.payments.remote import CardDeclined, GatewayBusy, NewLine

# Of a line at Stripe.
DESCRIPTION_MAX = 500


def lock_of_customer(*, customer_id: int) -> str:
    """Return the name of the lock of whoever tells Stripe about a customer."""
    return f"customer {customer_id} at Stripe"


def told_digest(*, customer: Customer, payment_method: str | None = None) -> str:
    """Return a digest of what Stripe is told about a customer, with this payment method or its own: another one is told again."""
    method = customer.payment_method if payment_method is None else payment_method
    told = {"name": customer.name, "email": customer.email, "payment_method": method}
    return digest_of({**told, "key": customer.key, "since": customer.created_at.astimezone(UTC).isoformat()})


def key_of_customer(*, digest: str, retry_count: int = 0, key_round: int = 0) -> str:
    """Return the idempotency key of whoever makes a customer at Stripe: of all who do it at this moment the same."""
    return f"customer:{digest}:{retry_count}:{key_round}"


def told_customer(intent: PushIntent, *, at: datetime, key_round: int = 0) -> StripeCustomer:
    """Return Stripe's customer, told what has changed here since the last time, with keys of this round.

    Where the bank refuses the payment method the refusal is recorded and the customer goes without one. Raises GatewayBusy while somebody else
    tells Stripe of this customer.
    """
    customer = intent.invoice.customer
    known = StripeCustomer.objects.filter(customer=customer).first()
    if known and known.told_digest == told_digest(customer=customer):
        return known
    with only_worker(lock_of_customer(customer_id=customer.pk)) as alone:
        if not alone:
            raise GatewayBusy("Stripe is being told of this customer at this moment.", retry_after_seconds=1)
        customer.refresh_from_db()
        return _told(intent, customer, at=at, key_round=key_round)


def _told(intent: PushIntent, customer: Customer, *, at: datetime, key_round: int) -> StripeCustomer:
    known = StripeCustomer.objects.filter(customer=customer).first()
    digest = told_digest(customer=customer)
    if known and known.told_digest == digest:
        return known
    # Not the intent's key: two invoices of a new customer may be pushed at the same time.
    key = key_of_customer(digest=digest, retry_count=intent.retry_count, key_round=key_round)
    stripe_id = known.stripe_id if known else ""
    payment_method = customer.payment_method
    try:
        stripe_id = _ensure_customer(customer, payment_method, known_as=stripe_id, key=key)
    except CardDeclined as declined:
        stripe_id = _ensure_customer(customer, "", known_as=stripe_id, key=key)
        payment_method = ""
        record_failure(
            invoice_id=intent.invoice_id,
            reference=f"{intent.key}:payment_method",
            code=declined.decline_code or declined.code,
            message=declined.message,
            occurred_at=at,
        )
    return StripeCustomer.objects.update_or_create(
        customer=customer,
        defaults={"stripe_id": stripe_id, "told_digest": digest, "payment_method": payment_method},
    )[0]


def _ensure_customer(customer: Customer, payment_method: str, *, known_as: str, key: str) -> str:
    return gateway.ensure_customer(
        reference=customer.key,
        name=customer.name,
        email=customer.email,
        payment_method=payment_method,
        known_as=known_as,
        idempotency_key=key,
    )


def due_at_stripe(invoice: Invoice, *, at: datetime) -> datetime:
    """Return the end of the due date where the customer is; Stripe takes no past one, so not before tomorrow's end."""
    assert invoice.due_date, "an issued invoice has a due date"
    zone = ZoneInfo(invoice.timezone)
    last_day = max(invoice.due_date, at.astimezone(zone).date() + timedelta(days=1))
    return datetime.combine(last_day + timedelta(days=1), time(), zone)


def new_lines(invoice: Invoice) -> list[NewLine]:
    """Return the invoice's lines in their order, then the tax of each rate that comes on top; those over nothing stay here."""
    lines = [
        NewLine(
            amount=line.amount,
            description=_described(line),
            period=None if line.kind in STATED else Period(as_utc(line.service_start), as_utc(line.service_end)),
        )
        for line in with_consumers(invoice.lines.order_by("position"))
        if line.amount.amount
    ]
    # A one-off invoice bills no period.
    is_of_period = invoice.kind == InvoiceKind.PERIOD
    period = Period(as_utc(invoice.period_start), as_utc(invoice.period_end)) if is_of_period else None
    return lines + [
        NewLine(amount=row.amount, description=row.text, period=period)
        for row in tax_sums(invoice=invoice)
        if row.amount.amount and not row.inclusive
    ]


def _described(line: InvoiceLine) -> str:
    """Return what a line is called at Stripe, which knows no sections: one of an account begins with its name."""
    account = account_of(line=line)
    if not account:
        return line.description
    return f"{(line.invoice.accounts or {}).get(account, account)}: {line.description}"[:DESCRIPTION_MAX]
