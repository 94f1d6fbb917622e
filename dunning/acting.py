"""Take the step of a case that is due: ask Stripe, lock, read again, act, write down; whoever has paid by then is left alone (S1-044)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import transaction

from billing_site.kernel.errors import BillingError, Conflict
from billing_site.kernel.reasons import checked_reason
from dunning.arrangements.queries import hold_of, money_held, objected_to, open_promise
from dunning.cases.arrears import Debt, debts_of, figures_of, locked_debts, owed
from dunning.cases.models import SWEEP, CaseStep, DunningCase, Outcome
from dunning.cases.operations import last_step, lock_case, move_case, plan_next, steps_after, steps_to_come, wait
from dunning.core.calendar import Planned, next_grave_day, plan_after
from dunning.core.case_life import CaseState
from dunning.core.notice_kinds import NoticeKind
from dunning.core.policy import Act, PolicyTerms
from dunning.due import chased_by, why_not_charged_yet, why_not_chased, why_not_now, why_on_account, why_under_way
from dunning.fairness import fitting_kind, never_charged
from dunning.hearing import why_not_told
from dunning.skipping import LEADS_TO, NO_CARD, WITHOUT_SERVICE, already, may_be_charged
from dunning.telling import tell
from invoicing.core.life_cycle import Driver, State
from invoicing.customers.life_cycle import state_of
from invoicing.customers.restrictions import restrict_service
from invoicing.invoices.models import Invoice
from invoicing.invoices.printed_text import money_text
from invoicing.payments.charging import plan_charge
from invoicing.payments.models import PushIntent
from invoicing.workflows.customer_standing import standing_now
from invoicing.workflows.follow_stripe import follow_invoice
from invoicing.workflows.move_life_cycle import move_customer

logger = logging.getLogger(__name__)

IN_TRIAL = "the customer is in its trial: nothing is taken from it before that is over"
# The code of a refusal that the customer undoes by confirming the payment (3-D Secure).
TO_BE_CONFIRMED = "authentication_required"
UNFORESEEN = "it fails ({problem}): it is tried again, and the log says more"


class Waits(Exception):
    """The step that is due is not taken now; the words say why."""


@dataclass(frozen=True)
class Acting:
    """A step about to be taken: of which case, over which debts, when, and who takes it."""

    case: DunningCase
    planned: Planned
    debts: Sequence[Debt]
    delay_days: int
    later: Sequence[Planned]
    at: datetime
    actor: str
    reason: str


def advance_due(*, case: DunningCase, late: Sequence[Debt], at: datetime) -> CaseStep | None:
    """Take the next step of a case that was read a moment ago, with what its customer was late with then; returns it, or None with the reason kept on the case.

    Stripe is asked first, outside of any transaction; then the customer and its invoices are locked and read again. What nobody foresaw is
    kept on the case, too, and raised.
    """
    try:
        _wait_unless_planned(case, at=at)
        # Before Stripe is asked: what is not chased for months would ask it at every sweep.
        _wait_if(
            why_under_way(case=case, debts=late) or why_not_chased(case=case, debts=chased_by(debts=late, case=case))
        )
        _ask_stripe(late, at=at)
        return _take_due(case.pk, at=at)
    except Waits as waits:
        wait(case=case, because=str(waits))
    except BillingError as problem:
        logger.warning("the next step of case %s has to wait: %s", case.pk, problem)
        wait(case=case, because=problem.message)
    except Exception as problem:
        # What was begun is taken back by now. It is told to whoever looks at the case; the sweep logs it and goes on.
        wait(case=case, because=UNFORESEEN.format(problem=type(problem).__name__))
        raise
    return None


def take_step_by_hand(*, case_id: int, number: int, at: datetime, actor: str, reason: str) -> CaseStep:
    """Take the next step of a case now, before its day or in spite of a hold, as somebody decides who was shown step `number`.

    Raises Conflict where another step is the next one by now, nothing is to come, or nothing is owed any more, and what the step itself raises.
    """
    said = checked_reason(reason=reason)
    customer_id = DunningCase.objects.values_list("customer", flat=True).get(pk=case_id)
    _ask_stripe(debts_of(customers=[customer_id], at=at).get(customer_id, []), at=at)
    with transaction.atomic():
        case = lock_case(case_id=case_id)
        ahead = steps_to_come(case=case)
        if ahead and ahead[0].number != number:
            raise Conflict(f"step {number} is not the next one any more: look at the case again", field="case")
        try:
            late = locked_debts(customer_id=customer_id, at=at)
            _wait_if(why_under_way(case=case, debts=late))
            return _take(case, chased_by(debts=late, case=case), at=at, actor=actor, reason=said)
        except Waits as waits:
            raise Conflict(str(waits), field="case") from waits


def _wait_if(because: str) -> None:
    """Raise Waits where there is something because of which the step is not taken now."""
    if because:
        raise Waits(because)


def _wait_unless_planned(case: DunningCase, *, at: datetime) -> None:
    """Raise Waits where no step of a case is due."""
    if case.state != CaseState.OPEN or case.next_due_at is None or case.next_due_at > at:
        raise Waits("")


def _wait_unless_due(case: DunningCase, *, at: datetime) -> None:
    """Raise Waits where the step that is due is not taken now."""
    _wait_unless_planned(case, at=at)
    hold, promise = hold_of(customer_id=case.customer_id, at=at), open_promise(case_id=case.pk)
    _wait_if(why_not_now(case=case, hold=hold, is_promised=promise is not None, at=at))
    _wait_if(why_not_told(case=case, at=at))


def _ask_stripe(late: Sequence[Debt], *, at: datetime) -> None:
    """Bring a customer's late invoices to their present state at Stripe; raises GatewayUnavailable: nothing is done without its word."""
    invoices = [debt.invoice_id for debt in late]
    for intent in PushIntent.objects.filter(invoice__in=invoices, stripe_invoice_id__isnull=False).order_by("id"):
        follow_invoice(intent_id=intent.pk, at=at)


