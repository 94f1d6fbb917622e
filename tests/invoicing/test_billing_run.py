"""Billing runs: every period that is due becomes one invoice, however often and by how many it is run."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidFields, NotFound
from billing_site.kernel.history import save_with_reason
from billing_site.kernel.period import Period
from invoicing.catalog.operations import load_catalog
from invoicing.customers.models import Customer
from invoicing.invoices import event_roots
from invoicing.invoices.models import BillingRun, Invoice, InvoiceSeries, InvoiceStatus
from invoicing.ledger.models import JournalEntry
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import Subscription
from invoicing.workflows import run_billing
from invoicing.workflows.compute_invoice import ComputedInvoice, Ground, compute_invoices
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from metering.models import EventTree
from tests.factories import (
    AUGUST,
    JULY,
    MILLION_TIERS,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    amounts,
    usd_fee,
    usd_per_action,
    use,
)
from tests.races import at_once, unexpected

pytestmark = pytest.mark.django_db

BILLED_AT = AUGUST + timedelta(days=1)


def test_a_month_of_usage_becomes_one_issued_invoice_with_number_due_date_and_books() -> None:
    a_plan()
    a_subscription(a_customer(net_terms_days=30))
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    use("cust_acme", "0.5", at=AUGUST - timedelta(microseconds=1))
    use("cust_acme", "7", at=AUGUST)

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)

    [invoice] = report.invoices
    assert (invoice.number, invoice.status) == ("INV-2026-00001", InvoiceStatus.ISSUED)
    assert invoice.due_date.isoformat() == "2026-09-01"
    assert amounts(invoice.lines.order_by("position")) == ["29.00", "15.01"], (
        "1500.5 × 0.01 = 15.005, half away from zero"
    )
    assert invoice.total == Money("44.01", "USD")
    entry = JournalEntry.objects.get(kind="issue", reference=invoice.number)
    assert sorted(posting.amount.amount for posting in entry.postings.all()) == [Decimal("-44.01"), Decimal("44.01")]
    assert verify() == []


@pytest.mark.requirement("S0-131")
def test_a_second_run_makes_nothing_new() -> None:
    a_plan()
    a_subscription(a_customer())
    issue_billing(as_of=AUGUST, at=BILLED_AT)

    again = issue_billing(as_of=AUGUST, at=BILLED_AT + timedelta(days=1))

    assert again.invoices == []
    assert Invoice.objects.count() == 1
    assert JournalEntry.objects.count() == 1
    assert InvoiceSeries.objects.get().next_number == 2


def test_months_that_were_missed_are_caught_up_one_invoice_each() -> None:
    a_plan()
    a_subscription(a_customer(), started_at=datetime(2026, 5, 1, tzinfo=UTC))

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)

    assert [invoice.period_start.month for invoice in report.invoices] == [5, 6, 7]
    assert [invoice.number for invoice in report.invoices] == ["INV-2026-00001", "INV-2026-00002", "INV-2026-00003"]


def test_a_draft_takes_in_usage_that_arrives_before_it_is_issued() -> None:
    a_plan("pro", usd_per_action("1"))
    a_subscription(a_customer())
    use("cust_acme", "10", at=JULY)
    [draft] = draft_billing(as_of=AUGUST, at=BILLED_AT).invoices
    use("cust_acme", "5", at=JULY + timedelta(hours=2))

    [refreshed] = draft_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert (draft.pk, draft.total.amount) == (refreshed.pk, Decimal(10))
    assert refreshed.total.amount == 15
    assert refreshed.status == InvoiceStatus.DRAFT
    assert refreshed.number is None
    assert not JournalEntry.objects.exists()


def test_a_draft_that_usage_has_overtaken_is_not_issued_before_somebody_has_seen_the_new_figures() -> None:
    a_plan("pro", usd_per_action("1"))
    a_subscription(a_customer())
    use("cust_acme", "10", at=JULY)
    [draft] = draft_billing(as_of=AUGUST, at=BILLED_AT).invoices
    use("cust_acme", "5", at=JULY + timedelta(hours=2))

    with pytest.raises(Conflict, match="it says USD 10, today it would be USD 15"):
        issue_invoice(invoice_id=draft.pk, at=BILLED_AT, actor="finance", reason="looks right")

    refresh_draft(invoice_id=draft.pk, at=BILLED_AT, actor="finance", reason="usage arrived")
    issued = issue_invoice(invoice_id=draft.pk, at=BILLED_AT, actor="finance", reason="looks right")
    assert issued.total == Money("15", "USD")


def test_a_run_for_a_customer_that_does_not_exist_leaves_no_run_behind() -> None:
    with pytest.raises(NotFound, match="there is no customer 'cust_nobody'"):
        draft_billing(as_of=AUGUST, at=BILLED_AT, customer_key="cust_nobody")

    assert not BillingRun.objects.exists()


def test_bill_names_days_of_the_customers_zone_and_refuses_to_issue_ahead_of_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    a_plan()
    a_subscription(a_customer(timezone="Europe/Berlin"), started_at=datetime(2025, 6, 30, 22, tzinfo=UTC))

    call_command("bill", "--as-of", "2025-08-01")
    call_command("bill", "--as-of", "2025-07-01")

    printed = capsys.readouterr().out
    assert "2025-07-01 .. 2025-07-31" in printed
    assert "Nothing to bill" in printed
    with pytest.raises(CommandError, match="--at lies in the future"):
        call_command("bill", "--as-of", "2025-08-01", "--at", "2999-01-01", "--issue")


def test_a_draft_that_says_the_same_stays_untouched() -> None:
    a_plan()
    a_subscription(a_customer())
    [draft] = draft_billing(as_of=AUGUST, at=BILLED_AT).invoices
    lines = list(draft.lines.values_list("id", flat=True))

    draft_billing(as_of=AUGUST, at=BILLED_AT + timedelta(hours=1))

    assert list(draft.lines.values_list("id", flat=True)) == lines
    assert draft.history.count() == 1


@pytest.mark.requirement("S0-102")
def test_usage_that_arrives_after_issue_leaves_the_invoice_and_its_proof_alone() -> None:
    a_plan("pro", usd_per_action("1"))
    a_subscription(a_customer())
    use("cust_acme", "10", at=JULY)
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    use("cust_acme", "5", at=JULY + timedelta(hours=2))
    issue_billing(as_of=AUGUST, at=BILLED_AT)

    invoice.refresh_from_db()
    assert invoice.total.amount == 10
    assert verify() == []


@pytest.mark.requirement("S0-070")
def test_fifteen_million_actions_on_graduated_tiers_are_billed_280() -> None:
    a_plan("pro", usd_per_action(model="graduated", tiers=MILLION_TIERS, unit_amount=None) | {"unit_amount": None})
    a_subscription(a_customer())
    use("cust_acme", "15000000", at=JULY + timedelta(days=9))

    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert invoice.total == Money("280", "USD")


@pytest.mark.requirement("S0-071")
def test_fifteen_million_actions_on_volume_tiers_are_billed_225() -> None:
    price = usd_per_action(model="volume", tiers=MILLION_TIERS)
    del price["unit_amount"]
    a_plan("pro", price)
    a_subscription(a_customer())
    use("cust_acme", "15000000", at=JULY + timedelta(days=9))

    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert invoice.total == Money("225", "USD")


@pytest.mark.parametrize(
    ("plan", "fee", "included", "overage", "queries", "expected"),
    [
        pytest.param("starter", "29", "10000", "0.001", "12500", "31.50", marks=pytest.mark.requirement("S1-029")),
        pytest.param("pro", "99", "100000", "0.0008", "100001", "99.00", marks=pytest.mark.requirement("S1-030")),
        pytest.param(
            "enterprise", "499", "1000000", "0.0005", "3000000", "1499.00", marks=pytest.mark.requirement("S1-031")
        ),
    ],
)
def test_the_three_plans_bill_their_fee_and_the_overage(
    plan: str, fee: str, included: str, overage: str, queries: str, expected: str
) -> None:
    a_plan(plan, usd_fee(fee), usd_per_action(overage, free_units=included))
    a_subscription(a_customer(), plan=plan)
    use("cust_acme", queries, at=JULY + timedelta(days=1))

    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert invoice.total == Money(expected, "USD")


def test_preview_and_dry_run_say_what_the_run_then_does_and_write_no_invoice() -> None:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1234", at=JULY + timedelta(days=1))

    preview = preview_invoice(customer_key="cust_acme", as_of=AUGUST - timedelta(microseconds=1))
    dry = preview_billing(as_of=AUGUST)

    assert not Invoice.objects.exists()
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    assert dry.previews[0].total == invoice.total
    assert preview.assembled.total == invoice.total


@pytest.mark.requirement("S0-104")
def test_a_subscription_that_starts_within_the_month_pays_the_share_of_its_fee() -> None:
    a_plan("pro", usd_fee("31"))
    a_subscription(a_customer(), started_at=datetime(2026, 7, 22, tzinfo=UTC))

    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert invoice.total == Money("10", "USD"), "10 of 31 days"


def test_months_begin_at_midnight_of_the_customers_zone() -> None:
    a_plan("pro", usd_per_action("1"))
    customer = a_customer(timezone="Asia/Kolkata")
    a_subscription(customer, started_at=datetime(2026, 6, 30, 18, 30, tzinfo=UTC))
    use("cust_acme", "1", at=datetime(2026, 6, 30, 18, 29, 59, tzinfo=UTC))
    use("cust_acme", "10", at=datetime(2026, 6, 30, 18, 30, tzinfo=UTC))
    use("cust_acme", "100", at=datetime(2026, 7, 31, 18, 29, 59, 999999, tzinfo=UTC))
    use("cust_acme", "1000", at=datetime(2026, 7, 31, 18, 30, tzinfo=UTC))

    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert invoice.total.amount == 110
    assert verify() == []


@pytest.mark.requirement("S1-070")
def test_a_changed_price_makes_a_new_version_and_leaves_running_subscriptions_alone() -> None:
    a_plan("pro", usd_fee("10"))
    a_subscription(a_customer("cust_old"))
    a_plan("pro", usd_fee("20"), at=JULY)
    a_subscription(a_customer("cust_new"))

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)

    assert [invoice.total.amount for invoice in report.invoices] == [10, 20]


def test_the_same_catalog_again_changes_nothing() -> None:
    document = {
        "products": [{"key": "p", "name": "P"}],
        "plans": [{"key": "pro", "name": "Pro", "product": "p", "prices": [usd_fee("10.50")]}],
    }
    load_catalog(document=document, at=JULY, actor="test", reason="first")

    summary = load_catalog(document=document, at=AUGUST, actor="test", reason="again")

    assert (summary.created, summary.changed) == ([], [])


def test_a_customer_that_cannot_be_billed_is_told_and_does_not_hold_up_the_others() -> None:
    a_plan("pro", usd_per_action("1"))
    clash = a_customer("cust_clash")
    first = a_subscription(clash, key="one")
    # start_subscription refuses the second: this one came in behind its back
    second = Subscription(key="two", customer=clash, started_at=JULY)
    save_with_reason(second, actor="test", reason="behind the back")
    phase = first.phases.get()
    phase.pk, phase.subscription = None, second
    save_with_reason(phase, actor="test", reason="behind the back")
    a_subscription(a_customer("cust_fine"))

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)

    assert [invoice.customer.key for invoice in report.invoices] == ["cust_fine"]
    [failure] = report.failures
    assert failure.customer == "cust_clash"
    assert "would both charge the usage of meter actions" in failure.message


def test_two_subscriptions_that_charge_the_same_usage_are_refused() -> None:
    a_plan("pro", usd_per_action("1"))
    customer = a_customer()
    first = a_subscription(customer, key="one")

    with pytest.raises(InvalidFields, match="one charges the same meter"):
        a_subscription(customer, key="two", anchor="anniversary", started_at=AUGUST)

    end_subscription(subscription=first, ended_at=AUGUST, actor="test", reason="moves to another")
    a_subscription(customer, key="two", started_at=AUGUST)


def test_an_invoice_over_nothing_is_paid_at_once() -> None:
    a_plan("pro", usd_per_action("1"))
    a_subscription(a_customer())

    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert (invoice.status, invoice.total.amount) == (InvoiceStatus.PAID, 0)
    assert verify() == []


@pytest.mark.parametrize(
    ("currency", "expected"), [("JPY", "1235"), ("KWD", "1234.568"), ("CLF", "1234.5678"), ("EUR", "1234.57")]
)
@pytest.mark.requirement("S0-120")
def test_a_line_is_rounded_once_to_the_currencys_exponent(currency: str, expected: str) -> None:
    a_plan("pro", usd_per_action("1") | {"currency": currency})
    a_subscription(a_customer(currency=currency))
    use("cust_acme", "1234.5678", at=JULY)

    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert invoice.total == Money(expected, currency)


@pytest.mark.parametrize("channel", ["manual", "stripe"])
def test_a_run_asks_as_many_questions_for_ten_customers_as_for_two(channel: str) -> None:
    a_plan()

    def billed(numbers: range) -> int:
        for number in numbers:
            a_subscription(a_customer(f"cust_{number}", settlement_channel=channel))
            use(f"cust_{number}", "1500", at=JULY + timedelta(days=3))
        with CaptureQueriesContext(connection) as asked:
            report = issue_billing(as_of=AUGUST, at=BILLED_AT)
        assert [invoice.status for invoice in report.invoices] == ["issued"] * len(numbers)
        return len(asked)

    billed(range(1))  # makes the accounts and the series

    assert billed(range(1, 3)) == billed(range(3, 13))


def computed_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of each batch of invoices that is computed from now on."""
    sizes: list[int] = []

    def counting(*, ground: Ground, due: Sequence[tuple[Customer, Period]]) -> list[ComputedInvoice]:
        sizes.append(len(due))
        return compute_invoices(ground=ground, due=due)

    monkeypatch.setattr(run_billing, "compute_invoices", counting)
    return sizes


