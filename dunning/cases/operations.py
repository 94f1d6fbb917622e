"""What may happen to a case: opened where somebody is late, moved as its table says, planned as its policy and its steps say."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import connection, transaction

from billing_site.kernel.errors import Conflict
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.reasons import checked_reason
from billing_site.kernel.written_query import WrittenObjects, WrittenQuery
from dunning.cases.arrears import Debt, locked_debts, oldest, owed
from dunning.cases.models import SWEEP, CaseStep, DunningCase
from dunning.core.calendar import Planned, local_day, plan
from dunning.core.case_life import LIVE, CaseState, is_case_move, state_words
from dunning.core.policy import PolicyTerms
from dunning.policies.queries import policy_for
from invoicing.customers.operations import lock_customer


@transaction.atomic
def open_case(*, customer_id: int, at: datetime) -> DunningCase | None:
    """Open the case of a customer who is late, under the policy that is in force for it; None where it has one, or is not late enough.

    Whoever owes less than the minimum of the policy is left alone.
    """
    customer = lock_customer(customer_id=customer_id)
    if DunningCase.objects.filter(customer=customer, state__in=LIVE).exists():
        return None
    policy = policy_for(customer=customer, at=at)
    terms, zone = policy.read, ZoneInfo(customer.timezone)
    debts = worth_chasing(debts=locked_debts(customer_id=customer_id, at=at), terms=terms)
    if not debts:
        return None
    debt, anchor = oldest(debts, terms=terms, zone=zone)
    case = DunningCase(
        customer=customer,
        policy=policy,
        state=CaseState.OPEN.value,
        state_since=at,
        anchor_invoice_id=debt.invoice_id,
        anchor_day=anchor.day,
        refused_at=anchor.refused_at,
        opened_at=at,
    )
    why = f"the charge of {debt.number} was refused" if anchor.refused_at else f"{debt.number} is overdue"
    save_with_reason(case, actor=SWEEP, reason=why)
    plan_next(case=case, ahead=steps_after(case=case, last=None))
    return case


def worth_chasing(*, debts: Sequence[Debt], terms: PolicyTerms) -> list[Debt]:
    """Return what of a customer's debts a policy chases; nothing where that is less than its minimum."""
    chased = [debt for debt in debts if debt.counts(terms=terms)]
    if not chased:
        return []
    currency = chased[0].amount.currency.code
    return chased if owed(chased, currency=currency).amount >= terms.minimum(currency) else []


def lock_case(*, case_id: int) -> DunningCase:
    """Return a case as it is now, with its customer, both locked until the transaction ends: the customer first, as everybody does."""
    assert connection.in_atomic_block, "a lock lasts as long as its transaction"
    found = _CUSTOMER_OF.rows(case=case_id)
    if not found:
        raise DunningCase.DoesNotExist(f"there is no dunning case {case_id}")
    customer = lock_customer(customer_id=found[0][0])
    case = _LOCKED.get(case=case_id)
    case.customer = customer
    return case


# A case stays its customer's. Asked before each act: written once.
_LOCKED = WrittenObjects(
    lambda case: (
        DunningCase.objects.select_for_update(no_key=True, of=("self",)).select_related("policy").filter(pk=case)
    ),
    case=int,
)
_CUSTOMER_OF = WrittenQuery(lambda case: DunningCase.objects.filter(pk=case).values_list("customer"), case=int)


def move_case(*, case: DunningCase, to: CaseState, at: datetime, actor: str, reason: str) -> DunningCase:
    """Move a locked case as its table says."""
    assert is_case_move(start=CaseState(case.state), to=to), f"a case does not go from {case.state} to {to}"
    case.state, case.state_since = to.value, at
    case.next_number = case.next_due_at = None
    case.waits_because = ""
    save_with_reason(case, actor=actor, reason=reason[:300])
    return case


def steps_to_come(*, case: DunningCase) -> Sequence[Planned]:
    """Return what is still to come of a case, as its terms and the steps that were taken say; nothing where it is not open."""
    return steps_after(case=case, last=last_step(case=case))


def steps_after(*, case: DunningCase, last: CaseStep | None) -> Sequence[Planned]:
    """Return what is still to come of a case after the step that was taken last; nothing where it is not open."""
    return planned_after(case=case, last=last) if case.state == CaseState.OPEN else []


def planned_after(*, case: DunningCase, last: CaseStep | None) -> Sequence[Planned]:
    """Return what the terms of a case plan after a step of it, whatever has become of the case since."""
    zone = ZoneInfo(case.customer.timezone)
    return plan(
        terms=case.policy.read,
        anchor=case.anchor,
        zone=zone,
        done=last.number if last else 0,
        done_on=local_day(at=last.done_at, zone=zone) if last else None,
        delay_days=last.delay_days if last else 0,
    )


def last_step(*, case: DunningCase) -> CaseStep | None:
    """Return the step that was taken last."""
    return _LAST_STEP.first(case=case.pk)


_LAST_STEP = WrittenObjects(lambda case: CaseStep.objects.filter(case=case).order_by("-number")[:1], case=int)


def plan_next(*, case: DunningCase, ahead: Sequence[Planned]) -> None:
    """Write down what comes next of an open case, for lists and for the sweep."""
    case.next_number, case.next_due_at = (ahead[0].number, ahead[0].due_at) if ahead else (None, None)
    case.waits_because = ""
    DunningCase.objects.filter(pk=case.pk).update(
        next_number=case.next_number, next_due_at=case.next_due_at, waits_because=""
    )


def wait(*, case: DunningCase, because: str) -> None:
    """Write down why the step that is due is not taken now."""
    if case.waits_because != because[:500]:
        case.waits_because = because[:500]
        DunningCase.objects.filter(pk=case.pk).update(waits_because=case.waits_because)


def is_chased(*, debts: Sequence[Debt], case: DunningCase) -> bool:
    """Say whether the invoice that a case began with is late still."""
    return any(debt.invoice_id == case.anchor_invoice_id for debt in debts)


@transaction.atomic
def hand_over(*, case_id: int, at: datetime, actor: str, reason: str) -> DunningCase:
    """Let people go on with a case: no step is taken any more. Raises Conflict where it is closed or handed over already."""
    said = checked_reason(reason=reason)
    case = lock_case(case_id=case_id)
    if not is_case_move(start=CaseState(case.state), to=CaseState.HANDED_OVER):
        raise Conflict(f"the case is {state_words(case.state)}: it is not handed over", field="case")
    return move_case(case=case, to=CaseState.HANDED_OVER, at=at, actor=actor, reason=said)
