"""Add-ons: sold only with another plan, in its periods, tried and paused with it, and over when it is."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from billing_site.kernel.errors import BillingError
from invoicing.catalog.queries import published_version
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription, reactivate_subscription
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.pause import pause_subscription, resume_subscription
from invoicing.subscriptions.snapshot import period_at, with_phases
from invoicing.subscriptions.start import start_subscription
from invoicing.subscriptions.trial import move_trial_end
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
)

pytestmark = pytest.mark.django_db

WHO = {"actor": "test", "reason": "wants more"}
BILLED_AT = datetime(2026, 10, 1, tzinfo=UTC)


def july(day: int) -> datetime:
    return datetime(2026, 7, day, tzinfo=UTC)


@pytest.fixture
def plans() -> None:
    """`pro` and `max`; `support`, a fee of 31, is sold with `pro` only."""
    a_plan("pro")
    a_plan("max", usd_fee("99"))
    a_plan("support", usd_fee("31"), add_on_to=["pro"])


def add(parent: Subscription, *, at: datetime = JULY, **terms: Any) -> Subscription:
    wanted = {
        "key": "extra",
        "customer": parent.customer,
        "plan_version": published_version(plan_key="support"),
        **terms,
    }
    return start_subscription(parent=parent, started_at=at, **wanted, **WHO)


def phases(subscription: Subscription) -> list[tuple[str, str, str | None]]:
    read = with_phases(Subscription.objects.all()).get(pk=subscription.pk)
    return [
        (row.kind, f"{row.starts_at:%m-%d}", f"{row.ends_at:%m-%d}" if row.ends_at else None)
        for row in read.phases.all()
    ]


def refusal(call: Any) -> list[tuple[str, str]]:
    with pytest.raises(BillingError) as refused, transaction.atomic():
        call()
    return [(error.field, error.code) for error in refused.value.field_errors]


@pytest.mark.usefixtures("plans")
def test_an_add_on_is_on_its_parents_invoice_by_quantity_and_for_its_share() -> None:
    parent = a_subscription(a_customer())
    extra = add(parent, at=july(11), quantity=2)
    change_quantity(subscription=extra, quantity=1, at=july(21), **WHO)

    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    settle_constraints()
    assert verify() == []
    # 2 × 31 × 10/31 and 31 × 11/31 after the parent's fee and usage.
    assert amounts(invoice.lines.order_by("position")) == ["29.00", "0.00", "20.00", "11.00"]


@pytest.mark.usefixtures("plans")
def test_its_periods_are_those_of_its_parents_anniversary() -> None:
    parent = a_subscription(a_customer(), started_at=july(10), anchor="anniversary")

    extra = add(parent, at=july(25))

    assert extra.anchor == "anniversary"
    for moment in (july(25), AUGUST, SEPTEMBER):
        assert period_at(subscription=extra, moment=moment) == period_at(subscription=parent, moment=moment)
    first, second = issue_billing(as_of=datetime(2026, 9, 10, tzinfo=UTC), at=BILLED_AT).invoices
    assert amounts(first.lines.order_by("position")) == ["29.00", "0.00", "16.00"]  # 31 × 16/31
    assert amounts(second.lines.order_by("position")) == ["29.00", "0.00", "31.00"]


@pytest.mark.usefixtures("plans")
def test_it_is_tried_paused_resumed_and_ended_with_its_parent() -> None:
    parent = a_subscription(a_customer(), trial_ends_at=july(8))
    extra = add(parent, at=july(5))
    assert phases(extra) == [("trial", "07-05", "07-08"), ("active", "07-08", None)]

    move_trial_end(subscription=parent, at=july(10), **WHO)
    pause_subscription(subscription=parent, at=july(15), **WHO)
    resume_subscription(subscription=parent, at=july(20), **WHO)
    end_subscription(subscription=parent, ended_at=july(28), **WHO)

    settle_constraints()
    assert phases(extra) == [
        ("trial", "07-05", "07-10"),
        ("active", "07-10", "07-15"),
        ("paused", "07-15", "07-20"),
        ("active", "07-20", "07-28"),
    ]
    reactivate_subscription(subscription=parent, at=july(28), **WHO)
    assert phases(extra)[-1] == ("active", "07-20", "07-28")
    assert add(parent, at=july(28), key="again").ended_at is None


@pytest.mark.usefixtures("plans")
def test_it_can_end_before_the_end_that_its_parent_has_already() -> None:
    parent = a_subscription(a_customer())
    extra = add(parent)
    end_subscription(subscription=parent, ended_at=july(28), **WHO)

    end_subscription(subscription=extra, ended_at=july(11), **WHO)

    assert phases(extra) == [("active", "07-01", "07-11")]
    assert refusal(lambda: end_subscription(subscription=extra, ended_at=july(20), **WHO)) == [("ended_at", "conflict")]


@pytest.mark.usefixtures("plans")
def test_what_does_not_fit_is_refused_at_its_field() -> None:
    customer = a_customer()
    parent = a_subscription(customer, started_at=july(5))
    a_plan("yearly", usd_fee("9"), add_on_to=["pro"], cadence="year")
    other = a_subscription(a_customer("cust_other"))
    extra = add(parent, at=july(10))
    support, yearly = published_version(plan_key="support"), published_version(plan_key="yearly")
    alone = {"key": "alone", "customer": customer, "plan_version": support, "started_at": AUGUST, **WHO}

    assert refusal(lambda: start_subscription(**alone)) == [("plan", "needs_parent")]
    assert refusal(lambda: add(parent, key="two", at=july(1))) == [("started_at", "outside_parent")]
    assert refusal(lambda: add(parent, key="two", at=AUGUST, anchor="anniversary")) == [("anchor", "other_periods")]
    assert refusal(lambda: add(parent, key="two", at=AUGUST, plan_version=yearly)) == [("plan", "other_periods")]
    assert refusal(lambda: add(extra, key="two", at=AUGUST)) == [("parent", "nested")]
    assert refusal(lambda: add(other, key="two", at=AUGUST, customer=customer)) == [("parent", "other_customer")]
    assert refusal(lambda: add(parent, key="two", at=AUGUST, trial_ends_at=SEPTEMBER)) == [
        ("trial_ends_at", "follows_parent")
    ]
    best = published_version(plan_key="max")
    assert refusal(lambda: change_plan(subscription=parent, plan_version=best, at=AUGUST, **WHO)) == [
        ("plan", "not_added")
    ]
    assert refusal(lambda: change_plan(subscription=extra, plan_version=best, at=AUGUST, **WHO)) == [
        ("plan", "not_added")
    ]
    assert refusal(lambda: pause_subscription(subscription=extra, at=AUGUST, **WHO)) == [("at", "follows_parent")]
    assert refusal(lambda: end_subscription(subscription=parent, ended_at=july(8), **WHO)) == [
        ("ended_at", "add_on_begins_later")
    ]
    end_subscription(subscription=extra, ended_at=AUGUST, **WHO)
    change_plan(subscription=parent, plan_version=best, at=AUGUST, **WHO)


@pytest.mark.parametrize(("others", "code"), [(["nothing"], "unknown"), (["extra"], "nested"), (["support"], "nested")])
@pytest.mark.usefixtures("plans")
def test_a_catalog_does_not_sell_an_add_on_with_itself_with_another_or_with_nothing(
    others: list[str], code: str
) -> None:
    wanted = {"key": "extra", "prices": [usd_fee()], "add_on_to": others}

    refused = Caller().post("/api/v1/plans", {**wanted, "product": "platform"})

    assert fields_of(refused) == {"add_on_to": code}


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE invoicing_subscription SET parent_id = NULL WHERE key = 'extra'",
        "INSERT INTO invoicing_subscription (key, customer_id, parent_id, anchor, started_at)"
        " SELECT 'x', other.customer_id, extra.parent_id, extra.anchor, extra.started_at"
        " FROM invoicing_subscription extra, invoicing_subscription other"
        " WHERE extra.key = 'extra' AND other.key = 'sub_cust_other'",
        "UPDATE invoicing_subscription SET ended_at = '2026-09-01Z' WHERE key = 'sub_cust_acme';"
        " UPDATE invoicing_subscriptionphase SET ends_at = '2026-09-01Z' WHERE subscription_id ="
        " (SELECT id FROM invoicing_subscription WHERE key = 'sub_cust_acme')",
    ],
)
@pytest.mark.usefixtures("plans")
def test_raw_sql_cannot_part_an_add_on_from_its_parent(attack: str) -> None:
    add(a_subscription(a_customer()))
    a_subscription(a_customer("cust_other"))
    settle_constraints()

    with pytest.raises(DatabaseError) as refused, transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(attack)
        settle_constraints()
    assert (
        "added to" in str(refused.value) or "cannot be changed" in str(refused.value) or "cover" in str(refused.value)
    )


@pytest.mark.usefixtures("plans")
def test_whether_an_add_on_fits_is_asked_of_its_own_rows_however_many_others_there_are() -> None:
    settle_constraints()
    with connection.cursor() as cursor:
        # The plans for a table so small read all rows, although they need not: that is what is asked here.
        for way in ("seqscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
    read = []
    for number in range(40):
        a_subscription(a_customer(f"cust_{number}"), plan="pro", started_at=JULY)
        before = read_rows()
        settle_constraints()
        read.append(read_rows() - before)

    assert read[39] == read[1] > 0


def read_rows() -> int:
    """Return how many rows of subscriptions this transaction has read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
            " WHERE relname = 'invoicing_subscription'"
        )
        return int(cursor.fetchone()[0])


