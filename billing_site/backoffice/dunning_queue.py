"""What dunning does tomorrow, and what of it waits for people: broken promises, cases handed over or at their end, steps that wait."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta

from django.urls import reverse
from moneyed import Money

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency, first_named
from dunning.cases.arrears import debts_of
from dunning.cases.models import DunningCase
from dunning.cases.queries import cases_with_broken_promises, ended_cases
from dunning.handover.queries import overdue_escalations
from dunning.hearing import cases_never_told
from dunning.policies.queries import policies_running_out_of_holidays
from dunning.rehearsal import grave_count, rehearse, tomorrow_ends


def dunning_queues(*, at: datetime) -> list[WorkQueue]:
    """Return the steps that are due until tomorrow's end, the cases that people go on with, and the policies that they have to look after."""
    return [_tomorrow(at=at), _broken(at=at), _untold(at=at), _people(at=at), _escalated(at=at), _holidays(at=at)]


def _tomorrow(*, at: datetime) -> WorkQueue:
    rows = [row for row in rehearse(until=tomorrow_ends(at=at), at=at) if not row.against]
    grave = grave_count(rows)
    once = {row.customer.pk: row.amount for row in rows}
    return WorkQueue(
        name="Dunning steps tomorrow",
        link=reverse("admin:dunning_dunningcase_rehearsal"),
        empty="What dunning does until tomorrow's end stands here before it is done.",
        count=len(rows),
        oldest=None,
        money=_summed(once.values()),
        why=f"{grave} of them take something from a customer" if grave else "notices and attempts to charge",
    )


def _broken(*, at: datetime) -> WorkQueue:
    cases = list(cases_with_broken_promises())
    return _queue(
        cases,
        since=[case.broken_at for case in cases],  # type: ignore[attr-defined]
        name="Broken promises",
        link=admin_list("dunningcase", "state=broken", app="dunning"),
        empty="Whoever has promised to pay and has not stands here while something is late.",
        at=at,
    )


def _untold(*, at: datetime) -> WorkQueue:
    cases = list(cases_never_told())
    return _queue(
        cases,
        since=[case.next_due_at for case in cases if case.next_due_at],
        name="Cases that nobody was told of",
        link=admin_list("dunningcase", "state=untold", app="dunning"),
        empty="Whoever no notice has reached is not restricted, suspended or closed, but stands here: mend the address, or go on by hand.",
        at=at,
    )


def _people(*, at: datetime) -> WorkQueue:
    cases = list(ended_cases())
    return _queue(
        cases,
        since=[case.state_since for case in cases],
        name="Dunning that people go on with",
        link=admin_list("dunningcase", "state=live", app="dunning"),
        empty="A case that is handed over, or whose steps are all done, stands here until it is paid or written off.",
        at=at,
    )


def _escalated(*, at: datetime) -> WorkQueue:
    asked = list(overdue_escalations(at=at))
    return _queue(
        [one.case for one in asked],
        since=[datetime.combine(one.until, time(), UTC) + timedelta(days=1) for one in asked],
        name="Dunning that nobody has answered for",
        link=admin_list("dunningcase", "state=escalated", app="dunning"),
        empty="A case of which somebody was to have done something by now stands here until another one is asked, or it is closed.",
        at=at,
    )


def _holidays(*, at: datetime) -> WorkQueue:
    policies = policies_running_out_of_holidays(at=at)
    return WorkQueue(
        name="Dunning policies without holidays to come",
        link=admin_list("policyversion", app="dunning"),
        empty="A policy that keeps holidays stands here 60 days before the last one that it knows: publish its next version with those of the next years.",
        count=len(policies),
        why=first_named([version.name for version in policies]),
    )


def _queue(
    cases: list[DunningCase], *, since: list[datetime], name: str, link: str, empty: str, at: datetime
) -> WorkQueue:
    debts = debts_of(customers=[case.customer_id for case in cases], at=at)
    return WorkQueue(
        name=name,
        link=link,
        empty=empty,
        count=len(cases),
        oldest=min(since, default=None),
        money=_summed(debt.amount for late in debts.values() for debt in late),
        why=first_named(sorted(case.customer.name for case in cases)),
    )


def _summed(amounts: Iterable[Money]) -> tuple[Money, ...]:
    return amounts_by_currency([{"currency": one.currency.code, "amount": one.amount} for one in amounts])
