"""Moving the subscribers of older versions: shown before it is done, done as it was shown, or not at all."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import Conflict, InvalidFields, InvalidInput
from invoicing.catalog.models import PlanVersion
from invoicing.catalog.queries import published_version
from invoicing.plan_migrations.models import PlanMigration
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.workflows import migrate_subscribers
from invoicing.workflows.migrate_subscribers import commit_migration, propose_migration, show_migration_again
from tests.factories import (
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.what_ifs import billed, three_customers

AT = SEPTEMBER + timedelta(days=12)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def a_newer_version(fee: str = "20", per_action: str = "0.02") -> PlanVersion:
    """The plan's next version, published."""
    a_plan("pro", usd_fee(fee), usd_per_action(per_action), at=AT)
    return published_version(plan_key="pro")


def proposed(*, from_date: date = AT.date(), sources: list[PlanVersion] | None = None) -> PlanMigration:
    """A move of everybody to the newest version."""
    target = published_version(plan_key="pro")
    older = list(target.plan.versions.filter(published_at__isnull=False).exclude(pk=target.pk))
    return propose_migration(
        target=target, sources=older if sources is None else sources, from_date=from_date, at=AT, actor="fiona"
    )


def committed(migration: PlanMigration, *, at: datetime = AT) -> PlanMigration:
    """The move, made as it was shown."""
    return commit_migration(
        migration_id=migration.pk, digest=migration.figures_digest, at=at, actor="fiona", reason="new prices"
    )


def phases(key: str) -> list[tuple[str, str]]:
    """From when a subscription is on which version."""
    rows = (
        SubscriptionPhase.objects.filter(subscription__key=key)
        .order_by("starts_at")
        .select_related("plan_version__plan")
    )
    return [(f"{row.starts_at:%Y-%m-%d %H:%M}", str(row.plan_version)) for row in rows]


def test_the_dry_run_says_who_would_move_when_and_what_the_last_invoice_would_have_been() -> None:
    three_customers()
    a_newer_version()

    figures = proposed().figures

    assert [(one["subscription"], one["source"], one["at"]) for one in figures["moves"]] == [
        (f"sub_cust_{name}", "Pro v1", "2026-10-01T00:00:00+00:00") for name in ("idle", "some", "much")
    ]
    assert figures["stays"] == []
    assert [(one["customer"], one["before"]["amount"], one["after"]["amount"]) for one in figures["last_invoices"]] == [
        ("cust_idle", "29.00", "20.00"),
        ("cust_some", "29.00", "20.00"),
        ("cust_much", "29.00", "20.00"),
    ]
    assert phases("sub_cust_idle") == [("2026-07-01 00:00", "Pro v1")]


def test_a_commit_does_what_was_shown_and_a_second_time_nothing() -> None:
    three_customers()
    a_newer_version()
    migration = proposed()

    done, again = committed(migration), committed(migration)

    assert done.pk == again.pk and done.committed_by == "fiona"
    for name in ("idle", "some", "much"):
        assert phases(f"sub_cust_{name}") == [("2026-07-01 00:00", "Pro v1"), ("2026-10-01 00:00", "Pro v2")]
    settle_constraints()


def test_the_old_price_counts_up_to_the_move_and_the_new_one_from_it() -> None:
    three_customers()
    a_newer_version()
    committed(proposed())
    use("cust_some", "100", at=SEPTEMBER + timedelta(days=3))
    use("cust_some", "100", at=OCTOBER + timedelta(days=3))

    invoices = billed(as_of=OCTOBER + timedelta(days=32))

    totals = [f"{one.total.amount:.2f}" for one in invoices if one.customer.key == "cust_some"]
    assert totals == ["30.00", "22.00"]


def test_each_moves_when_its_own_billing_period_begins_in_its_own_zone() -> None:
    a_plan("pro")
    a_subscription(a_customer("cust_east", timezone="Asia/Kathmandu"))
    a_subscription(a_customer("cust_anniversary"), started_at=JULY + timedelta(days=14), anchor="anniversary")
    a_newer_version()

    figures = proposed(from_date=date(2026, 10, 1)).figures

    assert {one["subscription"]: one["at"] for one in figures["moves"]} == {
        "sub_cust_east": "2026-09-30T18:15:00+00:00",
        "sub_cust_anniversary": "2026-10-15T00:00:00+00:00",
    }


