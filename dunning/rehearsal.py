"""Who gets what until a moment, if nobody pays: asked of the cases and of who would be late by then; nothing is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from moneyed import Money

from dunning.acting import kind_told, next_grave_day
from dunning.arrangements.queries import holds_at, open_promises
from dunning.cases.arrears import Debt, all_debts, oldest, owed
from dunning.cases.models import DunningCase
from dunning.cases.operations import steps_to_come
from dunning.core.calendar import Planned, local_day, plan
from dunning.core.case_life import LIVE, CaseState
from dunning.core.policy import PolicyTerms
from dunning.notices.queries import language_for, words_for
from dunning.notices.templates import TemplateVersion
from dunning.policies.models import PolicyVersion
from dunning.policies.queries import policy_for
from invoicing.customers.models import Customer


@dataclass(frozen=True)
class Rehearsed:
    """A step that is to come: for whom, when, over what, in which words; `against` says why it would not be taken, "" where it would."""

    customer: Customer
    case: DunningCase | None
    policy: PolicyVersion
    planned: Planned
    amount: Money
    notice: str
    language: str
    words: TemplateVersion | None
    acts_on: date | None
    against: str


def rehearse(*, until: datetime, at: datetime) -> list[Rehearsed]:
    """Return the steps that are due until a moment, as things are now, earliest first; those of cases that would be opened by then among them."""
    debts = all_debts(at=until)
    against = _against(until)
    rows: list[Rehearsed] = []
    cases = DunningCase.objects.filter(state__in=LIVE).select_related("customer", "policy")
    chased = set()
    for case in cases.order_by("pk"):
        chased.add(case.customer_id)
        late = debts.get(case.customer_id, [])
        if case.state == CaseState.OPEN and case.next_due_at is not None and case.next_due_at <= until:
            rows += _steps(case.customer, case, case.policy, steps_to_come(case=case), late, against, at, until)
    for customer in Customer.objects.filter(pk__in=set(debts) - chased).order_by("pk"):
        policy = policy_for(customer=customer, at=at)
        late = [debt for debt in debts[customer.pk] if debt.counts(terms=policy.read)]
        if late:
            rows += _steps(customer, None, policy, _planned(policy.read, customer, late), late, against, at, until)
    return sorted(rows, key=lambda row: (row.planned.due_at, row.customer.pk))


def tomorrow_ends(*, at: datetime) -> datetime:
    """Return the end of tomorrow in UTC."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)


def _planned(terms: PolicyTerms, customer: Customer, late: Sequence[Debt]) -> Sequence[Planned]:
    """Return the steps of a case that is not opened yet: the first when it is due, and none that its lateness would put off."""
    zone = ZoneInfo(customer.timezone)
    _, anchor = oldest(late, terms=terms, zone=zone)
    return plan(terms=terms, anchor=anchor, zone=zone)


def _steps(
    customer: Customer,
    case: DunningCase | None,
    policy: PolicyVersion,
    planned: Sequence[Planned],
    late: Sequence[Debt],
    against: dict[int, str],
    at: datetime,
    until: datetime,
) -> Iterator[Rehearsed]:
    zone, terms = ZoneInfo(customer.timezone), policy.read
    chased = [debt for debt in late if debt.counts(terms=terms)]
    amount = owed(chased, currency=customer.currency)
    language = language_for(customer=customer)
    why_not = against.get(customer.pk, "")
    if not chased:
        why_not = "nothing is late any more"
    elif amount.amount < terms.minimum(customer.currency):
        why_not = "less than what is chased"
    for place, one in enumerate(planned):
        # Of a case that is behind only the first is taken: what follows keeps its distance.
        if one.due_at > until or (place and planned[0].due_at < at):
            return
        kind = kind_told(step_notice=one.step.notice, debts=chased)
        words = words_for(kind=kind, language=language) if kind else None
        acts_on = next_grave_day(later=planned[place + 1 :], zone=zone)
        yield Rehearsed(
            customer, case, policy, one, amount, kind.value if kind else "", language, words, acts_on, why_not
        )


def _against(at: datetime) -> dict[int, str]:
    """Return why nothing is done about customers, by their number."""
    found = {hold.customer_id: f"held: {hold}" for hold in holds_at(at=at)}
    promised = open_promises().select_related("case").values_list("case__customer", flat=True)
    return dict.fromkeys(promised, "has promised to pay") | found


def grave_count(rows: Sequence[Rehearsed]) -> int:
    """Return how many of the steps take something from a customer, and would be taken."""
    return sum(row.planned.step.is_grave and not row.against for row in rows)


def day_of(row: Rehearsed) -> date:
    """Return the day of a step where the customer is."""
    return local_day(at=row.planned.due_at, zone=ZoneInfo(row.customer.timezone))
