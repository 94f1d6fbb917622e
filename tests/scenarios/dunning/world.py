"""A world of customers, turned by the clock: what happens to them happens through the product's own operations, and its worker looks by when it may."""

import heapq
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any

import time_machine
from django.db import connection
from django.test import override_settings
from django.utils.module_loading import import_string
from django_q.models import OrmQ
from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.written_query import WrittenObjects, WrittenQuery
from dunning.arrangements.operations import (
    NewInstalment,
    decide_objection,
    hold_dunning,
    lift_hold,
    object_to,
    promise_to_pay,
    withdraw_promise,
)
from dunning.cases.models import DunningCase
from dunning.core.case_life import LIVE
from dunning.notices import outbox
from dunning.notices.models import Notice
from dunning.policies.operations import assign_policy, ensure_presets, publish_policy
from dunning.sweep import sweep_dunning
from invoicing.catalog.queries import published_version
from invoicing.credit_notes.operations import CreditAsked
from invoicing.customers.models import Customer
from invoicing.customers.operations import change_customer
from invoicing.invoices.models import Invoice
from invoicing.payments import charging, intake, push
from invoicing.payments.models import Payment, PaymentFailure, PushIntent, PushStatus
from invoicing.payments.remote import RemoteInvoice
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import Subscription
from invoicing.workflows.credit_invoice import credit_invoice
from invoicing.workflows.follow_stripe import sweep_open_invoices
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import FOLLOW_JOB, settle_payment
from tests.factories import a_customer, a_plan, a_subscription, nothing_is_checked_before_issue, usd_fee
from tests.scenarios.dunning import mails
from tests.scenarios.dunning.clock import DatabaseClock
from tests.scenarios.dunning.facts import LADDERS, Fact, Look
from tests.scenarios.dunning.lives import Coming, Life, Paper, a_life, on_invoice, what_comes
from tests.scenarios.dunning.twin import DOWN, UNDER_WAY, Twin, event_of
from tests.scenarios.dunning.weather import Weather

BEGIN = datetime(2027, 1, 1, tzinfo=UTC)
FOUNDED = BEGIN - timedelta(days=60)
WHO = {"actor": "ann", "reason": "the simulation has it so"}
NET_DAYS = 7
# After the last month nothing more is billed, but what is late goes its way.
AFTERWARDS = 40
# What is worth a worker here: the rest mirrors and prints.
JOBS = (
    "invoicing.tasks.push_invoice",
    "invoicing.tasks.withdraw_invoice",
    "invoicing.tasks.follow_notice",
    "invoicing.tasks.follow_invoice",
    "dunning.tasks.charge_again",
    "dunning.tasks.send_notice",
    FOLLOW_JOB,
)
PLANS = {"month": ("pro", "max"), "quarter": ("pro-quarter", "max-quarter")}
SETTINGS = {"EMAIL_BACKEND": "tests.scenarios.dunning.mails.Backend", "MAIL_FROM": "billing@house.example"}


# What `World.seen` asks for, in its order.
_NEWEST = "SELECT " + ", ".join(
    f"coalesce((SELECT max(id) FROM {model._meta.db_table}), 0)" for model in (Invoice, Payment, PaymentFailure)
)
# How notices name the step of a case that they tell of.
_OF_A_STEP = re.compile(r"dunning:\d+:\d+")
# Of which invoices the product knows that a debit is under way.
_DEBITED = WrittenQuery(lambda: PushIntent.objects.filter(under_way_since__isnull=False).values_list("invoice"))
# The worker asks for its jobs again and again, and so it is here.
_WAITING = WrittenObjects(lambda at: OrmQ.objects.filter(lock__lte=at).order_by("id"), at=datetime)