@transaction.atomic
def _take_due(case_id: int, *, at: datetime) -> CaseStep | None:
    case = lock_case(case_id=case_id)
    _wait_unless_due(case, at=at)
    _wait_if(why_on_account(held=money_held(customer=case.customer)))
    late = locked_debts(customer_id=case.customer_id, at=at)
    _wait_if(why_under_way(case=case, debts=late))
    debts = chased_by(debts=late, case=case)
    untried = never_charged(debts=debts)
    _wait_if(why_not_charged_yet(case=case, debts=debts, untried=untried))
    return _take(case, [debt for debt in debts if debt.invoice_id not in untried], at=at, actor=SWEEP, reason="")


def _take(case: DunningCase, debts: Sequence[Debt], *, at: datetime, actor: str, reason: str) -> CaseStep:
    """Take the next step of a locked case over locked debts; raises Waits where it is not to be taken now."""
    before = last_step(case=case)
    ahead = steps_after(case=case, last=before)
    if not ahead:
        raise Waits("no step is to come")
    terms = case.policy.read
    _wait_if(why_not_chased(case=case, debts=debts))
    amount = owed(debts, currency=case.customer.currency)
    # As it is taken now: what follows keeps its distance, and that is what the customer is told.
    delay_days, later = plan_after(
        taken=ahead[0],
        done_at=at,
        terms=terms,
        anchor=case.anchor,
        zone=ZoneInfo(case.customer.timezone),
        delay_days=before.delay_days if before else 0,
    )
    acting = Acting(case, ahead[0], debts, delay_days, later, at, actor, reason)
    skipped = _act(acting)
    notice = "" if skipped else _tell(acting)
    step = CaseStep.objects.create(
        case=case,
        number=ahead[0].number,
        day=ahead[0].step.day,
        act=ahead[0].step.act.value,
        notice=notice,
        due_at=ahead[0].due_at,
        done_at=at,
        delay_days=delay_days,
        outcome=Outcome.SKIPPED if skipped else Outcome.DONE,
        why=(skipped or reason)[:500],
        currency=case.customer.currency,
        amount=amount,
        figures=figures_of(debts),
        actor=actor,
    )
    _go_on(acting)
    return step


def _act(acting: Acting) -> str:
    """Do what a step says; returns why nothing was done, "" where it was."""
    match acting.planned.step.act:
        case Act.RETRY:
            return _charge(acting)
        case Act.RESTRICT:
            return _restrict(acting)
        case Act.SUSPEND:
            return _move(acting, to=LEADS_TO[Act.SUSPEND])
        case Act.CLOSE:
            return _move(acting, to=LEADS_TO[Act.CLOSE])
    return ""