@pytest.mark.usefixtures("plans")
def test_over_the_api_and_in_the_back_office_an_add_on_names_its_parent(admin_client: Client) -> None:
    parent = a_subscription(a_customer())
    caller = Caller()
    wish = {"key": "extra", "customer_id": "cust_acme", "plan": "support", "started_at": "2026-08-01T00:00:00Z"}

    nobody = caller.post("/api/v1/subscriptions", wish | {"parent": "sub_x"})
    added = caller.post("/api/v1/subscriptions", wish | {"parent": parent.key})
    form = {
        "key": "second",
        "customer": parent.customer_id,
        "parent": parent.pk,
        "plan_version": published_version(plan_key="support").pk,
        "quantity": "3",
        "started_at_0": "2026-08-01",
        "started_at_1": "00:00:00",
        "anchor": "calendar",
        "reason": "more support",
    }
    page = admin_client.post("/admin/invoicing/subscription/add/", form, follow=True).content.decode()
    shown = admin_client.get(f"/admin/invoicing/subscription/{parent.pk}/change/").content.decode()

    assert fields_of(nobody) == {"parent": "not_found"}
    assert added.json()["parent"] == parent.key
    assert caller.get("/api/v1/plans/support").json()["add_on_to"] == ["pro"]
    assert "Added to" in page and "Add-ons" in shown and "second" in shown
