"""What people arrange with a customer: holds, objections, promises to pay; each begins and ends with who and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.money import is_rounded, total
from billing_site.kernel.reasons import checked_reason
from dunning.arrangements.models import Hold, HoldKind, Instalment, Promise, PromiseOutcome
from dunning.cases.arrears import locked_debts, owed
from dunning.cases.operations import lock_case
from dunning.core.calendar import local_day
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.invoices.models import Invoice, InvoiceStatus, Objection
from invoicing.invoices.printed_text import money_text

INSTALMENTS_MAX = 24
# Nobody is left alone for longer by one promise.
PROMISED_DAYS_MAX = 366


@dataclass(frozen=True)
class NewInstalment:
    """What is promised until the end of a day."""

    due_date: date
    amount: Money


@transaction.atomic
def hold_dunning(
    *, customer: Customer, kind: str, until: datetime | None, at: datetime, actor: str, reason: str
) -> Hold:
    """Do nothing about a customer from now on, until a moment or until it is lifted. Raises InvalidInput, Conflict."""
    said = checked_reason(reason=reason)
    if kind not in HoldKind.values:
        raise InvalidInput(f"must be one of {', '.join(HoldKind.values)}", field="kind")
    if until is not None and until <= at:
        raise InvalidInput("a hold ends later than it begins", field="until")
    # Whoever takes a step holds the same lock: it is taken before the hold, or not at all.
    customer = lock_customer(customer_id=customer.pk)
    if customer.billed_to_id is not None:
        raise Conflict(f"{customer} is billed to another customer: hold that", field="customer")
    return Hold.objects.create(customer=customer, kind=kind, starts_at=at, until=until, actor=actor, reason=said)


@transaction.atomic
def lift_hold(*, hold_id: int, at: datetime, actor: str, reason: str) -> Hold:
    """Lift a hold: what was due meanwhile is done from now on, at the same distances. The same a second time is the one that was lifted."""
    said = checked_reason(reason=reason)
    held = Hold.objects.filter(pk=hold_id).values_list("customer", flat=True).first()
    if held is None:
        raise NotFound("there is no such hold", field="hold")
    lock_customer(customer_id=held)
    hold = Hold.objects.select_for_update().get(pk=hold_id)
    if hold.ended_at is None:
        hold.ended_at, hold.ended_by, hold.ended_because = max(at, hold.starts_at), actor, said
        hold.save(update_fields=["ended_at", "ended_by", "ended_because"])
    return hold


@transaction.atomic
def object_to(*, invoice_id: int, amount: Money, at: datetime, actor: str, reason: str) -> Objection:
    """Leave a part of an invoice alone until it is decided about; the rest of it is chased. Raises InvalidInput, NotFound, Conflict."""
    said = checked_reason(reason=reason)
    owing = Invoice.objects.filter(pk=invoice_id).values_list("customer", flat=True).first()
    if owing is None:
        raise NotFound("there is no such invoice", field="invoice")
    # First, as whoever takes a step: what it reads of objections stays so until it is done.
    lock_customer(customer_id=owing)
    invoice = Invoice.objects.select_for_update(no_key=True).get(pk=invoice_id)
    if invoice.status != InvoiceStatus.ISSUED:
        raise Conflict(f"{invoice} is not open: nothing of it is chased", field="invoice")
    if amount.currency.code != invoice.currency or not is_rounded(amount) or not amount.amount > 0:
        raise InvalidInput(f"must be an amount of whole minor units of {invoice.currency}", field="amount")
    if amount > invoice.amount_due:
        raise InvalidInput(f"only {money_text(money=invoice.amount_due)} are open of {invoice}", field="amount")
    if Objection.objects.filter(invoice=invoice, ended_at=None).exists():
        raise Conflict(f"{invoice} is objected to already: decide that first", field="invoice")
    return Objection.objects.create(
        invoice=invoice, currency=invoice.currency, amount=amount, opened_at=at, actor=actor, reason=said
    )


@transaction.atomic
def decide_objection(*, objection_id: int, at: datetime, actor: str, reason: str) -> Objection:
    """End an objection: what is still open of its invoice is chased again, from its first step on where its case was closed."""
    said = checked_reason(reason=reason)
    owing = Objection.objects.filter(pk=objection_id).values_list("invoice__customer", flat=True).first()
    if owing is None:
        raise NotFound("there is no such objection", field="objection")
    lock_customer(customer_id=owing)
    objection = Objection.objects.select_for_update().get(pk=objection_id)
    if objection.ended_at is None:
        objection.ended_at, objection.ended_by, objection.ended_because = max(at, objection.opened_at), actor, said
        objection.save(update_fields=["ended_at", "ended_by", "ended_because"])
    return objection


@transaction.atomic
def promise_to_pay(
    *, case_id: int, instalments: Sequence[NewInstalment], at: datetime, actor: str, reason: str
) -> Promise:
    """Let the steps of a case wait for what its customer has promised to pay, at once or in instalments.

    The amounts come to what is late: whoever promises a part is still late with the rest. Raises InvalidInput, Conflict.
    """
    said = checked_reason(reason=reason)
    case = lock_case(case_id=case_id)
    if not case.is_live:
        raise Conflict("the case is closed: nothing is promised", field="case")
    if Promise.objects.filter(case=case, ended_at=None).exists():
        raise Conflict("there is a promise already: withdraw it first", field="case")
    debts = locked_debts(customer_id=case.customer_id, at=at)
    late = owed(debts, currency=case.customer.currency)
    today = local_day(at=at, zone=ZoneInfo(case.customer.timezone))
    _check(instalments, late=late, today=today)
    promise = Promise.objects.create(
        case=case, invoices=[debt.invoice_id for debt in debts], made_at=at, actor=actor, reason=said
    )
    Instalment.objects.bulk_create(
        Instalment(
            promise=promise, number=number, due_date=one.due_date, currency=one.amount.currency.code, amount=one.amount
        )
        for number, one in enumerate(instalments, start=1)
    )
    return promise


def _check(instalments: Sequence[NewInstalment], *, late: Money, today: date) -> None:
    currency = late.currency.code
    if not 1 <= len(instalments) <= INSTALMENTS_MAX:
        raise InvalidInput(f"promise 1 to {INSTALMENTS_MAX} amounts", field="instalments")
    days = [one.due_date for one in instalments]
    if days != sorted(set(days)) or days[0] < today:
        raise InvalidInput("the days run from today on, each once", field="instalments")
    if days[-1] > today + timedelta(days=PROMISED_DAYS_MAX):
        raise InvalidInput(f"the last day is at most {PROMISED_DAYS_MAX} days away", field="instalments")
    if any(
        one.amount.currency.code != currency or one.amount.amount <= 0 or not is_rounded(one.amount)
        for one in instalments
    ):
        raise InvalidInput(f"amounts are whole minor units of {currency}", field="instalments")
    promised = total((one.amount for one in instalments), currency)
    if promised != late:
        come_to, owing = money_text(money=promised), money_text(money=late)
        raise InvalidInput(f"the amounts come to {come_to}, and {owing} are late", field="instalments")


@transaction.atomic
def withdraw_promise(*, promise_id: int, at: datetime, actor: str, reason: str) -> Promise:
    """Wait for a promise no longer; the same a second time is the one that ended. Raises NotFound."""
    return end_promise(
        promise_id=promise_id,
        outcome=PromiseOutcome.WITHDRAWN,
        at=at,
        actor=actor,
        reason=checked_reason(reason=reason),
    )


@transaction.atomic
def end_promise(*, promise_id: int, outcome: str, at: datetime, actor: str, reason: str) -> Promise:
    """Say what became of a promise, once."""
    promise = Promise.objects.select_for_update().filter(pk=promise_id).first()
    if promise is None:
        raise NotFound("there is no such promise", field="promise")
    if promise.ended_at is None:
        promise.outcome, promise.ended_at = outcome, max(at, promise.made_at)
        promise.ended_by, promise.ended_because = actor, reason
        promise.save(update_fields=["outcome", "ended_at", "ended_by", "ended_because"])
    return promise
