"""Attacks on the bank: raw SQL, two people at one line, killed between steps, and random statements with random splits in any order."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import minor_unit, round_money, total
from invoicing.bank.models import BankAllocation, BankLine
from invoicing.bank.queries import left_of, money_on_account, open_lines, rest_of
from invoicing.bank.reconciliation import reconciliations
from invoicing.invoices.models import Invoice
from invoicing.ledger.models import JournalEntry
from invoicing.payments.models import Payment
from invoicing.workflows import match_bank_lines
from invoicing.workflows.allocate_bank_line import Share, allocate_bank_line, take_back_allocation
from invoicing.workflows.bank_faults import bank_faults
from invoicing.workflows.booking_faults import booking_faults
from invoicing.workflows.import_bank_statement import Upload, import_bank_statement
from invoicing.workflows.match_bank_lines import propose, settle_certain_lines
from invoicing.workflows.use_money_on_account import apply_money_on_account, pay_money_back
from invoicing.workflows.verify import verify
from tests.factories import JULY, a_customer, settle_constraints
from tests.invoicing.bank.statements import AT, Entry, allocate, camt, import_camt, one_line
from tests.invoicing.selling import item, once, paid
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql
from tests.races import at_once, unexpected

WHO = {"at": AT, "actor": "ann", "reason": "agreed"}
ALLOCATE = (
    "INSERT INTO invoicing_bankallocation (line_id, number, reference, kind, currency, amount, payment_id, customer_id, entry_id,"
    " allocated_at, actor, reason) SELECT line.id, {number}, line.reference || '/' || {number}, '{kind}', '{currency}', {amount},"
    " {payment}, {customer}, {entry}, now(), '{actor}', '{reason}' FROM invoicing_bankline line WHERE line.id = {line}"
)
USE = (
    "INSERT INTO invoicing_accountuse (allocation_id, number, reference, kind, payment_id, currency, amount, used_at, actor, reason)"
    " SELECT id, {number}, reference || '/' || {number}, '{kind}', {payment}, 'USD', {amount}, now(), 'x', 'x'"
    " FROM invoicing_bankallocation WHERE id = {lot}"
)


def usd(amount: str) -> Money:
    return Money(amount, "USD")


def sql(line: BankLine, amount: str, kind: str = "set_aside", **members: Any) -> str:
    known = {
        "number": 2,
        "currency": "USD",
        "payment": "NULL",
        "customer": "NULL",
        "entry": "NULL",
        "actor": "x",
        "reason": "x",
    }
    return ALLOCATE.format(line=line.pk, kind=kind, amount=amount, **(known | members))


@pytest.mark.django_db
def test_no_more_of_a_line_is_allocated_than_it_is_by_raw_sql_either() -> None:
    invoice = once(a_customer(settlement_channel="manual"))
    by_hand = paid(once(invoice.customer, item("30"), key="hand"))
    line, out = import_camt(Entry("100.00"), Entry("-10.00")).lines
    [first] = allocate(line, Share("payment", usd("60"), invoice_id=invoice.pk))
    entry = JournalEntry.objects.get(kind="payment", reference=f"manual:{by_hand.reference}")
    own = JournalEntry.objects.get(kind="bank_line", reference=line.reference)
    settle_constraints()

    for statement in (
        sql(line, "40.01"),
        sql(line, "-1"),
        sql(line, "0"),
        sql(line, "40", currency="EUR"),
        sql(line, "40", number=3),
        sql(line, "40", number=1),
        sql(line, "40", actor=""),
        sql(line, "40", reason=""),
        sql(line, "40", "gift"),
        sql(line, "40", "payment"),
        sql(line, "40", "payment", payment=by_hand.pk),
        sql(line, "40", "on_account"),
        sql(line, "40", "on_account", customer=invoice.customer_id, payment=by_hand.pk),
        sql(line, "40", "known"),
        sql(line, "31", "known", entry=entry.pk),
        sql(line, "30", "known", entry=own.pk),
        sql(out, "1", number=1),
        sql(out, "-10.01", number=1),
        sql(out, "-10", "on_account", number=1, customer=invoice.customer_id),
        sql(out, "-10", "known", number=1, entry=entry.pk),
        f"INSERT INTO invoicing_allocationreversal (allocation_id, reversed_at, actor, reason) VALUES ({first.pk}, now(), 'x', 'x')",
        "UPDATE invoicing_bankline SET amount = 1",
        "UPDATE invoicing_bankallocation SET amount = 1",
        "DELETE FROM invoicing_bankallocation",
        "TRUNCATE invoicing_bankallocation CASCADE",
        "TRUNCATE invoicing_bankline CASCADE",
        "DELETE FROM invoicing_bankfile",
        "UPDATE invoicing_bankfile SET content = ''",
        "UPDATE invoicing_bankstatement SET closing = 1",
        "UPDATE invoicing_bankaccount SET identifier = 'x'",
        f'INSERT INTO invoicing_bankline SELECT (jsonb_populate_record(line, \'{{"id": -1, "reference": "x"}}\')).* FROM invoicing_bankline line WHERE id = {line.pk}',
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)
    assert verify() == []

    behind_the_triggers(f"UPDATE invoicing_bankallocation SET amount = 500 WHERE id = {first.pk}")
    said = {one.message for one in verify()}
    assert any("are allocated" in one for one in said), said


@pytest.mark.django_db
def test_money_on_account_is_used_once_by_raw_sql_either() -> None:
    invoice = once(a_customer(settlement_channel="manual"))
    other = paid(once(a_customer("cust_other", settlement_channel="manual"), item("30"), key="other"))
    [lot] = allocate(one_line(Entry("100.00")), Share("on_account", usd("100"), customer_id=invoice.customer_id))
    pay_money_back(lot_id=lot.pk, amount=usd("60"), rest=usd("100"), **WHO)
    settle_constraints()

    for statement in (
        USE.format(lot=lot.pk, number=2, kind="paid_back", payment="NULL", amount="40.01"),
        USE.format(lot=lot.pk, number=3, kind="paid_back", payment="NULL", amount="40"),
        USE.format(lot=lot.pk, number=2, kind="paid_back", payment=other.pk, amount="30"),
        USE.format(lot=lot.pk, number=2, kind="applied", payment=other.pk, amount="30"),
        USE.format(lot=lot.pk, number=2, kind="applied", payment="NULL", amount="30"),
        USE.format(lot=lot.pk, number=2, kind="lost", payment="NULL", amount="30"),
        f"INSERT INTO invoicing_allocationreversal (allocation_id, reversed_at, actor, reason) VALUES ({lot.pk}, now(), 'x', 'x')",
        "UPDATE invoicing_accountuse SET amount = 1",
        "DELETE FROM invoicing_accountuse",
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)
    assert verify() == []


@pytest.mark.django_db
def test_verify_tells_what_a_superuser_changed_behind_the_guards() -> None:
    invoice = once(a_customer(settlement_channel="manual"))
    line = one_line(Entry("100.00"))
    allocate(line, Share("on_account", usd("30"), customer_id=invoice.customer_id))
    settle_constraints()
    for statement, said in (
        ("UPDATE invoicing_bankline SET amount = 99", "is over 100"),
        ("UPDATE invoicing_bankfile SET content = 'x'", "its bytes are not"),
        ("DELETE FROM invoicing_bankallocation", "there is nothing that it stands for"),
        (
            "UPDATE invoicing_posting SET amount = amount * 2 WHERE entry_id IN (SELECT id FROM invoicing_journalentry WHERE kind = 'bank_line')",
            "unexplained",
        ),
    ):
        with transaction.atomic():
            behind_the_triggers(statement)
            assert any(said in message for _, message in bank_faults()), statement
            transaction.set_rollback(True)
    assert list(bank_faults()) == []


@pytest.mark.django_db(transaction=True)
def test_two_people_at_one_line_and_four_imports_at_once_spend_it_once() -> None:
    invoice = once(a_customer(settlement_channel="manual"))
    second = once(invoice.customer, item("120"), key="second")
    entries = [Entry("120.00"), Entry("120.00", str(invoice.number), day=date(2026, 7, 12))]
    upload = Upload("july.xml", "camt053", camt(*entries))
    overlapping = Upload("more.xml", "camt053", camt(*entries, Entry("7.00", day=date(2026, 7, 13))))

    outcomes = at_once(
        *[lambda one=one: import_bank_statement(upload=one, at=AT, actor="ann") for one in (upload, overlapping) * 2]
    )
    assert not unexpected(outcomes) and BankLine.objects.count() == 3

    line = BankLine.objects.get(booked_on=date(2026, 7, 10))
    outcomes = at_once(
        *[
            lambda one=one: allocate_bank_line(
                line_id=line.pk, shares=[Share("payment", usd("120"), invoice_id=one.pk)], left=usd("120"), **WHO
            )
            for one in (invoice, second) * 2
        ],
        lambda: settle_certain_lines(file_id=None, at=AT),
        lambda: settle_certain_lines(file_id=None, at=AT),
    )
    assert not unexpected(outcomes), outcomes
    assert sum(isinstance(one, list) for one in outcomes) <= 1
    assert left_of(line=line).amount >= 0 and Payment.objects.count() <= 2
    assert verify() == []


@pytest.mark.django_db(transaction=True)
def test_one_movement_recorded_by_hand_is_claimed_by_one_line_of_two_at_once() -> None:
    paid(once(a_customer(settlement_channel="manual")), at=JULY + timedelta(days=8))
    lines = import_camt(Entry("120.00"), Entry("120.00")).lines
    [known] = propose(line=lines[0]).known
    shares = [Share("known", usd("120"), entry_id=known.entry.pk)]

    outcomes = at_once(
        *[
            lambda line=line: allocate_bank_line(line_id=line.pk, shares=shares, left=usd("120"), **WHO)
            for line in lines
        ]
    )

    assert BankAllocation.objects.count() == 1, outcomes
    assert verify() == []


class Killed(BaseException):
    """The worker is gone."""


@pytest.mark.django_db
def test_killed_between_lines_the_next_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    customer = a_customer(settlement_channel="manual")
    invoices = [once(customer, key=f"k{number}") for number in range(3)]
    import_camt(*[Entry("120.00", str(one.number), reference=str(one.number)) for one in invoices])
    settle = match_bank_lines.allocate_bank_line
    for number in range(2):

        def killed(number: int = number, **options: Any) -> Any:
            if Payment.objects.count() > number:
                raise Killed
            return settle(**options)

        monkeypatch.setattr(match_bank_lines, "allocate_bank_line", killed)
        with pytest.raises(Killed):
            settle_certain_lines(file_id=None, at=AT)
    monkeypatch.undo()

    assert settle_certain_lines(file_id=None, at=AT) == 1
    assert not open_lines() and Invoice.objects.filter(status="paid").count() == 3
    settle_constraints()
    assert verify() == []


@contextmanager
def forgotten() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


STEPS = st.tuples(
    st.sampled_from(["import", "pay", "pay", "on_account", "aside", "known", "undo", "apply", "back", "hand", "auto"]),
    st.integers(0, 7),
    st.integers(1, 130),
)


@pytest.mark.django_db
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    currency=st.sampled_from(["USD", "JPY", "KWD", "CLF"]),
    amounts=st.lists(st.integers(-40, 150).filter(bool), min_size=1, max_size=6),
    steps=st.lists(STEPS, min_size=3, max_size=14),
)
def test_random_splits_conserve_every_cent(
    currency: str, amounts: list[int], steps: list[tuple[str, int, int]]
) -> None:
    with forgotten():
        life = _Life(currency, amounts)
        for name, place, percent in steps:
            try:
                with transaction.atomic():
                    life.step(name, place, percent)
            except BillingError:
                pass
            life.check()
        settle_constraints()
        assert list(booking_faults()) == []


class _Life:
    """A customer with three invoices, and a statement that comes in pieces that overlap."""

    def __init__(self, currency: str, amounts: list[int]) -> None:
        self.currency = currency
        unit = minor_unit(currency)
        self.customer = a_customer(settlement_channel="manual", currency=currency)
        self.invoices = [
            once(self.customer, item(str(unit * 100 * (number + 1)), currency=currency), key=f"i{number}")
            for number in range(3)
        ]
        self.entries = [
            Entry(str(unit * amount), str(self.invoices[number % 3].number), day=date(2026, 7, 1 + number % 4), iban="")
            for number, amount in enumerate(amounts)
        ]
        self.count = 0

    def step(self, name: str, place: int, percent: int) -> None:
        self.count += 1
        lines = list(BankLine.objects.order_by("id"))
        invoice = self.invoices[place % 3]
        if name == "import":
            self._import(place)
        elif name == "hand":
            invoice.refresh_from_db()
            paid(invoice, str(self._part(invoice.amount_unpaid, percent).amount), reference=f"hand {self.count}")
        elif name == "auto":
            settle_certain_lines(file_id=None, at=AT)
        elif name in ("apply", "back"):
            self._use(name, invoice, percent)
        elif name == "undo":
            found = BankAllocation.objects.order_by("id")[place : place + 1]
            for one in found:
                take_back_allocation(allocation_id=one.pk, **WHO)
        elif lines:
            self._allocate(lines[place % len(lines)], name, invoice, percent)

    def _import(self, place: int) -> None:
        """Import whole days, from the first to any, or from any to the last, in either order."""
        days = sorted({one.day for one in self.entries})
        cut = days[place % len(days)]
        kept = [one for one in self.entries if (one.day <= cut if place % 2 else one.day >= cut)]
        first = min(one.day for one in kept)
        opening = sum((Decimal(one.amount) for one in self.entries if one.day < first), Decimal(0))
        content = camt(*kept, currency=self.currency, opening=str(opening), number=str(self.count))
        import_bank_statement(upload=Upload("x", "camt053", content), at=AT, actor="ann")

    def _allocate(self, line: BankLine, name: str, invoice: Invoice, percent: int) -> None:
        left = left_of(line=line)
        part = self._part(left, percent)
        share = {
            "pay": Share("payment", part, invoice_id=invoice.pk),
            "on_account": Share("on_account", part, customer_id=self.customer.pk),
            "aside": Share("set_aside", part),
        }
        known = propose(line=line).known
        if name == "known":
            if not known:
                return
            share["known"] = Share("known", left, entry_id=known[0].entry.pk)
        allocate_bank_line(line_id=line.pk, shares=[share[name]], left=left, **WHO)

    def _use(self, name: str, invoice: Invoice, percent: int) -> None:
        lot = money_on_account().first()
        if lot is None:
            return
        rest = rest_of(lot=lot)
        asked = {"lot_id": lot.pk, "amount": self._part(rest, percent), "rest": rest, **WHO}
        if name == "apply":
            apply_money_on_account(invoice_id=invoice.pk, **asked)
        else:
            pay_money_back(**asked)

    def _part(self, money: Money, percent: int) -> Money:
        return round_money(money.amount * percent / 100, self.currency)

    def check(self) -> None:
        assert list(bank_faults()) == []
        for line in BankLine.objects.all():
            said = line.allocations.filter(reversal__isnull=True)
            named = total((one.amount for one in said), self.currency)
            assert named + left_of(line=line) == line.amount
            assert abs(named.amount) <= abs(line.amount.amount)
        for one in reconciliations():
            assert not one.unexplained.amount