class World:
    """Customers, Stripe, the weather, and what happened in which order."""

    def __init__(self, *, seed: int, customers: range, months: int, looks_a_day: int = 3, only: str = "") -> None:
        self.seed, self.months, self.numbers = seed, months, itertools.count(1)
        self.weather = Weather(seed=seed, begin=BEGIN, days=months * 30 + AFTERWARDS, looks_a_day=looks_a_day)
        self.looks_a_day = looks_a_day
        lives = [a_life(number, seed=seed, begin=BEGIN) for number in customers]
        self.lives = [life for life in lives if not only or life.key == only]
        self.by_row: dict[int, Life] = {}
        self.papers: dict[int, tuple[Life, int]] = {}
        self.by_number: dict[str, tuple[Life, int]] = {}
        self.coming: list[tuple[datetime, bool, int, str, Any, Any]] = []
        self.looks: list[Look] = []
        self.refused: dict[str, int] = defaultdict(int)
        self.faults: list[str] = []
        self.seen = {Invoice: 0, Payment: 0, PaymentFailure: 0}
        self.pending: set[int] = set()
        self.debited: set[int] = set()
        self.is_sweeping = False
        self.mailed = 0
        self.at = FOUNDED
        self.twin = Twin(bank=self._bank, tell=self._tell, asked=self._asked, paid=self._paid)
        mails.post = mails.Post(seed)

    def live(self) -> None:
        """Turn the clock from the first look to the last."""
        with (
            override_settings(**SETTINGS),
            self.twin.played(),
            time_machine.travel(FOUNDED, tick=False) as self.clock,
        ):
            self.database_clock = DatabaseClock(FOUNDED)
            self._found()
            day = None
            for at in self.weather.looks:
                self._happen(until=at, after=False)
                if not self.weather.is_without_worker(at):
                    self._work(at, is_first=at.date() != day)
                    day = at.date()
                self._happen(until=at, after=True)
            self._turn(self.weather.looks[-1])

    # The beginning.

    def _found(self) -> None:
        for number, (monthly, quarterly) in enumerate(zip(*PLANS.values(), strict=True)):
            fee = ("31", "57")[number]
            a_plan(monthly, usd_fee(fee), at=FOUNDED)
            a_plan(quarterly, usd_fee(fee), at=FOUNDED, cadence="quarter")
        nothing_is_checked_before_issue()
        ensure_presets()
        careful = LADDERS["careful"]
        publish_policy(
            key="careful",
            name="Careful",
            terms={
                "steps": [{"day": one.day, "act": one.act, "notice": one.notice} for one in careful.rules],
                "counts_from": "due",
                "at_hour": "10:00",
                "quiet_from": "18:00",
                "quiet_until": "09:00",
                "business_days": True,
                "holidays": [day.isoformat() for day in careful.holidays],
                "minimums": {"USD": str(careful.minimum)},
                "retries_max": careful.retries,
            },
            in_force_from=FOUNDED,
            at=FOUNDED,
            **WHO,
        )
        for life in self.lives:
            fields = {"settlement_channel": "stripe", "payment_method": "pm_1"} if life.has_card else {}
            customer = a_customer(
                life.key, timezone=str(life.zone), net_terms_days=NET_DAYS, email=life.email, **fields
            )
            life.row = customer.pk
            self.by_row[customer.pk] = life
            self._log(life, "card", said="pm_1" if life.has_card else "")
            life.card = "pm_1"
            assign_policy(policy=life.policy, customer=customer, country="", at=BEGIN, **WHO)
            life.registered_at = Customer.objects.values_list("created_at", flat=True).get(pk=life.row)
            self._push(life, Coming(life.begins, "start"))
            for one in what_comes(life, months=self.months):
                self._push(life, one)

    # What happens.

    def _push(self, life: Life, coming: Coming) -> None:
        heapq.heappush(self.coming, (coming.at, coming.after, next(self.numbers), coming.what, life, coming))

    def _happen(self, *, until: datetime, after: bool) -> None:
        while self.coming and (self.coming[0][0], self.coming[0][1]) <= (until, after):
            at, _, _, what, life, coming = heapq.heappop(self.coming)
            self._turn(max(at, self.at))
            try:
                getattr(self, f"_do_{what}")(life, coming, at)
            except BillingError as refusal:
                self.refused[f"{what}: {type(refusal).__name__} {refusal.code}"] += 1

    def _turn(self, at: datetime) -> None:
        if at != self.at:
            self.clock.move_to(at, tick=False)
            self.database_clock.turn_to(at)
        self.at = at
        self.twin.is_down = self.weather.is_without_stripe(at)

    def _log(self, life: Life, what: str, **members: Any) -> None:
        life.facts.append(Fact(number=next(self.numbers), at=self.at, what=what, **members))

    def _do_start(self, life: Life, coming: Coming, at: datetime) -> None:
        life.subscriptions += 1
        a_subscription(
            _customer(life),
            plan=PLANS[life.cadence][0],
            started_at=at,
            anchor="anniversary",
            key=f"{life.key}-{life.subscriptions}",
        )
        self._log(life, "starts", moment=at)

    def _do_return(self, life: Life, coming: Coming, at: datetime) -> None:
        last = _subscription(life)
        if last.ended_at is not None and last.ended_at <= at:
            self._do_start(life, coming, at)

    def _do_plan(self, life: Life, coming: Coming, at: datetime) -> None:
        subscription = _subscription(life)
        if subscription.ended_at is None:
            plans = PLANS[life.cadence]
            plan = published_version(plan_key=plans[life.chance.randrange(2)])
            change_plan(subscription=subscription, plan_version=plan, at=at, **WHO)

    def _do_cancel(self, life: Life, coming: Coming, at: datetime) -> None:
        subscription = _subscription(life)
        if subscription.ended_at is None:
            ended_at = at + timedelta(days=coming.days)
            end_subscription(subscription=subscription, ended_at=ended_at, **WHO)
            self._log(life, "ends", moment=ended_at)

    def _do_hold(self, life: Life, coming: Coming, at: datetime) -> None:
        until = at + timedelta(days=coming.days) if coming.days else None
        hold = hold_dunning(customer=_customer(life), kind=coming.said, until=until, at=at, **WHO)
        life.hold = hold.pk
        self._log(life, "held", said=str(hold.pk), moment=until)

    def _do_lift(self, life: Life, coming: Coming, at: datetime) -> None:
        if life.hold:
            lift_hold(hold_id=life.hold, at=at, **WHO)
            self._log(life, "lifted", said=str(life.hold))

    def _do_card(self, life: Life, coming: Coming, at: datetime) -> None:
        if coming.after:
            # What comes after a refusal is later: of two in the same microsecond the product cannot tell which was refused.
            self._turn(self.at + timedelta(seconds=1))
        life.card = f"pm_{int(life.card[3:]) + 1}"
        change_customer(customer=_customer(life), changes={"payment_method": life.card}, **WHO)
        self._log(life, "card", said=life.card)
        if coming.invoice >= 0:
            life.papers[coming.invoice].answers.clear()

    def _do_transfer(self, life: Life, coming: Coming, at: datetime) -> None:
        paper = life.papers[coming.invoice]
        amount = min(_cents(paper.total * coming.share), paper.open)
        if amount > 0:
            self._transfer(life, paper, amount, at)

    def _transfer(self, life: Life, paper: Paper, amount: Decimal, at: datetime) -> None:
        settle_payment(
            invoice_id=paper.row,
            channel="manual",
            reference=f"{life.key} {paper.row} {len(paper.payments)}",
            amount=Money(amount, "USD"),
            received_at=at,
            **WHO,
        )
        paper.paid += amount
        paper.payments.append((next(self.numbers), amount))
        self._learn()

    def _do_page(self, life: Life, coming: Coming, at: datetime) -> None:
        paper = life.papers[coming.invoice]
        remote = f"in_{Invoice.objects.values_list('number', flat=True).get(pk=paper.row)}"
        if remote in self.twin.invoices:
            self.twin.pay_on_page(remote)

    def _do_debit(self, life: Life, coming: Coming, at: datetime) -> None:
        paper = life.papers[coming.invoice]
        remote = f"in_{Invoice.objects.values_list('number', flat=True).get(pk=paper.row)}"
        if self.twin.is_payable(remote):
            self.twin.debit_on_page(remote)
            self._let_decide(life, coming.invoice)

    def _let_decide(self, life: Life, place: int) -> None:
        """A debit is decided after some days: it comes back now and then."""
        chance = Random(f"{self.seed} {life.key} {place} debit {self.at}")
        said = "insufficient_funds" if chance.random() < 0.2 else ""
        after = timedelta(days=chance.randrange(2, 12), minutes=chance.randrange(1440))
        life.papers[place].debits.append([next(self.numbers), None])
        self._push(life, Coming(self.at + after, "decide_debit", place, said=said))

    def _do_decide_debit(self, life: Life, coming: Coming, at: datetime) -> None:
        paper = life.papers[coming.invoice]
        paper.debits[-1][1] = next(self.numbers)
        self.twin.decide(f"in_{Invoice.objects.values_list('number', flat=True).get(pk=paper.row)}", coming.said)

    def _do_promise(self, life: Life, coming: Coming, at: datetime) -> None:
        case = DunningCase.objects.filter(customer=life.row, state__in=LIVE).first()
        late = sum(self._late_amounts(life, at), Decimal(0))
        if case is None or late <= 0:
            return
        today, count = at.astimezone(life.zone).date(), life.chance.choice((1, 2, 3))
        amounts = [_cents(late / count)] * (count - 1)
        amounts.append(late - sum(amounts, Decimal(0)))
        days = [today + timedelta(days=(number + 1) * life.chance.randrange(2, 12)) for number in range(count)]
        days = sorted(set(days))
        if len(days) < count or any(amount <= 0 for amount in amounts):
            return
        told = tuple(zip(days, amounts, strict=True))
        promise = promise_to_pay(
            case_id=case.pk,
            instalments=[NewInstalment(day, Money(amount, "USD")) for day, amount in told],
            at=at,
            **WHO,
        )
        life.promise = promise.pk
        self._log(life, "promised", days=told)
        # A promise is kept to its end, or to a part of it.
        for number, (day, amount) in enumerate(told):
            if Decimal(number) / count < coming.share:
                moment = datetime.combine(day, at.time(), tzinfo=life.zone).astimezone(UTC)
                self._push(life, Coming(moment, "pay_promised", share=amount))

    def _do_pay_promised(self, life: Life, coming: Coming, at: datetime) -> None:
        left = coming.share
        for paper in life.papers:
            amount = min(left, paper.open)
            if amount > 0 and paper.due < at.astimezone(life.zone).date():
                self._transfer(life, paper, amount, at)
                left -= amount

    def _do_withdraw(self, life: Life, coming: Coming, at: datetime) -> None:
        if life.promise:
            withdraw_promise(promise_id=life.promise, at=at, **WHO)
            self._log(life, "withdrawn")

    def _do_object(self, life: Life, coming: Coming, at: datetime) -> None:
        paper = life.papers[coming.invoice]
        amount = min(_cents(paper.total * coming.share), paper.open)
        if amount > 0 and not paper.objection:
            objection = object_to(invoice_id=paper.row, amount=Money(amount, "USD"), at=at, **WHO)
            paper.objected, paper.objection = amount, objection.pk
            self._log(life, "objected", invoice=coming.invoice, amount=amount)

    def _do_decide(self, life: Life, coming: Coming, at: datetime) -> None:
        paper = life.papers[coming.invoice]
        if not paper.objected:
            return
        decide_objection(objection_id=paper.objection, at=at, **WHO)
        given = min(_cents(paper.objected / 2), paper.open)
        paper.objected = Decimal(0)
        self._log(life, "decided", invoice=coming.invoice)
        if coming.said == "accept" and given > 0:
            credit_invoice(
                invoice_id=paper.row,
                key=f"credit-{paper.row}",
                asked=[CreditAsked(1, quantity=None, amount=Money(given, "USD"))],
                disposition="offset",
                at=at,
                **WHO,
            )
            paper.credited += given
            paper.payments.append((next(self.numbers), given))
            self._log(life, "credited", invoice=coming.invoice, amount=given)

    def _do_webhook(self, life: Life, coming: Coming, at: datetime) -> None:
        intake.receive_notice(payload=coming.said.encode(), signature="", at=at)

    def _late_amounts(self, life: Life, at: datetime) -> Iterator[Decimal]:
        """What is late by what the product was told: a promise is over that."""
        today = at.astimezone(life.zone).date()
        refused = {fact.invoice for fact in life.facts if fact.what == "refused"}
        known: dict[int, Decimal] = defaultdict(Decimal)
        for fact in life.facts:
            if fact.what in ("known", "credited"):
                known[fact.invoice] += fact.amount
        for number, paper in enumerate(life.papers):
            left = paper.total - known[number] - paper.objected
            if left > 0 and (paper.due < today or number in refused):
                yield left

    # Stripe and the bank.

    def _bank(self, remote: str) -> str:
        life, place = self._paper_of(remote)
        paper = life.papers[place]
        if paper.is_paid_elsewhere_meanwhile and paper.open > 0:
            self._transfer(life, paper, paper.open, self.at)
        answer = paper.answers.pop(0) if paper.answers else ""
        if answer == UNDER_WAY:
            self._let_decide(life, place)
        return answer

    def _paid(self, remote: str) -> None:
        life, place = self._paper_of(remote)
        paper = life.papers[place]
        if paper.open < paper.total:
            # Stripe takes all of it, whatever has come otherwise: what is too much is not booked before somebody pays it back.
            self._log(life, "paid twice", invoice=place)
        paper.paid += paper.total
        paper.payments.append((next(self.numbers), paper.total))

    def _asked(self, remote: str) -> None:
        """In the very second in which dunning asks, somebody pays now and then: on the page, or by a transfer."""
        life, place = self._paper_of(remote)
        paper, chance = life.papers[place], Random(f"{self.seed} {life.key} {place} {self.at}")
        if not self.is_sweeping or life.habit == "never" or paper.open <= 0 or chance.random() > 0.05:
            return
        if chance.random() < 0.5:
            self.twin.pay_on_page(remote)
        else:
            self._transfer(life, paper, paper.open, self.at)

    def _tell(self, kind: str, remote: RemoteInvoice) -> None:
        """Stripe's news: at once, hours or days late, twice, or never."""
        life, place = self._paper_of(remote.id)
        chance = Random(f"{self.seed} {life.key} {place} {kind} {self.at}")
        if chance.random() < 0.15:
            return
        body = event_of(kind, remote, number=next(self.numbers), at=self.at).decode()
        for _ in range(chance.choice((1, 1, 1, 2))):
            late = timedelta(seconds=chance.choice((1, 1, 1, 3_600, 40_000, 200_000)) + chance.randrange(600))
            self._push(life, Coming(self.at + late, "webhook", said=body))

    def _paper_of(self, remote: str) -> tuple[Life, int]:
        number = remote.removeprefix("in_")
        if number not in self.by_number:
            row = Invoice.objects.values_list("pk", flat=True).get(number=number)
            self._learn()
            self.by_number[number] = self.papers[row]
        return self.by_number[number]

    # The worker.

    def _work(self, at: datetime, *, is_first: bool) -> None:
        self._turn(at)
        self._run_jobs()
        lives = 0
        if is_first:
            report = issue_billing(as_of=at, at=at)
            self._note(f"{failure}" for failure in report.failures)
            self._learn()
            lives = next(self.numbers)
            self._note(f"life of {key}: {why}" for key, why in sweep_life_cycles(at=at).failures)
            if at.toordinal() % 3 == 0:
                sweep_open_invoices(at=at)
        for sweep in (push.sweep_pushes, intake.sweep_notices, charging.sweep_charges, outbox.sweep_notices):
            sweep(at=at)
        self._run_jobs()
        begins = next(self.numbers)
        self.is_sweeping = True
        # However slow the machine: what a sweep has no time for comes with the next one, and here that is half a day later.
        report = sweep_dunning(at=at, budget=timedelta(days=1))
        self.is_sweeping = False
        self._note(f"{subject}: {why}" for subject, why in report.failures if why != DOWN)
        self._learn()
        self.looks.append(Look(at, begins, next(self.numbers), lives, self.twin.is_down))
        # Between what was decided and what is told somebody pays.
        self._happen(until=at, after=True)
        self._turn(max(at, self.at))
        self._run_jobs()

    def _note(self, faults: Iterator[str]) -> None:
        self.faults += [f"{self.at}: {fault}" for fault in faults]

    def _run_jobs(self) -> None:
        while rows := _WAITING.all(at=self.at):
            OrmQ.objects.filter(pk__in=[row.pk for row in rows]).delete()
            for row in rows:
                name, arguments = row.task["func"], row.task["args"]
                if name not in JOBS:
                    continue
                mails.post.number = next(self.numbers)
                try:
                    import_string(name)(*arguments)
                except BillingError as problem:
                    self.refused[f"{name}: {type(problem).__name__} {problem.code}"] += 1
                if name == outbox.JOB:
                    self._learn_dropped(arguments[0])
                if name == FOLLOW_JOB:
                    self._learn()
                    self._log(self.by_row[arguments[0]], "followed")
            self._learn()

    def _learn_dropped(self, number: int) -> None:
        """Write down that a notice was not needed any more when it was to be sent: it has told nothing."""
        notice = Notice.objects.filter(pk=number, state="not_needed").values_list("customer", "kind", "planned_at")
        for customer, kind, planned_at in notice:
            self._log(self.by_row[customer], "dropped", said=kind, moment=planned_at)

    def _learn(self) -> None:
        """Write down what the product knows by now: invoices, payments, refusals, pushes, and which mails have left."""
        with connection.cursor() as cursor:
            cursor.execute(_NEWEST)
            self.newest = dict(zip(self.seen, cursor.fetchone(), strict=True))
        for invoice in self._new(Invoice):
            if invoice.number is not None:
                self._take_invoice(invoice)
        for payment in self._new(Payment):
            life, place = self.papers[payment.invoice_id]
            self._log(life, "known", invoice=place, amount=payment.amount.amount, moment=payment.received_at)
        for failure in self._new(PaymentFailure):
            life, place = self.papers[failure.invoice_id]
            assert not failure.by_customer, "nobody mistypes a card here"
            self._log(life, "refused", invoice=place, said=failure.code, moment=failure.occurred_at)
        self._learn_of_debits()
        taken = [pk for pk, _, is_taken in mails.post.handed[self.mailed :] if is_taken]
        self.mailed = len(mails.post.handed)
        mailed = Notice.objects.filter(pk__in=taken).values_list("customer", "planned_at", "reference") if taken else ()
        for customer, planned_at, reference in mailed:
            said = "step" if _OF_A_STEP.fullmatch(reference) else ""
            self._log(self.by_row[customer], "mailed", said=said, moment=planned_at)
        if self.pending:
            pushed = PushIntent.objects.filter(invoice__in=self.pending, status=PushStatus.PUSHED)
            for row in sorted(pushed.values_list("invoice", flat=True)):
                self.pending.discard(row)
                life, place = self.papers[row]
                self._log(life, "pushed", invoice=place)

    def _learn_of_debits(self) -> None:
        now = {row for (row,) in _DEBITED.rows()}
        for row in sorted(now ^ self.debited):
            life, place = self.papers[row]
            self._log(life, "under way" if row in now else "debit decided", invoice=place)
        self.debited = now

    def _new(self, model: Any) -> list[Any]:
        if self.newest[model] == self.seen[model]:
            return []
        rows = list(model.objects.filter(pk__gt=self.seen[model]).order_by("pk"))
        if rows:
            self.seen[model] = rows[-1].pk
        return rows

    def _take_invoice(self, invoice: Invoice) -> None:
        life = self.by_row[invoice.customer_id]
        if invoice.total.amount <= 0:
            return
        due = self.at.astimezone(life.zone).date() + timedelta(days=NET_DAYS)
        assert invoice.due_date == due, f"{invoice} is due {NET_DAYS} days after its day"
        paper = Paper(invoice.pk, invoice.total.amount, due, invoice.settlement_channel == "stripe")
        place = len(life.papers)
        life.papers.append(paper)
        self.papers[invoice.pk] = (life, place)
        if paper.is_charged:
            self.pending.add(invoice.pk)
        channel = "stripe" if paper.is_charged else ""
        moment = datetime.combine(due, datetime.min.time(), tzinfo=UTC)
        self._log(life, "issued", invoice=place, amount=paper.total, said=channel, moment=moment)
        for one in on_invoice(life, place, at=self.at, looks=self._looks_ahead()):
            self._push(life, one)

    def _looks_ahead(self) -> list[datetime]:
        return self.weather.looks


def _customer(life: Life) -> Customer:
    return Customer.objects.get(pk=life.row)


def _subscription(life: Life) -> Subscription:
    return Subscription.objects.filter(customer=life.row).latest("pk")


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
