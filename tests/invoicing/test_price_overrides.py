"""A customer's own prices: they hold for a time, divide the period as a change of plan does, and never touch what is invoiced."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from billing_site.kernel.errors import BillingError
from invoicing.catalog.queries import published_version
from invoicing.core.definition import price_from_definition
from invoicing.invoices.models import Invoice
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.models import PriceOverride, Subscription
from invoicing.subscriptions.override import OwnPrice, Scope, override_price
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    amounts,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)

pytestmark = pytest.mark.django_db

WHO = {"actor": "test", "reason": "agreed"}
BILLED_AT = datetime(2026, 10, 1, tzinfo=UTC)
HALF_FEE = {"model": "flat", "unit_amount": "15.5"}
CHEAP = {"model": "per_unit", "unit_amount": "0.001"}


def july(day: int) -> datetime:
    return datetime(2026, 7, day, tzinfo=UTC)


def agree(
    subscription: Subscription, key: str, definition: dict[str, str] | None, at: datetime, **terms: Any
) -> Subscription:
    price = None if definition is None else price_from_definition(definition)
    return override_price(subscription=subscription, own=OwnPrice(key, price, **terms), at=at, **WHO)


def bill(as_of: datetime = AUGUST) -> Invoice:
    invoice = issue_billing(as_of=as_of, at=BILLED_AT).invoices[-1]
    settle_constraints()
    assert verify() == []
    return invoice


def lines(invoice: Invoice) -> list[tuple[str, str, str, str]]:
    return [
        (line.description, f"{line.service_start:%m-%d}", f"{line.service_end:%m-%d}", amounts([line])[0])
        for line in invoice.lines.order_by("position")
    ]


def spans() -> list[tuple[str, str | None]]:
    rows = PriceOverride.objects.order_by("starts_at")
    return [(f"{row.starts_at:%m-%d}", f"{row.ends_at:%m-%d}" if row.ends_at else None) for row in rows]


@pytest.fixture
def subscription() -> Subscription:
    """On `pro`: a fee of 31 and 0.01 an action."""
    a_plan("pro", usd_fee("31"), usd_per_action("0.01"))
    return a_subscription(a_customer())


def test_an_own_price_holds_between_its_moments_and_each_event_is_rated_at_the_price_of_its_time(
    subscription: Subscription,
) -> None:
    use("cust_acme", "1000", at=july(11) - timedelta(microseconds=1))
    use("cust_acme", "1000", at=july(11))
    use("cust_acme", "1000", at=july(21))

    agree(subscription, "actions", CHEAP, july(11), until=july(21))

    assert lines(bill()) == [
        ("Base fee", "07-01", "08-01", "31.00"),
        ("Actions", "07-01", "07-11", "10.00"),
        ("Actions", "07-11", "07-21", "1.00"),
        ("Actions", "07-21", "08-01", "10.00"),
    ]


def test_a_fee_of_its_own_counts_for_its_share_of_the_period_and_seats_multiply_it(subscription: Subscription) -> None:
    change_quantity(subscription=subscription, quantity=2, at=july(21), **WHO)

    agree(subscription, "base", HALF_FEE, july(11))

    assert [line for line in lines(bill()) if line[0] == "Base fee"] == [
        ("Base fee", "07-01", "07-11", "10.00"),
        ("Base fee", "07-11", "07-21", "5.00"),  # 15.50 × 10/31
        ("Base fee", "07-21", "08-01", "11.00"),  # 2 × 15.50 × 11/31
    ]


def test_tiers_begin_anew_at_an_own_price_or_go_on_as_the_plan_says() -> None:
    tiers = [{"up_to": "10", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}]
    graduated = usd_per_action(model="graduated", unit_amount=None, tiers=tiers)
    a_plan("anew", graduated)
    a_plan("carried", graduated, tiers_on_change="carry")
    own = {"model": "graduated", "tiers": [{"up_to": "10", "unit_amount": "2"}, {"up_to": None, "unit_amount": "1"}]}
    for plan in ("anew", "carried"):
        subscription = a_subscription(a_customer(f"cust_{plan}"), plan=plan)
        use(f"cust_{plan}", "10", at=july(2))
        use(f"cust_{plan}", "10", at=july(20))
        agree(subscription, "actions", own, july(11))

    issue_billing(as_of=AUGUST, at=BILLED_AT)

    assert verify() == []
    found = {invoice.customer.key: amounts(invoice.lines.order_by("position")) for invoice in Invoice.objects.all()}
    assert found == {"cust_anew": ["10.00", "20.00"], "cust_carried": ["10.00", "10.00"]}


def test_a_price_of_the_customer_holds_for_all_and_one_of_a_subscription_comes_first(
    subscription: Subscription,
) -> None:
    a_plan("extra", usd_fee("31"))
    a_plan("pro", usd_fee("62"), usd_per_action("0.02"), at=july(1))
    agree(subscription, "base", {"model": "flat", "unit_amount": "20"}, JULY, scope=Scope.CUSTOMER)
    agree(subscription, "base", {"model": "flat", "unit_amount": "10"}, AUGUST)
    change_plan(subscription=subscription, plan_version=published_version(plan_key="pro"), at=AUGUST, **WHO)

    first, second = bill(), bill(SEPTEMBER)

    assert lines(first)[0] == ("Base fee", "07-01", "08-01", "20.00")
    assert lines(second)[0] == ("Base fee", "08-01", "09-01", "10.00")


def test_on_another_plan_the_price_is_that_plans(subscription: Subscription) -> None:
    a_plan("max", usd_fee("99"))
    agree(subscription, "base", HALF_FEE, JULY)

    change_plan(subscription=subscription, plan_version=published_version(plan_key="max"), at=AUGUST, **WHO)

    bill()
    assert lines(bill(SEPTEMBER))[0] == ("Base fee", "08-01", "09-01", "99.00")


def test_a_later_word_is_laid_over_an_earlier_one_and_the_same_twice_is_one(subscription: Subscription) -> None:
    agree(subscription, "actions", CHEAP, JULY)
    for _ in range(2):
        agree(subscription, "actions", {"model": "per_unit", "unit_amount": "0"}, july(11), until=july(21))
        assert spans() == [("07-01", "07-11"), ("07-11", "07-21"), ("07-21", None)]

    agree(subscription, "actions", CHEAP, july(11), until=july(21))
    assert spans() == [("07-01", None)]
    agree(subscription, "actions", None, AUGUST)
    assert spans() == [("07-01", "08-01")]
    agree(subscription, "actions", None, JULY)
    assert spans() == []
    changes = PriceOverride.history.values_list("history_change_reason", flat=True)  # type: ignore[attr-defined]
    assert set(changes) == {"test: agreed"}


@pytest.mark.parametrize(
    ("key", "definition", "at", "until", "wrong"),
    [
        ("tokens", CHEAP, AUGUST, None, ("price", "unknown")),
        ("actions", HALF_FEE, AUGUST, None, ("definition.model", "other_kind")),
        ("base", CHEAP, AUGUST, None, ("definition.model", "other_kind")),
        ("base", HALF_FEE, july(15), None, ("at", "invoiced_already")),
        ("base", None, datetime(2026, 6, 1, tzinfo=UTC), None, ("at", "before_start")),
        ("base", HALF_FEE, datetime(2026, 8, 1), None, ("at", "naive")),
        ("base", HALF_FEE, SEPTEMBER, SEPTEMBER, ("until", "not_after")),
        ("base", HALF_FEE, SEPTEMBER, datetime(2026, 9, 2), ("until", "naive")),
    ],
)
def test_what_cannot_be_agreed_is_refused_at_its_field_and_nothing_is_kept(
    subscription: Subscription, key: str, definition: Any, at: datetime, until: Any, wrong: tuple[str, str]
) -> None:
    bill()

    with pytest.raises(BillingError) as refused, transaction.atomic():
        agree(subscription, key, definition, at, until=until)

    assert [(error.field, error.code) for error in refused.value.field_errors] == [wrong]
    assert not PriceOverride.objects.exists()


@pytest.mark.parametrize(
    "attack",
    [
        'UPDATE invoicing_priceoverride SET definition = \'{"model": "flat", "unit_amount": "1"}\'',
        "UPDATE invoicing_priceoverride SET ends_at = '2026-07-15Z'",
        "DELETE FROM invoicing_priceoverride",
        "TRUNCATE invoicing_priceoverride",
        "INSERT INTO invoicing_priceoverride (customer_id, subscription_id, plan_id, price_key, definition, starts_at)"
        " SELECT customer_id, subscription_id, plan_id, price_key, definition, '2027-01-01Z' FROM invoicing_priceoverride",
        "INSERT INTO invoicing_priceoverride (customer_id, plan_id, price_key, definition, starts_at, ends_at)"
        " SELECT customer_id, plan_id, 'actions', definition, '2026-07-15Z', '2026-07-16Z' FROM invoicing_priceoverride",
        "INSERT INTO invoicing_priceoverride (customer_id, subscription_id, plan_id, price_key, definition, starts_at)"
        " SELECT other.id, subscription_id, plan_id, 'actions', definition, '2027-01-01Z'"
        " FROM invoicing_priceoverride, invoicing_customer other WHERE other.key = 'cust_other'",
    ],
)
def test_raw_sql_cannot_change_what_was_charged_nor_agree_two_prices_at_once(
    subscription: Subscription, attack: str
) -> None:
    a_customer("cust_other")
    agree(subscription, "base", HALF_FEE, JULY)
    bill()

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(attack)


def test_over_the_api_an_own_price_is_looked_at_first_and_made_as_it_was_shown(subscription: Subscription) -> None:
    caller = Caller()
    address = "/api/v1/subscriptions/sub_cust_acme/changes"
    wish = {"change": "price", "price": "base", "at": "2026-07-01T00:00:00Z"}
    half = wish | {"definition": HALF_FEE, "until": "2026-08-01T00:00:00Z"}

    shown = caller.post(address, half | {"preview": True})
    other = half | {"definition": {"model": "flat", "unit_amount": "15"}, "digest": shown.json()["digest"]}
    outdated = caller.post(address, other | {"reason": "deal"})
    made = caller.post(address, half | {"digest": shown.json()["digest"], "reason": "deal"})
    missing = caller.post(address, wish | {"reason": "deal"})
    wrong = caller.post(address, half | {"definition": {"model": "flat", "unit_amount": "-1"}, "reason": "deal"})

    effect = [period for period in shown.json()["periods"] if period["difference"]["amount"] != "0.00"]
    assert [period["difference"] for period in effect] == [{"amount": "-15.50", "currency": "USD"}]
    assert fields_of(outdated) == {"": "outdated"} or outdated.status_code == 409
    assert made.json()["subscription"]["overrides"] == [
        {
            "plan": "pro",
            "price": "base",
            "definition": HALF_FEE,
            "starts_at": "2026-07-01T00:00:00Z",
            "ends_at": "2026-08-01T00:00:00Z",
            "scope": "subscription",
        }
    ]
    assert fields_of(missing) == {"definition": "required"}
    assert fields_of(wrong) == {"definition.unit_amount": "negative"}


def test_in_the_back_office_an_own_price_is_shown_with_its_money_and_then_agreed(
    subscription: Subscription, admin_client: Client
) -> None:
    page = f"/admin/invoicing/subscription/{subscription.pk}"
    wish = {
        "kind": "price",
        "price": "base",
        "definition": 'model: flat\nunit_amount: "15.5"',
        "scope": "customer",
        "timing": "stated",
        "at_0": "2026-07-01",
        "at_1": "00:00:00",
    }

    shown = admin_client.post(f"{page}/change-terms/", wish)
    broken = admin_client.post(f"{page}/change-terms/", wish | {"definition": "model: flat\nunit_amount: -1"})
    form = shown.context["form"]
    confirmed = {name: form.initial.get(name) or "" for name in form.fields} | {"reason": "deal of the year"}
    done = admin_client.post(f"{page}/change-terms/", confirmed, follow=True).content.decode()

    assert "(15.50)" in shown.content.decode()
    assert "must not be negative" in str(broken.context["form"].errors)
    assert (
        "deal of the year" in done
        and "Prices of its own" in done
        and "USD 15.50 per month." in done
        and "all of the customer" in done
    )
    assert PriceOverride.objects.get().definition == HALF_FEE
    assert Decimal(PriceOverride.objects.get().definition["unit_amount"]) == Decimal("15.5")
