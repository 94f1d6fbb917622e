"""Close cases whose debt is gone, give service again, and see whether promises are kept."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction

from billing_site.kernel.money import total
from dunning.arrangements.models import Instalment, Promise, PromiseOutcome
from dunning.arrangements.operations import end_promise
from dunning.arrangements.queries import hold_of, open_promise, paid_since
from dunning.cases.arrears import Debt, locked_debts
from dunning.cases.models import DunningCase
from dunning.cases.operations import SWEEP, is_chased, lock_case, move_case
from dunning.core.calendar import is_allowed, local_day
from dunning.core.case_life import LIVE, CaseState
from dunning.core.notice_kinds import NoticeKind
from dunning.restoring import is_refused, tell_restored
from dunning.telling import tell
from invoicing.core.life_cycle import State, Trigger
from invoicing.customers.life_cycle import state_of
from invoicing.customers.operations import lock_customer
from invoicing.customers.restrictions import lift_restriction
from invoicing.invoices.models import InvoiceStatus
from invoicing.invoices.printed_text import money_text

# So long before its day an instalment is told of.
TOLD_AHEAD = timedelta(days=2)


@transaction.atomic
def close_if_settled(*, case_id: int, at: datetime) -> bool:
    """Close a case whose invoice is late no more, unless an open promise is about others that still are; returns whether it was closed.

    With nothing late any more, service is given again, and that is told. A customer who has come back is chased anew.
    """
    case = lock_case(case_id=case_id)
    if not case.is_live:
        return False
    debts = locked_debts(customer_id=case.customer_id, at=at)
    promise = open_promise(case_id=case.pk)
    if is_chased(debts=debts, case=case):
        if case.state != CaseState.OPEN and _came_back(case):
            move_case(
                case=case,
                to=CaseState.SUPERSEDED,
                at=at,
                actor=SWEEP,
                reason="the customer has come back: what it owes is chased from the first step on",
            )
            return True
        return False
    if promise is not None and any(debt.invoice_id in promise.invoices for debt in debts):
        return False
    if promise is not None:
        end_promise(
            promise_id=promise.pk, outcome=PromiseOutcome.KEPT, at=at, actor=SWEEP, reason="nothing of it is late"
        )
    anchor = case.anchor_invoice
    is_given_up = anchor.status == InvoiceStatus.WRITTEN_OFF
    to = CaseState.WRITTEN_OFF if is_given_up else CaseState.SETTLED
    move_case(
        case=case,
        to=to,
        at=at,
        actor=SWEEP,
        reason=f"{anchor} is {anchor.stage.replace('_', ' ')}, nothing of it is chased",
    )
    if not debts and not is_given_up:
        _give_service_again(case, at=at)
    return True


@transaction.atomic
def lift_if_settled(*, customer_id: int, at: datetime) -> bool:
    """Lift the restriction of a customer who has no case and is late with nothing any more; returns whether there was one.

    What was too little for a case of its own, or written off, is settled without one.
    """
    customer = lock_customer(customer_id=customer_id)
    is_chased_still = DunningCase.objects.filter(customer=customer, state__in=LIVE).exists()
    if is_chased_still or locked_debts(customer_id=customer_id, at=at):
        return False
    return lift_restriction(customer=customer, at=at)


def _came_back(case: DunningCase) -> bool:
    return case.customer.moves.filter(trigger=Trigger.CAME_BACK.value, moved_at__gte=case.state_since).exists()


def _give_service_again(case: DunningCase, *, at: datetime) -> None:
    was_restricted = lift_restriction(customer=case.customer, at=at)
    recovered = case.customer.moves.filter(trigger=Trigger.RECOVERED.value, moved_at__gte=case.opened_at)
    was_suspended = state_of(customer=case.customer) is State.SUSPENDED or recovered.exists()
    if (was_restricted or was_suspended) and not is_refused(customer=case.customer, at=at):
        tell_restored(case=case, at=at)


@transaction.atomic
def look_at_promise(*, promise_id: int, at: datetime) -> str:
    """See whether a promise is kept so far: remind of what is due soon, end it as broken a day after an instalment that was not paid; returns its outcome."""
    case = lock_case(case_id=Promise.objects.values_list("case", flat=True).get(pk=promise_id))
    promise = Promise.objects.select_for_update().get(pk=promise_id)
    if promise.ended_at is not None:
        return str(promise.outcome)
    zone = ZoneInfo(case.customer.timezone)
    today = local_day(at=at, zone=zone)
    debts = [debt for debt in locked_debts(customer_id=case.customer_id, at=at) if debt.invoice_id in promise.invoices]
    currency = case.customer.currency
    paid, instalments = paid_since(promise=promise, currency=currency), list(promise.instalments.order_by("number"))
    for place, one in enumerate(instalments, start=1):
        promised = total((earlier.amount for earlier in instalments[:place]), currency)
        if paid >= promised:
            continue
        if one.due_date < today and debts:
            reason = f"{money_text(money=promised)} were promised by {one.due_date}, {money_text(money=paid)} came"
            end_promise(promise_id=promise.pk, outcome=PromiseOutcome.BROKEN, at=at, actor=SWEEP, reason=reason)
            _tell_of(NoticeKind.PROMISE_BROKEN, f"promise:{promise.pk}:broken", case, debts, at=at)
            return PromiseOutcome.BROKEN
        if one.due_date - TOLD_AHEAD <= today and _may_tell(case, at=at):
            _tell_instalment(one, case, debts, at=at)
        break
    return ""


def _may_tell(case: DunningCase, *, at: datetime) -> bool:
    is_held = hold_of(customer_id=case.customer_id, at=at) is not None
    return not is_held and is_allowed(at=at, terms=case.policy.read, zone=ZoneInfo(case.customer.timezone))


def _tell_instalment(one: Instalment, case: DunningCase, debts: Sequence[Debt], *, at: datetime) -> None:
    if debts:
        tell(
            customer=case.customer,
            kind=NoticeKind.INSTALMENT_DUE,
            reference=f"instalment:{one.pk}",
            invoice_ids=[debt.invoice_id for debt in debts],
            acts_on=one.due_date,
            at=at,
        )


def _tell_of(kind: NoticeKind, reference: str, case: DunningCase, debts: Sequence[Debt], *, at: datetime) -> None:
    tell(
        customer=case.customer,
        kind=kind,
        reference=reference,
        invoice_ids=[debt.invoice_id for debt in debts],
        acts_on=None,
        at=at,
    )
