"""Random lives of customers: after every step the books balance, every report ties, and what a past day said it still says."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import round_money
from invoicing.catalog.queries import published_version
from invoicing.closing.queries import Month, next_to_close
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.dispute_life import OPEN, STATUS_MOVES
from invoicing.core.invoice_life import COLLECTABLE, STANDING
from invoicing.credit_notes.creditable import creditable_of
from invoicing.credit_notes.operations import CreditAsked
from invoicing.credits.operations import GrantTerms, grant_credit
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceKind
from invoicing.ledger.queries import books_open_from, trial_balance, unbalanced_entries
from invoicing.payments.dispute import Dispute
from invoicing.payments.models import Payment
from invoicing.payments.refund import Refund
from invoicing.payments.remote import RemoteDispute, RemoteTransaction
from invoicing.reports.asking import Question
from invoicing.reports.catalogue import REPORTS
from invoicing.reports.exports.journal import journal_in
from invoicing.reports.faults import report_faults
from invoicing.reports.tabular import report_as_csv
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.commit import TrancheWanted, commit_spend
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.tax.operations import add_rate, add_registration, set_customer_tax, set_seller_tax
from invoicing.workflows.advance_faults import advance_faults
from invoicing.workflows.booking_faults import booking_faults
from invoicing.workflows.close_certificate import figures_again
from invoicing.workflows.close_faults import close_faults, closed_report_faults
from invoicing.workflows.commitment_faults import commitment_faults
from invoicing.workflows.credit_faults import credit_faults
from invoicing.workflows.credit_invoice import credit_invoice
from invoicing.workflows.credit_note_faults import credit_note_faults
from invoicing.workflows.dispute_faults import dispute_faults
from invoicing.workflows.expire_credits import expire_credits
from invoicing.workflows.follow_dispute import settle_dispute
from invoicing.workflows.pay_refund import settle_refund
from invoicing.workflows.recognise_revenue import recognise_due
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import settle_payment
from invoicing.workflows.void_invoice import void_invoice
from invoicing.workflows.write_off_faults import write_off_faults
from invoicing.workflows.write_off_invoice import take_back_write_off, write_off_invoice
from tests.factories import (
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.closing.closing import close
from tests.invoicing.disputing import as_at_stripe
from tests.invoicing.selling import item, once
from tests.invoicing.selling_entities import an_entity
from tests.invoicing.test_taxes import BY, YEAR, germany

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_held(db: None) -> None:
    """Whatever is drawn here, months without usage among it, is issued."""
    nothing_is_checked_before_issue()


BEGINS = datetime(2026, 1, 10, 3, tzinfo=UTC)
WHY: dict[str, Any] = {"actor": "test", "reason": "life"}
STEPS = (
    "bill",
    "bill",
    "bill",
    "use",
    "pay part",
    "pay all",
    "pay late",
    "close",
    "close",
    "promotional",
    "prepaid",
    "once",
    "void",
    "commit",
    "seats",
    "plan",
    "pause",
    "end",
    "credit",
    "credit",
    "pay back",
    "write off",
    "write off",
    "expect again",
    "dispute",
    "dispute",
    "bank decides",
    "bank decides",
)
AS_OF_A_DAY = [kind for kind in REPORTS if "as_of" in kind.asks]


class Life:
    """Two customers, one in dollars in Berlin, one in yen in Tokyo, taxed there or not at all, and what may happen to them.

    Who is in Tokyo buys from a company there, or from the same as the other; cards are charged by that one alone.
    """

    def __init__(self, *, is_taxed: bool, are_two: bool) -> None:
        self.seller = an_entity(key="jp").key if are_two else "main"
        for key, price, terms in (
            ("monthly", {"in_advance": True}, {}),
            ("yearly", {}, {"cadence": "year"}),
            ("weekly", {"in_advance": True}, {"cadence": "week"}),
        ):
            fees = [usd_fee("31.50") | price, {**usd_fee("4100"), "currency": "JPY"} | price]
            use_prices = [usd_per_action("0.01"), {**usd_per_action("2"), "currency": "JPY"}]
            a_plan(key, *fees, *use_prices, **terms)
        self.at = BEGINS
        self.count = 0
        # Disputes as Stripe holds them, by id.
        self.at_stripe: dict[str, RemoteDispute] = {}
        # What the reports of closed months said, and the days from which on something was booked later than it happened.
        self.closed: dict[Month, dict[str, str]] = {}
        self.changed_since: set[date] = set()
        self.customers = [
            a_customer("cust_berlin", timezone="Europe/Berlin", net_terms_days=30, settlement_channel="manual"),
            a_customer(
                "cust_tokyo",
                name="Kyoto KK",
                currency="JPY",
                timezone="Asia/Tokyo",
                settlement_channel="manual",
                legal_entity=self.seller,
            ),
        ]
        if is_taxed:
            self._tax()
        for customer in self.customers:
            a_subscription(customer, plan="monthly", started_at=self.at)

    def _tax(self) -> None:
        germany()
        if self.seller != "main":
            set_seller_tax(valid_from=YEAR, country="JP", legal_entity=self.seller, **BY)
        add_registration(jurisdiction="JP", number="T1234567890123", valid_from=YEAR, legal_entity=self.seller, **BY)
        add_rate(jurisdiction="JP", name="Consumption tax", rate=Decimal("0.1"), valid_from=YEAR, **BY)
        for customer, country in zip(self.customers, ("DE", "JP"), strict=True):
            set_customer_tax(customer=customer, country=country, **BY)

    def live(self, step: str, who: int, number: int) -> None:
        """Let one thing happen, or be refused."""
        self.count += 1
        self.at += timedelta(days=1 + number % 11, hours=number % 24)
        customer = self.customers[who]
        subscription = customer.subscriptions.order_by("id").first()
        assert subscription is not None
        try:
            with transaction.atomic():
                self._do(step, customer, subscription, number)
                settle_constraints()
        except BillingError:
            # Refused: nothing has changed, and nothing may have.
            settle_constraints()

    def _do(self, step: str, customer: Customer, subscription: Subscription, number: int) -> None:
        match step:
            case "bill":
                self.at += timedelta(days=17)
                expire_credits(at=self.at)
                recognise_due(at=self.at)
                issue_billing(as_of=self.at, at=self.at)
            case "use":
                use(customer.key, str(number * 37), at=self.at)
            case "pay part" | "pay all" | "pay late":
                self._pay(customer, 100 if step == "pay all" else number, is_late=step == "pay late")
            case "close":
                self._close()
            case "promotional" | "prepaid":
                amount = round_money(Decimal(number * 3), customer.currency)
                expires_at = self.at + timedelta(days=number * 2) if number % 2 else None
                kind = CreditKind(step)
                terms = GrantTerms(f"grant-{self.count}", kind.value, "Credit", amount, self.at, expires_at)
                grant_credit(customer=customer, terms=terms, at=self.at, **WHY)
            case "once":
                once(customer, item(str(number), currency=customer.currency), key=f"once-{self.count}", at=self.at)
            case "void":
                stated = Invoice.objects.filter(customer=customer, kind=InvoiceKind.ONE_OFF).order_by("-id").first()
                if stated is not None:
                    void_invoice(invoice_id=stated.pk, at=self.at, **WHY)
            case "commit":
                begins = self.at.replace(day=1, hour=0) + timedelta(days=number % 40)
                wanted = [TrancheWanted(1 + number % 2, Decimal(number)), TrancheWanted(1, Decimal(number))]
                commit_spend(
                    subscription=subscription, starts_at=begins, payment="in_advance", tranches=wanted, rolls_over=number % 3 > 0,
                    at=self.at, **WHY,
                )  # fmt: skip
            case "seats":
                change_quantity(subscription=subscription, quantity=1 + number % 4, at=self.at, **WHY)
            case "plan":
                version = published_version(plan_key=("monthly", "yearly", "weekly")[number % 3])
                change_plan(subscription=subscription, plan_version=version, at=self.at, **WHY)
            case "pause":
                turn = pause_subscription if number % 2 else resume_subscription
                turn(subscription=subscription, at=self.at, **WHY)
            case "credit":
                self._credit(customer, number)
            case "pay back":
                for refund in Refund.objects.filter(note__customer=customer).exclude(status="paid"):
                    settle_refund(
                        refund_id=refund.pk,
                        channel=refund.channel,
                        reference=f"B-{refund.pk}",
                        paid_at=self.at,
                        actor="test",
                    )
            case "dispute" | "bank decides":
                self._dispute(customer, step, number)
            case "write off" | "expect again":
                self._give_up(customer, step)
            case _:
                end_subscription(subscription=subscription, ended_at=self.at, **WHY)

    def _credit(self, customer: Customer, number: int) -> None:
        """Credit the newest invoice or an older one: whole, a line whole, a part of its quantity, or an amount."""
        invoices = Invoice.objects.filter(customer=customer, status__in=STANDING).order_by("-id")
        invoice = invoices[number % 3 : number % 3 + 1].first()
        if invoice is None:
            return
        open_lines = [one for one in creditable_of(invoice=invoice).lines if one.left.amount]
        of = open_lines[number % len(open_lines)] if open_lines else None
        asked: list[CreditAsked] = []
        if of is not None and number % 4:
            share = Decimal(number) / 100
            quantity = of.quantity_left * share if number % 4 == 2 and of.quantity_left else None
            amount = round_money(of.left.amount * share, customer.currency) if number % 4 == 3 else None
            asked = [CreditAsked(of.line.position, quantity=quantity, amount=amount)]
        credit_invoice(
            invoice_id=invoice.pk, key=f"credit-{self.count}", asked=asked, at=self.at,
            disposition=("offset", "balance", "refund")[number % 3], **WHY,
        )  # fmt: skip

    def _give_up(self, customer: Customer, step: str) -> None:
        """Write the oldest open invoice off, or expect the oldest written off again."""
        status, deed = ("issued", write_off_invoice) if step == "write off" else ("written_off", take_back_write_off)
        invoice = Invoice.objects.filter(customer=customer, status=status).order_by("id").first()
        if invoice is not None:
            deed(invoice_id=invoice.pk, at=self.at, **WHY)

    def _dispute(self, customer: Customer, step: str, number: int) -> None:
        """Question a part of the newest payment by card, or all of it, or let the bank go on with an open dispute."""
        if step == "dispute":
            payment = Payment.objects.filter(customer=customer, channel="stripe").order_by("-id").first()
            if payment is None:
                return
            amount = round_money(payment.amount.amount * (number if number % 3 else 100) / 100, payment.currency)
            if not amount.amount:
                return
            status = ("needs_response", "warning_needs_response", "under_review", "lost", "won")[number % 5]
            present = as_at_stripe(payment, amount, status, number=self.count, opened_at=self.at)
        else:
            opened = Dispute.objects.filter(payment__customer=customer, status__in=OPEN).order_by("id")
            dispute = opened[number % max(opened.count(), 1) :].first()
            if dispute is None:
                return
            payment, before = dispute.payment, self.at_stripe[dispute.stripe_id]
            ahead = sorted(to for start, to in STATUS_MOVES if start == dispute.status)
            present = replace(before, status=ahead[number % len(ahead)])
        present = self._moved(present, number)
        settle_dispute(present=present, payment=payment, heard_at=self.at)
        self.at_stripe[present.id] = present

    def _moved(self, present: RemoteDispute, number: int) -> RemoteDispute:
        """Let Stripe withdraw what a chargeback claims, and give back what is won, now or never."""
        moved = present.transactions
        currency = present.amount.currency
        if present.status in ("needs_response", "under_review", "lost", "won") and not moved:
            taken = RemoteTransaction(f"txn_{self.count}", present.amount * -1, Money(number % 3, currency), self.at)
            moved = (taken,)
        if present.status == "won" and number % 4:
            moved = (*moved, RemoteTransaction(f"txn_{self.count}b", present.amount, Money(0, currency), self.at))
        return replace(present, transactions=moved)

    def _close(self) -> None:
        """Close the next month, if it is over: whatever is open is signed off."""
        following = next_to_close()
        if following is None or self.at < following.span.end:
            return
        closed = close(following, at=self.at)
        self.closed[following] = figures_again(month=following)
        assert {
            name: told["figures"] for name, told in closed.certificate["reports"].items() if "figures" in told
        } == self.closed[following]

    def _pay(self, customer: Customer, percent: int, *, is_late: bool) -> None:
        """Pay the oldest invoice that is open, or was given up: late money recovers it."""
        invoice = Invoice.objects.filter(customer=customer, status__in=COLLECTABLE).order_by("id").first()
        if invoice is None:
            return
        amount = round_money(invoice.amount_unpaid.amount * percent / 100, invoice.currency)
        opened = books_open_from()
        received_at = self.at
        if is_late and opened is not None and invoice.issued_at is not None and invoice.issued_at < opened:
            # It arrived in a month that is closed, and nobody wrote it down in time.
            received_at = max(invoice.issued_at, opened - timedelta(days=percent))
            self.changed_since.add(opened.date())
        if amount.amount:
            settle_payment(
                invoice_id=invoice.pk,
                channel=("stripe", "manual")[percent % 2],
                reference=f"ch_{self.count}",
                amount=amount,
                received_at=received_at,
            )


@contextmanager
def nothing_kept() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def asked(day: date, customer: Customer | None = None) -> Question:
    return Question(as_of=day, start=max(date(2026, 1, 1), day - timedelta(days=70)), end=day, customer=customer)


# A life is a hundred invoices or more, each step asks for every report: `LIFE_EXAMPLES=50` is the night's work.
@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(
    max_examples=int(os.environ.get("LIFE_EXAMPLES", "2")),
    deadline=None,
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    is_taxed=st.booleans(),
    are_two=st.booleans(),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1), st.integers(1, 99)), min_size=5, max_size=8),
)
def test_after_every_step_of_a_life_every_report_ties_and_the_past_stays(
    is_taxed: bool, are_two: bool, steps: list[tuple[str, int, int]]
) -> None:
    with nothing_kept():
        life = Life(is_taxed=is_taxed, are_two=are_two)
        said: dict[tuple[str, date], str] = {}
        for step in steps:
            life.live(*step)
            today = life.at.date()
            for kind in REPORTS:
                for customer in (None, life.customers[step[1]]) if "customer_id" in kind.asks else (None,):
                    report = kind.answer(question=asked(today, customer))
                    assert report.is_tied, (kind.name, step, [tie for tie in report.ties if not tie.holds])
            assert unbalanced_entries() == []
            for entity in {"main", life.seller}:
                assert not sum(one.amount.amount for one in trial_balance(entity=entity)), (entity, step)
            yesterday = today - timedelta(days=1)
            for kind in AS_OF_A_DAY:
                said[kind.name, yesterday] = report_as_csv(report=kind.answer(question=asked(yesterday)))
        assert list(report_faults()) == []
        assert [
            *credit_note_faults(),
            *dispute_faults(),
            *write_off_faults(),
            *booking_faults(),
            *credit_faults(),
            *advance_faults(),
            *commitment_faults(),
        ] == []
        assert [*close_faults(), *closed_report_faults()] == []
        for month, figures in life.closed.items():
            assert figures_again(month=month) == figures, "a report of a closed month never changes"
        for (name, day), then in said.items():
            if any(day >= first for first in life.changed_since):
                continue
            kind = next(kind for kind in AS_OF_A_DAY if kind.name == name)
            assert report_as_csv(report=kind.answer(question=asked(day))) == then, (name, day)
        whole = Question(as_of=today, start=date(2026, 1, 1), end=today)
        left = sum(line.amount.amount for record in journal_in(span=whole.span) for line in record.lines)
        assert left == 0
