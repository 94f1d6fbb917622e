"""Close cases whose debt is gone, give service again, and see whether promises are kept."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction

from billing_site.kernel.errors import Conflict
from dunning.arrangements.models import Instalment, Promise, PromiseOutcome
from dunning.arrangements.operations import end_promise
from dunning.arrangements.queries import hold_of, money_held, open_promise, paid_for, promised_until
from dunning.cases.arrears import Debt, debts_of, locked_debts
from dunning.cases.models import SWEEP, DunningCase
from dunning.cases.operations import is_chased, lock_case, move_case, worth_chasing
from dunning.cases.queries import returned
from dunning.core.calendar import is_allowed, local_day, next_weekday
from dunning.core.case_life import LIVE, CaseState
from dunning.core.notice_kinds import NoticeKind
from dunning.fairness import never_charged
from dunning.restoring import is_refused, tell_restored
from dunning.telling import OF_AN_INSTALMENT, tell
from invoicing.core.life_cycle import State, Trigger
from invoicing.customers.life_cycle import state_of
from invoicing.customers.operations import lock_customer
from invoicing.customers.restrictions import lift_restriction
from invoicing.invoices.models import InvoiceStatus
from invoicing.invoices.printed_text import money_text
from invoicing.payments.models import PushIntent
from invoicing.workflows.follow_stripe import follow_invoice

# So long before its day an instalment is told of.
TOLD_AHEAD = timedelta(days=2)
# So long what is late besides what was promised does not end the promise.
TOLERATED = timedelta(days=7)


@transaction.atomic
def close_if_settled(*, case_id: int, at: datetime) -> bool:
    """Close a case whose invoice is late no more, unless an open promise is about others that still are; returns whether it was closed.

    With nothing late any more, service is given again, and that is told. A customer who has come back is chased anew, once no promise is waited for.
    """
    case = lock_case(case_id=case_id)
    if not case.is_live:
        return False
    debts = locked_debts(customer_id=case.customer_id, at=at)
    promise = open_promise(case_id=case.pk)
    if is_chased(debts=debts, case=case):
        # Else nobody would wait for the promise any more, and its customer would still be told of it.
        if promise is None and returned(cases=DunningCase.objects.filter(pk=case.pk)):
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


def _give_service_again(case: DunningCase, *, at: datetime) -> None:
    was_restricted = lift_restriction(customer=case.customer, at=at)
    recovered = case.customer.moves.filter(trigger=Trigger.RECOVERED.value, moved_at__gte=case.opened_at)
    was_suspended = state_of(customer=case.customer) is State.SUSPENDED or recovered.exists()
    if (was_restricted or was_suspended) and not is_refused(customer=case.customer, at=at):
        tell_restored(case=case, at=at)


def is_to_be_looked_at(*, promise: Promise, waited_for: date | None, debts: Sequence[Debt], at: datetime) -> bool:
    """Say whether looking at an open promise could change or tell anything now: what is late besides, all that is paid, an instalment that is near or over.

    `waited_for` is the day of the first instalment that what was paid does not cover, None where all is paid; `debts` what its customer is late with.
    """
    today = local_day(at=at, zone=ZoneInfo(promise.case.customer.timezone))
    return waited_for is None or waited_for - TOLD_AHEAD <= today or bool(_late_besides(promise, debts, at=at))


def look_at_promise(*, promise_id: int, at: datetime) -> str:
    """See whether a promise is kept so far: remind of what is due soon, end it once it is kept or broken; returns its outcome.

    It is broken a bank day after an instalment that was not paid. Something else that is late for a week, and that dunning would chase, ends it, too:
    what is late is chased together. Neither is done while a hold or quiet hours are in the way, money is on account or a payment under way; Stripe
    is asked before. Where Stripe received what a person has to apply, that is waited for. Raises GatewayUnavailable.
    """
    promise = Promise.objects.select_related("case__customer", "case__policy").get(pk=promise_id)
    late = debts_of(customers=[promise.case.customer_id], at=at).get(promise.case.customer_id, [])
    besides = _chased_besides(promise, late, at=at)
    if (besides or _missed(promise, at=at) is not None) and _may_go_on(promise.case, at=at):
        asked = {*promise.invoices, *(debt.invoice_id for debt in besides)}
        for intent in PushIntent.objects.filter(invoice__in=asked, stripe_invoice_id__isnull=False).order_by("pk"):
            try:
                follow_invoice(intent_id=intent.pk, at=at)
            except Conflict:
                # Stripe and we cannot both be right: a person decides that, from the queue of what Stripe told.
                return ""
    return _judge(promise_id, at=at)


@transaction.atomic
def _judge(promise_id: int, *, at: datetime) -> str:
    case = lock_case(case_id=Promise.objects.values_list("case", flat=True).get(pk=promise_id))
    promise = Promise.objects.select_for_update().get(pk=promise_id)
    if promise.ended_at is not None:
        return str(promise.outcome)
    promise.case = case
    waited_for = _unpaid(promise)
    if waited_for is None:
        return _end(promise, PromiseOutcome.KEPT, "all that was promised is paid", at=at)
    if not _may_go_on(case, at=at):
        return ""
    late = locked_debts(customer_id=case.customer_id, at=at)
    besides = _chased_besides(promise, late, at=at)
    if besides:
        reason = f"{besides[0].number} is late, too: what is late is chased together"
        return _end(promise, PromiseOutcome.WITHDRAWN, reason, at=at)
    debts = [debt for debt in late if debt.invoice_id in promise.invoices]
    if not debts or any(debt.is_under_way for debt in debts):
        return ""
    missed = _missed(promise, at=at)
    if missed is not None:
        promised, paid = promised_until(instalment=missed), paid_for(promise=promise)
        reason = f"{money_text(money=promised)} were promised by {missed.due_date}, {money_text(money=paid)} came"
        _tell_of(NoticeKind.PROMISE_BROKEN, f"promise:{promise.pk}:broken", case, debts, at=at)
        return _end(promise, PromiseOutcome.BROKEN, reason, at=at)
    if waited_for.due_date - TOLD_AHEAD <= local_day(at=at, zone=ZoneInfo(case.customer.timezone)):
        _tell_instalment(waited_for, case, debts, at=at)
    return ""


def _late_besides(promise: Promise, debts: Sequence[Debt], *, at: datetime) -> list[Debt]:
    """Return what its customer is late with for so long that no promise about other invoices holds."""
    today = local_day(at=at, zone=ZoneInfo(promise.case.customer.timezone))
    return [debt for debt in debts if debt.invoice_id not in promise.invoices and debt.due_date + TOLERATED < today]


def _chased_besides(promise: Promise, debts: Sequence[Debt], *, at: datetime) -> list[Debt]:
    """Return what of that dunning would chase: no trifle, nothing that is being paid, no invoice whose card was never charged."""
    besides = _late_besides(promise, debts, at=at)
    untried = never_charged(debts=besides)
    charged = [debt for debt in besides if debt.invoice_id not in untried]
    return worth_chasing(debts=charged, terms=promise.case.policy.read)


def _end(promise: Promise, outcome: PromiseOutcome, reason: str, *, at: datetime) -> str:
    return str(end_promise(promise_id=promise.pk, outcome=outcome, at=at, actor=SWEEP, reason=reason).outcome)


def _missed(promise: Promise, *, at: datetime) -> Instalment | None:
    """Return the instalment that was to be here by now, the next bank day after its own included; None where there is none."""
    unpaid = _unpaid(promise)
    today = local_day(at=at, zone=ZoneInfo(promise.case.customer.timezone))
    return unpaid if unpaid is not None and next_weekday(day=unpaid.due_date) < today else None


def _unpaid(promise: Promise) -> Instalment | None:
    """Return the first instalment that what was paid does not cover; None where all is paid."""
    paid = paid_for(promise=promise)
    instalments = promise.instalments.order_by("number")
    return next((one for one in instalments if promised_until(instalment=one) > paid), None)


def _may_go_on(case: DunningCase, *, at: datetime) -> bool:
    """Say whether nothing is against going on with a customer: no hold, no quiet hours, no money that somebody has to apply first."""
    if hold_of(customer_id=case.customer_id, at=at) is not None or money_held(customer=case.customer) is not None:
        return False
    return is_allowed(at=at, terms=case.policy.read, zone=ZoneInfo(case.customer.timezone))


def _tell_instalment(one: Instalment, case: DunningCase, debts: Sequence[Debt], *, at: datetime) -> None:
    if debts:
        tell(
            customer=case.customer,
            kind=NoticeKind.INSTALMENT_DUE,
            reference=f"{OF_AN_INSTALMENT}{one.pk}",
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
