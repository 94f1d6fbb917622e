"""What keeps dunning of a customer from going on at a moment."""

from collections.abc import Collection
from datetime import date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db.models import F, Q, QuerySet, Sum
from moneyed import Money

from billing_site.kernel.among import among
from billing_site.kernel.money import round_money, total
from billing_site.kernel.written_query import WrittenQuery
from dunning.arrangements.models import Hold, Instalment, Promise
from dunning.cases.models import DunningCase
from dunning.core.calendar import local_day, local_moment
from dunning.core.case_life import CaseState
from invoicing.bank.queries import money_on_account, on_account_of
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, Objection
from invoicing.invoices.printed_text import money_text
from invoicing.payments.models import Payment


def holds_at(*, at: datetime) -> "QuerySet[Hold]":
    """Return the holds that are in force at a moment."""
    return Hold.objects.filter(Q(until=None) | Q(until__gt=at), starts_at__lte=at, ended_at=None)


def hold_of(*, customer_id: int, at: datetime) -> Hold | None:
    """Return a hold of a customer at a moment, or None."""
    found = _HOLD.rows(customer=customer_id, at=at)
    return Hold.objects.get(pk=found[0][0]) if found else None


# Asked before each act, and mostly in vain: written once.
_HOLD = WrittenQuery(
    lambda customer, at: holds_at(at=at).filter(customer=customer).order_by("starts_at", "id").values_list("pk")[:1],
    customer=int,
    at=datetime,
)


def money_held(*, customer: Customer) -> Money | None:
    """Return what a customer has on account with us in its currency, None for nothing: that is applied before anybody is chased."""
    return on_account_of(customer_id=customer.pk).get(customer.currency)


def all_money_held(*, customers: Collection[int]) -> dict[int, Money]:
    """Return the same of each of the customers who has something on account in its currency, by its number; one query."""
    found: dict[int, Decimal] = {}
    currencies: dict[int, str] = {}
    for customer, rest, currency in _HELD_OF.rows(customers=list(customers)) if customers else ():
        found[customer] = found.get(customer, Decimal(0)) + rest
        currencies[customer] = currency
    return {customer: round_money(amount, currencies[customer]) for customer, amount in found.items()}


# Each sweep asks it twice: written once.
_HELD_OF = WrittenQuery(
    lambda customers: (
        money_on_account()
        .filter(among("customer", customers), currency=F("customer__currency"))
        .values_list("customer", "rest", "currency")
    ),
    customers=list,
)


def objected_to(*, invoice_ids: Collection[int]) -> set[int]:
    """Return those of the invoices of which a part is objected to and nobody has decided yet."""
    return {number for (number,) in _OBJECTED.rows(invoices=list(invoice_ids))} if invoice_ids else set()


_OBJECTED = WrittenQuery(
    lambda invoices: Objection.objects.filter(among("invoice", invoices), ended_at=None).values_list("invoice"),
    invoices=list,
)


def open_promises() -> "QuerySet[Promise]":
    """Return the promises of which nobody knows yet whether they are kept."""
    return Promise.objects.filter(ended_at=None).order_by("id")


def open_promise(*, case_id: int) -> Promise | None:
    """Return the promise that a case waits for, or None."""
    found = _PROMISE.rows(case=case_id)
    return Promise.objects.get(pk=found[0][0]) if found else None


_PROMISE = WrittenQuery(lambda case: open_promises().filter(case=case).values_list("pk")[:1], case=int)


def paid_since(*, promise: Promise, currency: str, zone: ZoneInfo) -> Money:
    """Return what was paid for the invoices of a promise since it was made, and was not taken back.

    A bank tells only the day: what came on the day of the promise, and was heard of after it, counts.
    """
    began = _began(promise=promise, zone=zone)
    since = Q(received_at__gte=promise.made_at) | Q(received_at__gte=began, recorded_at__gte=promise.made_at)
    paid = Payment.objects.filter(since, invoice__in=promise.invoices, currency=currency, reversal__isnull=True)
    return round_money(paid.aggregate(amount=Sum("amount"))["amount"] or Decimal(0), currency)


def days_of_promises(*, cases: Collection[int]) -> dict[int, date]:
    """Return the day of the instalment that each open promise waits for, by its case; three queries for all of them."""
    return {case_id: one.due_date for case_id, (one, _) in instalments_waited_for(cases=cases).items()}


def instalments_waited_for(*, cases: Collection[int]) -> dict[int, tuple[Instalment, Money]]:
    """Return the instalment that each open promise waits for and what is missing until its day, by its case: as `paid_since` counts, in three queries."""
    promises = open_promises().filter(case__in=cases).select_related("case__customer").prefetch_related("instalments")
    about = {invoice for promise in promises for invoice in promise.invoices}
    payments = list(Payment.objects.filter(invoice__in=about, reversal__isnull=True))
    found = {}
    for promise in promises:
        customer = promise.case.customer
        began = _began(promise=promise, zone=ZoneInfo(customer.timezone))
        paid = [
            one.amount
            for one in payments
            if one.invoice_id in promise.invoices
            and one.currency == customer.currency
            and one.received_at >= (promise.made_at if one.recorded_at < promise.made_at else began)
        ]
        rest = total(paid, customer.currency)
        for instalment in sorted(promise.instalments.all(), key=lambda one: one.number):
            rest -= instalment.amount
            if rest.amount < 0:
                found[promise.case_id] = instalment, -rest
                break
    return found


def paid_for(*, promise: Promise) -> Money:
    """Return what was paid for a promise since it was made, where its customer is."""
    customer = promise.case.customer
    return paid_since(promise=promise, currency=customer.currency, zone=ZoneInfo(customer.timezone))


def _began(*, promise: Promise, zone: ZoneInfo) -> datetime:
    return local_moment(day=local_day(at=promise.made_at, zone=zone), hour=time(), zone=zone)


def promised_until(*, instalment: Instalment) -> Money:
    """Return what was promised until the day of an instalment, with those before it."""
    earlier = Instalment.objects.filter(promise=instalment.promise_id, number__lte=instalment.number)
    return total((one.amount for one in earlier), instalment.currency)


def still_to_pay(*, instalment_id: int) -> Money:
    """Return what is to be paid by the day of an instalment, what came since the promise taken off; nothing where all of it came."""
    instalment = Instalment.objects.select_related("promise__case__customer").get(pk=instalment_id)
    rest = promised_until(instalment=instalment) - paid_for(promise=instalment.promise)
    return max(rest, round_money(Decimal(0), instalment.currency))


def why_not_charged(*, invoice: Invoice, at: datetime) -> str:
    """Return what is against charging an invoice; "": nothing.

    That is a hold, a promise, a case that people have, money that we hold, an objection to a part, since Stripe charges all of it.
    """
    hold = hold_of(customer_id=invoice.customer_id, at=at)
    if hold is not None:
        return f"held: {hold}"
    if open_promises().filter(case__customer=invoice.customer_id).exists():
        return "the customer has promised to pay"
    if DunningCase.objects.filter(customer=invoice.customer_id, state=CaseState.HANDED_OVER).exists():
        return "its customer's case is handed over: people collect it"
    held = money_held(customer=invoice.customer)
    if held is not None:
        return f"money on account: {money_text(money=held)} are to be applied first"
    if Objection.objects.filter(invoice=invoice, ended_at=None).exists():
        return "the customer objects to a part of it"
    return ""
