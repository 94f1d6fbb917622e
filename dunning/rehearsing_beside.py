"""What is told and charged until a moment besides the steps of cases, if nobody pays: instalments, news, service that is back, cards; nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from moneyed import Money

from dunning.arrangements.models import Hold, Promise
from dunning.arrangements.queries import all_money_held, holds_at, instalments_waited_for, open_promises
from dunning.cases.arrears import Debt, all_debts, owed
from dunning.cases.models import DunningCase
from dunning.closing import TOLD_AHEAD, TOLERATED
from dunning.core.calendar import first_allowed, local_day, local_moment, next_weekday
from dunning.core.case_life import LIVE, CaseState
from dunning.core.notice_kinds import NoticeKind
from dunning.due import why_on_account
from dunning.fairness import never_charged, untold
from dunning.notices.models import Notice
from dunning.notices.queries import language_for
from dunning.recharging import retries_due
from dunning.rehearsal import Mailed
from dunning.restoring import REFUSED, restored_untold
from dunning.telling import OF_AN_INSTALMENT, REFERENCE
from invoicing.core.life_cycle import State, Trigger
from invoicing.customers.models import Customer, LifeCycleMove
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.payments.charge_attempt import ChargeAttempt, ChargeStatus
from invoicing.workflows.customer_standing import standings

INSTALMENT, BROKEN, NEWS = "an instalment is due", "a promise is broken", "late besides what was told"
BACK, CARD = "service is back", "a card is charged again"


@dataclass(frozen=True)
class Beside(Mailed):
    """Something that is no step: of whom, what and over how much, as which notice ("": none) in which language; `against` says why it would not be done.

    `comes_at` is when at the earliest; None: at its hour until then.
    """

    customer: Customer
    case: DunningCase | None
    what: str
    amount: Money
    notice: str
    language: str
    comes_at: datetime | None
    acts_on: date | None = None
    against: str = ""


def rehearse_beside(*, until: datetime, at: datetime) -> list[Beside]:
    """Return what comes besides the steps until a moment, as things are now, earliest first; a bounded number of queries."""
    debts = all_debts(at=until)
    cases = list(DunningCase.objects.filter(state__in=LIVE).select_related("customer", "policy").order_by("pk"))
    holds = _holds(at=at)
    promises = {one.case_id: one for one in open_promises().select_related("case")}
    money = {number: why_on_account(held=held) for number, held in all_money_held(customers=debts).items()}
    asking = Asking(debts, promises, holds, money, at, until)
    rows = [
        *_promised(cases, asking),
        *_news(cases, asking),
        *_back(cases, promises, at=at),
        *_cards(cases, debts, until=until),
    ]
    return sorted(rows, key=lambda row: (row.comes_at or until, row.customer.pk, row.what))


@dataclass(frozen=True)
class Asking:
    """What decides whether anybody is asked for money: what is late, who promised, who is held, and whose money we hold, until when."""

    debts: Mapping[int, Sequence[Debt]]
    promises: Mapping[int, Promise]
    holds: Mapping[int, Hold]
    money: Mapping[int, str]
    at: datetime
    until: datetime

    def comes_at(self, case: DunningCase, *, begins: datetime) -> tuple[datetime, str]:
        """Return when a customer can be written to at the earliest, and what is against it until then."""
        hold = self.holds.get(case.customer_id)
        against, begins = "", max(begins, self.at)
        if hold is not None and (hold.until is None or hold.until > self.until):
            against = f"held: {hold}"
        elif hold is not None and hold.until is not None:
            begins = max(begins, hold.until)
        zone = ZoneInfo(case.customer.timezone)
        return first_allowed(at=begins, terms=case.policy.read, zone=zone), against


def _holds(*, at: datetime) -> dict[int, Hold]:
    """Return the hold of each customer that ends last."""
    found: dict[int, Hold] = {}
    for hold in holds_at(at=at):
        other = found.get(hold.customer_id)
        if other is None or (other.until is not None and (hold.until is None or hold.until > other.until)):
            found[hold.customer_id] = hold
    return found


def _promised(cases: Sequence[DunningCase], asking: Asking) -> Iterator[Beside]:
    """Yield the instalments that are told of, and the promises that are broken."""
    waited_for = instalments_waited_for(cases=list(asking.promises))
    references = [f"{REFERENCE}{OF_AN_INSTALMENT}{one.pk}" for one, _ in waited_for.values()]
    told = set(Notice.objects.filter(reference__in=references).values_list("reference", flat=True))
    for case in cases:
        if case.pk not in waited_for:
            continue
        (instalment, missing), zone = waited_for[case.pk], ZoneInfo(case.customer.timezone)
        about = asking.promises[case.pk].invoices
        late = asking.debts.get(case.customer_id, ())
        of_it = [debt for debt in late if debt.invoice_id in about]
        today = local_day(at=asking.until, zone=zone)
        # Something else has been late for a week by then: the promise is withdrawn, and nobody is told.
        if not of_it or any(debt.due_date + TOLERATED < today for debt in late if debt not in of_it):
            continue
        broken_on = next_weekday(day=instalment.due_date) + timedelta(days=1)
        broken_at, held = asking.comes_at(case, begins=local_moment(day=broken_on, hour=time(), zone=zone))
        if broken_at <= asking.until:
            amount, against = (
                owed(of_it, currency=case.customer.currency),
                held or asking.money.get(case.customer_id, ""),
            )
            yield _row(case, BROKEN, NoticeKind.PROMISE_BROKEN, amount, comes_at=broken_at, against=against)
            continue
        told_on = local_moment(day=instalment.due_date - TOLD_AHEAD, hour=time(), zone=zone)
        comes_at, held = asking.comes_at(case, begins=told_on)
        if comes_at <= asking.until and f"{REFERENCE}{OF_AN_INSTALMENT}{instalment.pk}" not in told:
            amount = min(missing, owed(of_it, currency=case.customer.currency))
            words = {"comes_at": comes_at, "acts_on": instalment.due_date, "against": held}
            yield _row(case, INSTALMENT, NoticeKind.INSTALMENT_DUE, amount, **words)


def _news(cases: Sequence[DunningCase], asking: Asking) -> Iterator[Beside]:
    """Yield what is late besides what was told of cases that have no step any more."""
    ended = [case for case in cases if case.state != CaseState.OPEN and case.pk not in asking.promises]
    counted = {
        case.pk: [one for one in asking.debts.get(case.customer_id, ()) if one.counts(terms=case.policy.read)]
        for case in ended
    }
    all_of_them = [debt for debts in counted.values() for debt in debts]
    new = untold(invoice_ids=[debt.invoice_id for debt in all_of_them]) - never_charged(debts=all_of_them)
    for case in ended:
        about = [debt for debt in counted[case.pk] if debt.invoice_id in new]
        comes_at, held = asking.comes_at(case, begins=asking.at)
        if about and comes_at <= asking.until:
            amount, against = (
                owed(about, currency=case.customer.currency),
                held or asking.money.get(case.customer_id, ""),
            )
            yield _row(case, NEWS, NoticeKind.REMINDER, amount, comes_at=comes_at, against=against)


def _back(cases: Sequence[DunningCase], promises: Mapping[int, Promise], *, at: datetime) -> Iterator[Beside]:
    """Yield whose service is given again: the next sweep tells it, whoever is late with nothing any more."""
    debts = all_debts(at=at)
    settled = [case for case in cases if case.customer_id not in debts]
    closed = restored_untold(at=at)
    customers = {case.customer_id for case in (*settled, *closed)}
    standing = {
        one.customer_id: one
        for one in (standings(customers=Customer.objects.filter(pk__in=customers), at=at) if customers else ())
    }
    recovered: dict[int, datetime] = dict(
        LifeCycleMove.objects.filter(customer__in=customers, trigger=Trigger.RECOVERED.value)
        .order_by("moved_at")
        .values_list("customer", "moved_at")
    )
    invoices = Invoice.objects.in_bulk({case.anchor_invoice_id for case in (*settled, *closed)})
    for case in (*closed, *settled):
        one, invoice = standing[case.customer_id], invoices[case.anchor_invoice_id]
        was_suspended = one.recorded is State.SUSPENDED or (
            case.customer_id in recovered and recovered[case.customer_id] >= case.opened_at
        )
        is_given_up = invoice.status == InvoiceStatus.WRITTEN_OFF
        is_told = case in closed or ((one.restricted_since or was_suspended) and not is_given_up)
        if is_told and one.state not in REFUSED:
            yield _row(case, BACK, NoticeKind.RESTORED, invoice.total, comes_at=at)


def _cards(cases: Sequence[DunningCase], debts: Mapping[int, Sequence[Debt]], *, until: datetime) -> Iterator[Beside]:
    """Yield the cards that are charged again: by the next try of a refusal, and what is planned already."""
    due = retries_due(debts=debts, at=until)
    planned = set(
        ChargeAttempt.objects.filter(status=ChargeStatus.PLANNED, next_attempt_at__lte=until).values_list(
            "invoice", flat=True
        )
    )
    for case in cases:
        for debt in debts.get(case.customer_id, ()):
            if debt.invoice_id in planned or debt.invoice_id in due.get(case.pk, ()):
                yield _row(case, f"{CARD}: {debt.number}", None, debt.amount, comes_at=None)


def _row(case: DunningCase, what: str, kind: NoticeKind | None, amount: Money, **when: Any) -> Beside:
    notice = kind.value if kind is not None else ""
    return Beside(case.customer, case, what, amount, notice, language_for(customer=case.customer), **when)