def test_who_cannot_move_stays_with_the_reason_and_does_not_hold_back_the_others() -> None:
    a_plan("pro", usd_fee(), {**usd_fee("25"), "currency": "EUR"})
    a_plan("other", usd_fee("7"))
    a_subscription(a_customer("cust_eur", currency="EUR"))
    ends = a_subscription(a_customer("cust_ends"))
    end_subscription(subscription=ends, ended_at=SEPTEMBER + timedelta(days=20), actor="test", reason="leaves")
    planned = a_subscription(a_customer("cust_planned"))
    change_plan(
        subscription=planned,
        plan_version=published_version(plan_key="other"),
        at=OCTOBER,
        actor="test",
        reason="agreed",
    )
    a_subscription(a_customer("cust_moves"))
    a_newer_version()

    figures = proposed().figures

    assert [one["subscription"] for one in figures["moves"]] == ["sub_cust_moves"]
    assert {one["subscription"]: one["refusal"] for one in figures["stays"]} == {
        "sub_cust_eur": "plan: Pro v2 has no price in EUR, the customer's currency",
        "sub_cust_ends": "must be before the end, 2026-09-21T00:00:00Z",
        "sub_cust_planned": "Other v1 is planned from 2026-10-01 on",
    }


def test_where_something_is_different_by_now_nobody_is_moved() -> None:
    three_customers()
    a_newer_version()
    migration = proposed()
    subscription = Subscription.objects.get(key="sub_cust_idle")
    end_subscription(subscription=subscription, ended_at=SEPTEMBER + timedelta(days=20), actor="test", reason="leaves")

    with pytest.raises(Conflict, match="it would do something else by now"):
        committed(migration)
    assert SubscriptionPhase.objects.filter(plan_version__number=2).count() == 0

    shown = show_migration_again(migration_id=migration.pk, at=AT)
    committed(shown)
    assert SubscriptionPhase.objects.filter(plan_version__number=2).count() == 2


def test_a_period_that_began_meanwhile_is_not_split_by_a_late_commit() -> None:
    three_customers()
    a_newer_version()
    migration = proposed()

    done = committed(migration, at=SEPTEMBER + timedelta(days=29))

    assert done.committed_at is not None and phases("sub_cust_idle")[1][0] == "2026-10-01 00:00"


def test_a_bad_move_is_refused_by_the_name_of_its_field() -> None:
    a_plan("pro")
    a_plan("other", usd_fee("7"))
    a_subscription(a_customer())
    older, newer, other = published_version(plan_key="pro"), a_newer_version(), published_version(plan_key="other")

    def refused(target: PlanVersion, *sources: PlanVersion, from_date: date = AT.date()) -> list[str]:
        with pytest.raises((InvalidFields, InvalidInput)) as caught:
            propose_migration(target=target, sources=sources, from_date=from_date, at=AT, actor="fiona")
        return [error.field for error in caught.value.field_errors]

    assert refused(newer, other) == ["source"]
    assert refused(newer, newer) == ["source"]
    assert refused(older, newer) == ["source"]
    assert refused(newer, older, from_date=AT.date() - timedelta(days=1)) == ["from_date"]
    newer.published_at = None
    assert refused(newer, older) == ["target"]
    assert not PlanMigration.objects.exists()


def test_more_subscribers_than_one_move_takes_are_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    three_customers()
    a_newer_version()
    monkeypatch.setattr(migrate_subscribers, "SUBSCRIPTIONS_MAX", 2)

    first = committed(proposed())
    second = committed(proposed())

    assert [one["subscription"] for one in first.figures["moves"]] == ["sub_cust_idle", "sub_cust_some"]
    assert [one["subscription"] for one in second.figures["moves"]] == ["sub_cust_much"]
    assert (first.figures["left_for_later"], second.figures["left_for_later"]) == (1, 0)
    with pytest.raises(InvalidInput, match="nobody is on these versions"):
        proposed()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_planmigration SET figures = '{}'",
        "UPDATE invoicing_planmigration SET committed_by = 'mallory'",
        "DELETE FROM invoicing_planmigration",
        "TRUNCATE invoicing_planmigration",
    ],
)
def test_raw_sql_cannot_change_a_move_that_was_made(statement: str) -> None:
    three_customers()
    a_newer_version()
    committed(proposed())
    settle_constraints()

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_move_is_committed_by_somebody_with_a_reason() -> None:
    three_customers()
    a_newer_version()
    migration = proposed()

    with pytest.raises(IntegrityError, match="plan_migration_is_committed_by_somebody_with_reason"):
        PlanMigration.objects.filter(pk=migration.pk).update(committed_at=AT)
