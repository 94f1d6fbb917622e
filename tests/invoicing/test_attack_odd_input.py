"""Odd input: what cannot be accepted is told by its place; what can be is billed, and never for somebody else's account."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidFields, InvalidInput
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import Plan, PlanVersion
from invoicing.catalog.operations import load_catalog, publish_version
from invoicing.catalog.queries import published_version
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.start import start_subscription
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from tests.factories import (
    ACTIONS_METER,
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    amounts,
    usd_fee,
    usd_per_action,
    use,
)

pytestmark = pytest.mark.django_db

FEE_CATALOG = """
products: [{{key: p, name: P}}]
plans: [{{key: pro, name: Pro, product: p, prices: [{{key: base, currency: USD, model: flat, unit_amount: {amount}}}]}}]
"""


def load(tmp_path: Path, text: str, *, name: str = "catalog.yaml") -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    call_command("load_catalog", str(file))


def fee_of(plan_key: str = "pro") -> Decimal | None:
    return published_version(plan_key=plan_key).prices.get().unit_amount


# --- the catalog file


@pytest.mark.parametrize(
    "amount",
    ["yes", "1:30", "0x10", "1e3x", ".nan", ".inf", "2026-08-01", "-1", "1e400", "9" * 27, "0.0000000000001", "[1]"],
)
def test_an_amount_that_yaml_could_take_for_something_else_is_refused(tmp_path: Path, amount: str) -> None:
    with pytest.raises(CommandError):
        load(tmp_path, FEE_CATALOG.format(amount=amount))

    assert not Plan.objects.exists()


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("010", "10"), ("1_000", "1000"), ("0.10", "0.1"), ("1.0e+3", "1000"), ("'12.000000000001'", "12.000000000001")],
)
def test_an_amount_means_what_a_person_reads(tmp_path: Path, amount: str, expected: str) -> None:
    load(tmp_path, FEE_CATALOG.format(amount=amount))

    assert fee_of() == Decimal(expected)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("deep.yaml", "[" * 3000),
        ("deep.json", "[" * 100_000),
        ("twice.yaml", "plans: []\nplans: []"),
        ("twice.json", '{"products": [{"key": "p", "key": "q"}]}'),
        ("surrogate.json", '{"products": [{"key": "p", "name": "\\ud800"}]}'),
        ("nul.json", '{"products": [{"key": "p", "name": "\\u0000"}]}'),
        ("nan.json", '{"plans": NaN}'),
        ("list.yaml", "- 1"),
        ("empty.yaml", ""),
        ("python.yaml", "!!python/object/apply:os.system [id]"),
        ("keys.yaml", "? [a, b]\n: 1"),
        ("number.json", '{"plans": ' + "9" * 5000 + "}"),
    ],
)
def test_a_file_that_is_no_catalog_is_refused_with_a_sentence(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(CommandError):
        load(tmp_path, text, name=name)


def test_anchors_and_aliases_are_read_like_what_they_stand_for(tmp_path: Path) -> None:
    load(
        tmp_path,
        """
        products: [{key: p, name: P}]
        plans:
          - &plan {key: one, name: One, product: p, prices: &prices [{key: b, currency: USD, model: flat, unit_amount: 5}]}
          - {key: two, name: Two, product: p, prices: *prices}
        """,
    )

    assert fee_of("one") == fee_of("two") == 5


def test_a_merged_member_may_be_overridden_but_not_written_twice(tmp_path: Path) -> None:
    load(
        tmp_path,
        """
        products: [{key: p, name: P}]
        plans:
          - &one {key: one, name: One, product: p, prices: [{key: b, currency: USD, model: flat, unit_amount: 5}]}
          - &two {<<: *one, key: two}
          - {<<: *two, key: three}
        """,
    )

    assert set(Plan.objects.values_list("key", flat=True)) == {"one", "two", "three"}


def test_a_draft_cannot_be_published_under_a_version_that_is_in_force() -> None:
    a_plan("pro", usd_fee("1"))
    draft = draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="cheaper")
    a_plan("pro", usd_fee("3"))

    with pytest.raises(Conflict, match="v3 was published meanwhile"):
        publish_version(version_id=draft.pk, at=JULY, actor="test", reason="late")

    assert PlanVersion.objects.filter(published_at__isnull=False).count() == 2


# --- customers and subscriptions


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"key": "cust\n"}, "key"),
        ({"key": "cust\ud800"}, "key"),
        ({"name": "Acme \ud800"}, "name"),
        ({"address": "a\x00b"}, "address"),
        ({"currency": "usd"}, "currency"),
        ({"currency": "ZZZ"}, "currency"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": "europe/berlin"}, "timezone"),
        ({"timezone": "\ud800"}, "timezone"),
        ({"net_terms_days": True}, "net_terms_days"),
        ({"net_terms_days": 10**30}, "net_terms_days"),
    ],
)
def test_a_customer_that_cannot_be_stored_is_refused_by_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as refusal:
        a_customer(**({"key": "cust_acme"} | fields))

    assert [error.field for error in refusal.value.errors] == [field]
    assert not Customer.objects.exists()


def test_a_name_of_300_han_characters_is_billed() -> None:
    a_plan("pro", usd_fee("10"))
    a_subscription(a_customer(name="株" * 300))

    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    assert invoice.customer_name == "株" * 300
    assert verify() == []


@pytest.mark.parametrize("key", ["", "x" * 101, "sub\n", "sub\x00", "sub/1", "sub\ud800", " "])
def test_a_subscription_key_that_cannot_be_stored_is_refused(key: str) -> None:
    a_plan()
    customer = a_customer()

    with pytest.raises(InvalidFields, match="key"):
        start_subscription(
            key=key,
            customer=customer,
            plan_version=published_version(plan_key="pro"),
            started_at=JULY,
            actor="test",
            reason="test",
        )


@pytest.mark.parametrize(
    "started_at", [datetime(1, 1, 1, tzinfo=UTC), datetime(9995, 1, 1, tzinfo=UTC), datetime(2026, 7, 1)]
)
def test_a_start_that_makes_no_sense_is_refused_before_it_stops_the_customers_billing(started_at: datetime) -> None:
    a_plan("pro", usd_fee("10"))

    with pytest.raises(InvalidFields, match="started_at"):
        a_subscription(a_customer(timezone="America/New_York"), started_at=started_at)


def test_an_end_without_offset_is_refused() -> None:
    a_plan()

    with pytest.raises(InvalidInput, match="offset"):
        end_subscription(
            subscription=a_subscription(a_customer()),
            ended_at=datetime(2026, 7, 15),
            actor="test",
            reason="test",
        )


def test_a_subscription_started_again_with_the_same_words_is_the_same_one_even_after_it_was_billed_and_ended() -> None:
    a_plan()
    customer = a_customer()
    first = a_subscription(customer)
    issue_billing(as_of=AUGUST, at=AUGUST)
    end_subscription(subscription=first, ended_at=AUGUST, actor="test", reason="moves")
    a_subscription(customer, key="next", started_at=AUGUST)

    assert a_subscription(customer).pk == first.pk


# --- what is charged, and what is not


def test_an_issued_period_takes_no_subscription_that_would_be_left_unbilled() -> None:
    a_plan("pro", usd_fee("31"))
    a_plan("extra", usd_fee("62"))
    customer = a_customer()
    a_subscription(customer)
    issue_billing(as_of=AUGUST, at=AUGUST)

    with pytest.raises(InvalidFields, match="is issued: start then or later"):
        a_subscription(customer, plan="extra", key="late", started_at=JULY + timedelta(days=10))

    a_subscription(customer, plan="extra", key="in_time", started_at=AUGUST)
    a_subscription(customer, plan="extra", key="own_period", started_at=JULY + timedelta(days=10), anchor="anniversary")
    invoices = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    assert [invoice.total.amount for invoice in invoices] == [62, 93]


def test_a_subscription_cannot_end_before_what_is_invoiced() -> None:
    a_plan()
    subscription = a_subscription(a_customer())
    issue_billing(as_of=AUGUST, at=AUGUST)

    with pytest.raises(Conflict, match="is invoiced until 2026-08-01"):
        end_subscription(
            subscription=subscription, ended_at=AUGUST - timedelta(microseconds=1), actor="test", reason="backdated"
        )

    end_subscription(subscription=subscription, ended_at=AUGUST, actor="test", reason="in time")


def test_a_draft_is_not_issued_after_its_contract_changed() -> None:
    a_plan("pro", usd_fee("31"))
    a_plan("extra", usd_fee("62"))
    customer = a_customer()
    subscription = a_subscription(customer)
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST).invoices
    end_subscription(subscription=subscription, ended_at=JULY + timedelta(days=10), actor="test", reason="left")
    a_subscription(customer, plan="extra", key="extra", started_at=JULY + timedelta(days=10))

    with pytest.raises(Conflict, match="is outdated"):
        issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="looks fine")

    draft_billing(as_of=AUGUST, at=AUGUST)
    issued = issue_invoice(invoice_id=draft.pk, at=AUGUST, actor="test", reason="looks fine")
    assert amounts(issued.lines.order_by("position")) == ["10.00", "42.00"]


def test_a_period_that_has_not_ended_is_drafted_but_not_issued() -> None:
    a_plan()
    a_subscription(a_customer())

    report = issue_billing(as_of=SEPTEMBER, at=AUGUST + timedelta(days=3))

    assert [invoice.period_end for invoice in report.invoices] == [AUGUST]
    assert "usage is not complete" in report.failures[0].message
    assert not Invoice.objects.filter(status=InvoiceStatus.DRAFT).exists()


def test_a_subscription_ended_and_started_again_within_the_month_is_charged_for_each_part_once() -> None:
    a_plan("pro", usd_fee("31"), usd_per_action("1"))
    customer = a_customer()
    middle = JULY + timedelta(days=10, hours=5, minutes=30)
    end_subscription(subscription=a_subscription(customer), ended_at=middle, actor="test", reason="pause")
    a_subscription(customer, key="again", started_at=middle)
    use("cust_acme", "1", at=middle - timedelta(microseconds=1))
    use("cust_acme", "10", at=middle)

    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    lines = list(invoice.lines.order_by("position"))
    assert [line.quantity for line in lines if line.meter_key] == [1, 10]
    assert sum(line.amount.amount for line in lines if not line.meter_key) == 31
    assert verify() == []


def test_a_subscription_that_ended_before_its_first_period_did_is_charged_its_share() -> None:
    a_plan("pro", usd_fee("31"))
    end_subscription(
        subscription=a_subscription(a_customer(), started_at=JULY + timedelta(days=3)),
        ended_at=JULY + timedelta(days=4),
        actor="test",
        reason="changed their mind",
    )

    report = issue_billing(as_of=SEPTEMBER + timedelta(days=100), at=SEPTEMBER + timedelta(days=100))

    assert [invoice.total for invoice in report.invoices] == [Money("1", "USD")]


@pytest.mark.parametrize(
    ("started_at", "zone", "anchor", "cadence", "expected"),
    [
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "UTC", "anniversary", "month", ["02-28", "03-31", "04-30"]),
        (datetime(2024, 2, 29, tzinfo=UTC), "UTC", "anniversary", "year", ["02-28", "02-28"]),
        (datetime(2026, 3, 15, tzinfo=UTC), "Africa/Cairo", "calendar", "month", ["03-31", "04-30", "05-31"]),
        (datetime(2026, 4, 20, tzinfo=UTC), "Asia/Beirut", "calendar", "week", ["04-26", "05-03"]),
        (datetime(2026, 8, 20, tzinfo=UTC), "America/Santiago", "calendar", "month", ["09-01"]),
    ],
)
def test_periods_touch_without_gap_whatever_the_zone_and_the_day_of_the_start(
    started_at: datetime, zone: str, anchor: str, cadence: str, expected: list[str]
) -> None:
    load_catalog(
        document={
            "meters": [ACTIONS_METER],
            "products": [{"key": "p", "name": "P"}],
            "plans": [
                {"key": "pro", "name": "Pro", "product": "p", "cadence": cadence, "prices": [usd_per_action("1")]}
            ],
        },
        at=JULY,
        actor="test",
        reason="test",
    )
    a_subscription(a_customer(timezone=zone), started_at=started_at, anchor=anchor)
    moment = started_at
    while moment < datetime(2026, 10, 1, tzinfo=UTC):
        use("cust_acme", "1", at=moment)
        moment += timedelta(days=5, hours=7)

    invoices = issue_billing(as_of=datetime(2026, 10, 1, tzinfo=UTC), at=datetime(2026, 10, 2, tzinfo=UTC)).invoices

    ends = [f"{invoice.period_end:%m-%d}" for invoice in invoices]
    assert ends[: len(expected)] == expected
    assert all(one.period_end == other.period_start for one, other in pairwise(invoices))
    counted = sum(line.quantity for invoice in invoices for line in invoice.lines.all())
    use_within = [moment for moment in _every(started_at) if moment < invoices[-1].period_end]
    assert counted == len(use_within)
    assert verify() == []


def _every(started_at: datetime) -> list[datetime]:
    return [started_at + number * timedelta(days=5, hours=7) for number in range(1000)]


def test_usage_too_large_for_money_holds_back_its_customer_alone() -> None:
    a_plan("pro", usd_per_action("1"))
    a_subscription(a_customer("cust_absurd"))
    a_subscription(a_customer("cust_fine"))
    use("cust_absurd", "9" * 26, at=JULY)
    use("cust_absurd", "9" * 26, at=JULY)

    report = issue_billing(as_of=AUGUST, at=AUGUST)

    assert [invoice.customer.key for invoice in report.invoices] == ["cust_fine"]
    assert [failure.customer for failure in report.failures] == ["cust_absurd"]


def test_the_largest_quantity_at_the_smallest_price_is_exact() -> None:
    a_plan("pro", usd_per_action("0.000000000001"))
    a_subscription(a_customer())
    use("cust_acme", "9" * 26 + ".999999999999", at=JULY)

    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    assert invoice.total == Money("100000000000000.00", "USD")
    assert verify() == []


def test_sixty_prices_and_two_hundred_subscriptions_are_one_invoice_in_a_bounded_number_of_queries() -> None:
    fees = [usd_fee("1") | {"key": f"fee_{number}"} for number in range(60)]
    a_plan("pro", *fees)
    a_plan("small", usd_fee("1"))
    customer = a_customer()
    a_subscription(customer, key="big")
    for number in range(200):
        a_subscription(customer, plan="small", key=f"sub_{number}")

    with CaptureQueriesContext(
        connection,
    ) as queries:
        [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    assert invoice.total == Money("260", "USD")
    # The gate asks eight times, tax five times, whatever there is.
    assert len(queries) < 115


def test_a_failure_of_one_customer_is_a_sentence() -> None:
    a_plan("pro", usd_per_action("1"))
    a_subscription(a_customer())
    use("cust_acme", "9" * 26, at=JULY)

    report = issue_billing(as_of=AUGUST, at=AUGUST)

    assert "\n" not in report.failures[0].message
