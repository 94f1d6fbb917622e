"""Charge cards again when it makes sense: by why the bank refused, and at once when the customer has given another card."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import transaction

from billing_site.kernel.among import among
from billing_site.kernel.written_query import WrittenObjects, WrittenQuery
from dunning.arrangements.queries import (
    all_money_held,
    hold_of,
    holds_at,
    money_held,
    objected_to,
    open_promise,
    open_promises,
)
from dunning.cases.arrears import Debt, locked_debts
from dunning.cases.models import SWEEP, DunningCase
from dunning.cases.operations import lock_case
from dunning.core.case_life import CaseState
from dunning.core.retries import DECLINE_WORDS, Refusal, decline_kind, next_try
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.charging import plan_charge
from invoicing.payments.models import PaymentFailure, PushIntent, PushStatus

# Once a case is handed over people collect it: a card that is charged besides would pay twice.
CHARGED_IN = (CaseState.OPEN, CaseState.EXHAUSTED)
# Says which other means of payment a customer has given since a refusal, "" for none.
OtherCard = Callable[[Customer, PaymentFailure], str]


def retries_due(*, debts: Mapping[int, Sequence[Debt]], at: datetime) -> dict[int, list[int]]:
    """Return the invoices whose next try has come and is not planned yet, by their case, unless people have it; the number of queries does not grow with them."""
    refused = {
        customer_id: refused_here
        for customer_id, late in debts.items()
        if (refused_here := [debt.invoice_id for debt in late if debt.refusal and not debt.is_under_way])
    }
    if not refused:
        return {}
    cases = _CHARGED_CASES.all(customers=list(refused))
    if not cases:
        return {}
    held = {number for (number,) in _HELD.rows(customers=list(refused), at=at)}
    held |= all_money_held(customers=refused).keys()
    promised = {number for (number,) in _PROMISED.rows()}
    going_on = [case for case in cases if case.customer_id not in held and case.pk not in promised]
    numbers = [number for case in going_on for number in refused[case.customer_id]]
    if not numbers:
        return {}
    chargeable = {number for (number,) in _PUSHED.rows(invoices=numbers)} - objected_to(invoice_ids=numbers)
    refusals = _refusals(chargeable, at=at)
    # Only of whom one may be charged the cards are read: of many years that is much.
    another = _other_cards(
        [case.customer_id for case in going_on if not chargeable.isdisjoint(refused[case.customer_id])]
    )
    tries = {
        number: tried
        for case in going_on
        for number in refused[case.customer_id]
        if number in chargeable
        and (tried := _next_try(case, refusals[number], another(case.customer, refusals[number][-1]), at=at))
    }
    if not tries:
        return {}
    known = ChargeAttempt.objects.filter(reference__in=[reference for reference, _ in tries.values()])
    planned = set(known.values_list("reference", flat=True))
    found = {
        case.pk: [one for one in refused[case.customer_id] if one in tries and tries[one][0] not in planned]
        for case in going_on
    }
    return {case_id: invoice_ids for case_id, invoice_ids in found.items() if invoice_ids}


# Each sweep asks them: written once.
_CHARGED_CASES = WrittenObjects(
    lambda customers: (
        DunningCase.objects.filter(among("customer", customers), state__in=CHARGED_IN)
        .select_related("customer", "policy")
        .order_by("pk")
    ),
    customers=list,
)
_HELD = WrittenQuery(
    lambda customers, at: holds_at(at=at).filter(among("customer", customers)).values_list("customer"),
    customers=list,
    at=datetime,
)
_PROMISED = WrittenQuery(lambda: open_promises().values_list("case"))
_PUSHED = WrittenQuery(
    lambda invoices: PushIntent.objects.filter(among("invoice", invoices), status=PushStatus.PUSHED).values_list(
        "invoice"
    ),
    invoices=list,
)
_CARDS = WrittenQuery(
    lambda customers: (
        Customer.history.model.objects.filter(among("id", customers))  # type: ignore[attr-defined]
        .order_by("history_id")
        .values_list("id", "history_date", "payment_method")
    ),
    customers=list,
)


def plan_retries(*, case_id: int, invoice_ids: Collection[int], at: datetime) -> int:
    """Plan to charge late invoices of a case again whose next try has come, each refusal once, also after its last step, but not once people have it; returns how many are new or known.

    What is late is read again, locked: what was paid meanwhile is not charged.
    """
    with transaction.atomic():
        case = lock_case(case_id=case_id)
        if case.state not in CHARGED_IN or _waits(case, at=at):
            return 0
        # The whole invoice would be charged, and a part of it is objected to.
        objected = objected_to(invoice_ids=invoice_ids)
        late = [debt.invoice_id for debt in locked_debts(customer_id=case.customer_id, at=at) if not debt.is_under_way]
        wanted = [number for number in late if number in invoice_ids and number not in objected]
        refusals, another = _refusals(wanted, at=at), _other_cards([case.customer_id])
        return sum(_plan_retry(case, number, refusals[number], another, at=at) for number in wanted)


def _waits(case: DunningCase, *, at: datetime) -> bool:
    if hold_of(customer_id=case.customer_id, at=at) is not None or open_promise(case_id=case.pk) is not None:
        return True
    return money_held(customer=case.customer) is not None


def _plan_retry(
    case: DunningCase, invoice_id: int, refusals: Sequence[PaymentFailure], another: OtherCard, *, at: datetime
) -> bool:
    found = _next_try(case, refusals, another(case.customer, refusals[-1]), at=at) if refusals else None
    if found is None:
        return False
    reference, reason = found
    invoice = Invoice.objects.get(pk=invoice_id)
    return plan_charge(invoice=invoice, reference=reference, at=at, actor=SWEEP, reason=reason) is not None


def _next_try(
    case: DunningCase, refusals: Sequence[PaymentFailure], another: str, *, at: datetime
) -> tuple[str, str] | None:
    """Return the reference of the try that has come after so many refusals, and why it is made; None where none has."""
    newest, number = refusals[-1], len(refusals)
    if another:
        return f"retry:{newest.pk}:{another}"[:200], "the customer has given another means of payment"
    refusal = Refusal(newest.code, newest.occurred_at, number)
    tried_at = next_try(refusal=refusal, zone=ZoneInfo(case.customer.timezone))
    if tried_at is None or tried_at > at or number > case.policy.read.retries_max:
        return None
    return f"retry:{newest.pk}", DECLINE_WORDS[decline_kind(newest.code)]


def _refusals(invoice_ids: Collection[int], *, at: datetime) -> dict[int, list[PaymentFailure]]:
    """Return the refusals of invoices, the newest last; what a customer tried on Stripe's page is no charge of ours that would be repeated."""
    found: dict[int, list[PaymentFailure]] = defaultdict(list)
    for row in _REFUSALS.all(invoices=list(invoice_ids), at=at) if invoice_ids else ():
        found[row.invoice_id].append(row)
    return found


_REFUSALS = WrittenObjects(
    lambda invoices, at: PaymentFailure.objects.filter(
        among("invoice", invoices), occurred_at__lte=at, by_customer=False
    ).order_by("occurred_at", "pk"),
    invoices=list,
    at=datetime,
)


def _other_cards(customers: Collection[int]) -> OtherCard:
    """Return what says which means of payment a customer has given since a refusal; "" where it is the one that was refused. One query."""
    kept: dict[int, list[tuple[datetime, str]]] = defaultdict(list)
    for number, since, method in _CARDS.rows(customers=list(customers)) if customers else ():
        kept[number].append((since, method))

    def another(customer: Customer, refusal: PaymentFailure) -> str:
        before = [method for since, method in kept[customer.pk] if since <= refusal.occurred_at]
        return customer.payment_method if before and before[-1] != customer.payment_method else ""

    return another
