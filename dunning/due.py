"""Which cases have a step whose time has come and that nothing arranged is against: found in a few queries, whatever the number of cases."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db.models import F
from moneyed import Money

from billing_site.kernel.written_query import WrittenObjects
from dunning.arrangements.models import Hold
from dunning.arrangements.queries import all_money_held, holds_at, open_promises
from dunning.cases.arrears import Debt, owed
from dunning.cases.models import DunningCase
from dunning.cases.operations import is_chased, wait
from dunning.core.calendar import QUIET, is_allowed
from dunning.core.case_life import CaseState
from dunning.fairness import never_charged
from dunning.hearing import all_not_told
from invoicing.invoices.printed_text import money_text

PROMISED = "the customer has promised to pay"


def arranged_against(*, hold: Hold | None, is_promised: bool) -> str:
    """Return what people have arranged that the next step of a case waits for, also before its day; "": nothing."""
    if hold is not None:
        return f"held: {hold}"
    return PROMISED if is_promised else ""


def why_not_now(*, case: DunningCase, hold: Hold | None, is_promised: bool, at: datetime) -> str:
    """Return what is against taking any step of a case at a moment; "": nothing."""
    arranged = arranged_against(hold=hold, is_promised=is_promised)
    if arranged:
        return arranged
    return "" if is_allowed(at=at, terms=case.policy.read, zone=ZoneInfo(case.customer.timezone)) else QUIET


def chased_by(*, debts: Sequence[Debt], case: DunningCase) -> list[Debt]:
    """Return what of debts the policy of a case chases already: nothing that is being paid."""
    terms = case.policy.read
    return [debt for debt in debts if debt.counts(terms=terms)]


def why_not_chased(*, case: DunningCase, debts: Sequence[Debt]) -> str:
    """Return why there is nothing to chase: the case's invoice is not late any more, or too little is owed; "": there is."""
    if not is_chased(debts=debts, case=case):
        return "the invoice that it began with is not late any more"
    amount = owed(debts, currency=case.customer.currency)
    is_little = amount.amount < case.policy.read.minimum(case.customer.currency)
    return f"{money_text(money=amount)} are less than what is chased" if is_little else ""


def why_on_account(*, held: Money | None) -> str:
    """Return what money of the customer that we hold is waited for; "": none."""
    return f"money on account: {money_text(money=held)} are to be applied first" if held is not None else ""


def why_under_way(*, case: DunningCase, debts: Sequence[Debt]) -> str:
    """Return that a payment of the case's invoice is under way at Stripe; "": none is."""
    paying = [debt.number for debt in debts if debt.invoice_id == case.anchor_invoice_id and debt.is_under_way]
    return f"a payment of {paying[0]} is under way at Stripe: nobody is chased before it is decided" if paying else ""


def why_not_charged_yet(*, case: DunningCase, debts: Sequence[Debt], untried: Collection[int]) -> str:
    """Return that the case's invoice would have been charged by card first and was not; "": it was, or there is no card."""
    [number] = [debt.number for debt in debts if debt.invoice_id == case.anchor_invoice_id] or [""]
    is_untried = case.anchor_invoice_id in untried
    return f"not charged yet: {number} is not at Stripe, and the customer has a card" if is_untried else ""


def due_cases(*, debts: Mapping[int, Sequence[Debt]], at: datetime) -> list[DunningCase]:
    """Return the cases whose next step is due and that nothing is against, those that were looked at longest ago first.

    Of one that waits, why is kept on it; nobody locks it, or asks Stripe about it. `debts` are what everybody is late with. Before a
    step is taken all is read again, locked.
    """
    cases = _DUE.all(at=at)
    if not cases:
        return []
    customers = [case.customer_id for case in cases]
    holds: dict[int, Hold] = {}
    for hold in holds_at(at=at).filter(customer__in=customers).order_by("-starts_at", "-id"):
        # The first one stays: as `hold_of` has it.
        holds[hold.customer_id] = hold
    promised = set(open_promises().filter(case__in=[case.pk for case in cases]).values_list("case", flat=True))
    not_told = all_not_told(cases=cases, at=at)
    held = all_money_held(customers=customers)
    chased = {case.pk: chased_by(debts=debts.get(case.customer_id, ()), case=case) for case in cases}
    untried = never_charged(debts=[debt for those in chased.values() for debt in those])

    def why_not(case: DunningCase) -> str:
        left = [debt for debt in chased[case.pk] if debt.invoice_id not in untried]
        return (
            why_not_now(case=case, hold=holds.get(case.customer_id), is_promised=case.pk in promised, at=at)
            or (not_told[case.pk].why if case.pk in not_told else "")
            or why_on_account(held=held.get(case.customer_id))
            or why_under_way(case=case, debts=debts.get(case.customer_id, ()))
            or why_not_charged_yet(case=case, debts=chased[case.pk], untried=untried)
            or why_not_chased(case=case, debts=left)
        )

    found = []
    for case in cases:
        because = why_not(case)
        if because:
            wait(case=case, because=because)
        else:
            found.append(case)
    return found


# Each sweep asks it: written once.
_DUE = WrittenObjects(
    lambda at: (
        DunningCase.objects.filter(state=CaseState.OPEN, next_due_at__lte=at)
        .select_related("customer", "policy")
        .order_by(F("looked_at").asc(nulls_first=True), "next_due_at", "pk")
    ),
    at=datetime,
)