def test_customers_with_many_events_are_hashed_ahead_together_and_then_billed_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_roots, "HASHED_LOCKED_MAX", 4)
    a_plan()
    for number in range(5):
        a_subscription(a_customer(f"cust_{number}"))
        for day in range(number):
            use(f"cust_{number}", "1", at=JULY + timedelta(days=day))
    sizes = computed_batches(monkeypatch)

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)

    assert sizes == [5, 5]
    assert len(report.invoices) == 5
    # The longest, as many as leave no more than half of what may be hashed while everybody waits.
    assert sorted(tree.leaf_count for tree in EventTree.objects.all()) == [2, 3, 4]
    assert verify() == []


def test_periods_that_still_last_are_told_once_each_and_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    a_plan()
    for number in range(3):
        a_subscription(a_customer(f"cust_{number}"))
    sizes = computed_batches(monkeypatch)

    report = issue_billing(as_of=SEPTEMBER, at=BILLED_AT)

    assert sizes == [3]
    assert [invoice.period_end for invoice in report.invoices] == [AUGUST] * 3
    assert sorted((failure.customer, failure.message) for failure in report.failures) == [
        (f"cust_{number}", "the period lasts until 2026-09-01T00:00:00+00:00: its usage is not complete")
        for number in range(3)
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.requirement("S3-035")
def test_four_runs_at_once_issue_each_invoice_once_without_a_gap_in_the_numbers() -> None:
    a_plan()
    for number in range(8):
        a_subscription(a_customer(f"cust_{number}"))
    outcomes = at_once(*[lambda: issue_billing(as_of=SEPTEMBER, at=SEPTEMBER)] * 4)

    assert not unexpected(outcomes)
    numbers = sorted(Invoice.objects.values_list("number", flat=True))
    assert numbers == [f"INV-2026-{ordinal:05d}" for ordinal in range(1, 17)]
    assert JournalEntry.objects.count() == 16
    assert verify() == []


@pytest.mark.django_db(transaction=True)
def test_a_run_that_breaks_off_says_what_it_did_until_then_and_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    a_plan()
    for number in (1, 2):
        a_subscription(a_customer(f"cust_{number}"))
    monkeypatch.setattr(run_billing, "BATCH_INVOICES", 1)
    billed = run_billing._billed

    def broken(batch: Any, deed: Any) -> Any:
        if batch[0].customer_key == "cust_2":
            raise OSError("the disk is full")
        return billed(batch, deed)

    monkeypatch.setattr(run_billing, "_billed", broken)

    with pytest.raises(OSError, match="disk is full"):
        issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=1))

    run = BillingRun.objects.get()
    assert (run.issued_count, run.finished_at) == (1, None)
    assert Invoice.objects.get().billing_run == run