def _restrict(acting: Acting) -> str:
    customer = acting.case.customer
    state = standing_now(customer_id=customer.pk, at=acting.at).state
    _wait_if(IN_TRIAL if state is State.TRIAL else "")
    if state in WITHOUT_SERVICE:
        return already(state=state)
    restrict_service(customer=customer, at=acting.at, actor=acting.actor, reason=_because(acting))
    return ""


def _move(acting: Acting, *, to: State) -> str:
    customer = acting.case.customer
    if state_of(customer=customer) is to:
        return already(state=to)
    try:
        with transaction.atomic():
            move_customer(
                customer=customer,
                to=to,
                driver=Driver.DUNNING,
                at=acting.at,
                actor=acting.actor,
                reason=_because(acting),
            )
    except Conflict as conflict:
        # It is past due as soon as that is recorded: an end that was not due yet is waited for.
        if conflict.code != "no_such_move" or (
            state_of(customer=customer) in (State.ACTIVE, State.PAST_DUE) and to is State.SUSPENDED
        ):
            raise Waits(conflict.message) from conflict
        # A trial ends one way or the other: what would be left out now would never come.
        standing = standing_now(customer_id=customer.pk, at=acting.at)
        _wait_if(IN_TRIAL if standing.state is State.TRIAL else "")
        return conflict.message
    return ""


def _charge(acting: Acting) -> str:
    objected = objected_to(invoice_ids=[debt.invoice_id for debt in acting.debts])
    planned = [
        plan_charge(
            invoice=Invoice.objects.get(pk=debt.invoice_id),
            reference=f"dunning:{acting.case.pk}:{acting.planned.number}:{debt.invoice_id}",
            at=acting.at,
            actor=acting.actor,
            reason=_because(acting),
        )
        for debt in acting.debts
        if may_be_charged(debt=debt, objected=objected)
    ]
    return "" if any(planned) else NO_CARD


def _tell(acting: Acting) -> str:
    """Plan the notice of a step; returns its kind, "" for none."""
    kind = kind_told(planned=acting.planned, terms=acting.case.policy.read, debts=acting.debts)
    if kind is None:
        return ""
    zone = ZoneInfo(acting.case.customer.timezone)
    kind, names_day = fitting_kind(kind=kind, customer=acting.case.customer, at=acting.at)
    tell(
        customer=acting.case.customer,
        kind=kind,
        reference=f"{acting.case.pk}:{acting.planned.number}",
        invoice_ids=[debt.invoice_id for debt in acting.debts],
        acts_on=next_grave_day(later=acting.later, zone=zone) if names_day else None,
        at=acting.at,
    )
    return kind.value


def kind_told(*, planned: Planned, terms: PolicyTerms, debts: Sequence[Debt]) -> NoticeKind | None:
    """Return what is told of a step: that a payment failed is told of one that did, or that it is to be confirmed; of no other.

    Where a policy begins with a reminder, and the bank waits for a confirmation of the oldest debt, it asks for that.
    """
    notice = planned.step.notice
    if notice is NoticeKind.REMINDER and debts and not any(step.notice for step in terms.steps[: planned.number - 1]):
        return NoticeKind.ACTION_REQUIRED if debts[0].refusal == TO_BE_CONFIRMED else notice
    if notice is not NoticeKind.PAYMENT_FAILED:
        return notice
    refusals = [debt.refusal for debt in debts if debt.refusal]
    if not refusals:
        return NoticeKind.REMINDER
    return NoticeKind.ACTION_REQUIRED if TO_BE_CONFIRMED in refusals else NoticeKind.PAYMENT_FAILED


def _go_on(acting: Acting) -> None:
    case, at, actor = acting.case, acting.at, acting.actor
    if acting.planned.step.act is Act.HAND_OVER:
        move_case(case=case, to=CaseState.HANDED_OVER, at=at, actor=actor, reason=_because(acting))
    elif not acting.later:
        move_case(case=case, to=CaseState.EXHAUSTED, at=at, actor=actor, reason="all steps of its policy are done")
    else:
        plan_next(case=case, ahead=acting.later)


def _because(acting: Acting) -> str:
    late = money_text(money=owed(acting.debts, currency=acting.case.customer.currency))
    why = f"day {acting.planned.step.day} of {acting.case.policy}: {late} late since {acting.case.anchor_day}"
    return f"{why}; {acting.reason}"[:300] if acting.reason else why[:300]
