"""A query that is written once answers as the queryset does, for whatever it is asked with, and freezes nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from pytest_django import DjangoAssertNumQueries

from billing_site.api.models import ApiKey
from billing_site.api.operations import create_api_key
from billing_site.kernel.among import among
from billing_site.kernel.written_query import WrittenObjects, WrittenQuery
from invoicing.subscriptions.models import SubscriptionPhase
from tests.factories import a_customer, a_plan, a_subscription

pytestmark = pytest.mark.django_db
AT = datetime(2026, 8, 1, 23, 30, tzinfo=UTC)


def keys_of(name: str, at: datetime) -> "QuerySet[ApiKey, Any]":
    """Text, a moment, its day, a subquery, JSON that is converted, and a value of the query's own."""
    revoked = ApiKey.objects.filter(pk=OuterRef("pk"), revoked_at__date__lt=at.date())
    return (
        ApiKey.objects.filter(name=name, created_at__lte=at, customer_key="")
        .annotate(was_revoked=Exists(revoked))
        .values_list("name", "scopes", "was_revoked")
        .order_by("prefix")
    )


def test_it_answers_what_the_queryset_answers_with_one_query_and_is_built_once(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    built = []
    written = WrittenQuery(lambda **asked: built.append(asked) or keys_of(**asked), name=str, at=datetime)  # type: ignore[func-returns-value]
    for name in ("ingest", "portal", "portal"):
        create_api_key(name=name, scopes=["usage:read"])
    ApiKey.objects.filter(name="ingest").update(revoked_at=AT, created_at=AT)
    ApiKey.objects.filter(name="portal").update(created_at=AT + timedelta(days=1))
    asked = [
        {"name": name, "at": AT + timedelta(days=days)}
        for name in ("ingest", "portal", "nobody")
        for days in (-1, 0, 1, 2)
    ]

    with django_assert_num_queries(len(asked)):
        answers = [written.rows(**one) for one in asked]

    assert answers == [list(keys_of(**one)) for one in asked]
    assert [len(answer) for answer in answers] == [0, 1, 1, 1, 0, 0, 2, 2, 0, 0, 0, 0]
    assert answers[1:3] == [[("ingest", ["usage:read"], False)], [("ingest", ["usage:read"], True)]]
    assert len(built) == 2, "with two samples, to see what follows from them"


def test_what_is_computed_from_a_value_is_refused_because_it_would_stay_as_it_was() -> None:
    by_day_before = WrittenQuery(
        lambda at: ApiKey.objects.filter(created_at__lt=at - timedelta(days=1)).values_list("name"), at=datetime
    )
    by_month = WrittenQuery(
        lambda at: ApiKey.objects.filter(created_at__month=at.month).values_list("name"), at=datetime
    )

    for frozen in (by_day_before, by_month):
        with pytest.raises(AssertionError, match="it would never change"):
            frozen.rows(at=AT)


def test_it_is_asked_with_just_the_values_that_it_was_written_for() -> None:
    written = WrittenQuery(lambda name: ApiKey.objects.filter(name=name).values_list("name"), name=str)

    with pytest.raises(AssertionError, match="written for"):
        written.rows(name="ingest", at=AT)


def test_each_of_several_values_of_a_kind_goes_to_its_own_place() -> None:
    for name in ("ingest", "portal"):
        create_api_key(name=name, scopes=["usage:read"])
    first, second = ApiKey.objects.order_by("pk").values_list("pk", flat=True)
    ApiKey.objects.update(created_at=AT)
    written = WrittenQuery(
        lambda name, other, since, until, keys: ApiKey.objects.filter(
            among("pk", keys), name__in=(name, other), created_at__gte=since, created_at__lt=until
        ).values_list("name"),
        name=str,
        other=str,
        since=datetime,
        until=datetime,
        keys=list,
    )
    both, later = [first, second], AT + timedelta(days=1)

    def found(*, keys: list[int], since: datetime = AT, until: datetime = later, other: str = "portal") -> set[str]:
        rows = written.rows(name="ingest", other=other, since=since, until=until, keys=keys)
        return {name for (name,) in rows}

    assert found(keys=both) == {"ingest", "portal"}
    assert found(keys=[second]) == {"portal"}
    assert found(keys=both, other="nobody") == {"ingest"}
    assert found(keys=both, since=later) == found(keys=both, until=AT) == found(keys=[]) == set()


def test_objects_are_read_as_the_queryset_reads_them_with_those_that_they_point_to(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    a_plan()
    for key in ("cust_acme", "cust_other"):
        a_subscription(a_customer(key))
    written = WrittenObjects(
        lambda subscription: (
            SubscriptionPhase.objects.filter(subscription=subscription)
            .select_related("plan_version__plan", "subscription__customer")
            .defer("plan_version__plan__name")
            .order_by("pk")
        ),
        subscription=int,
    )
    for phase in SubscriptionPhase.objects.all():
        with django_assert_num_queries(1):
            [again] = written.all(subscription=phase.subscription_id)
            told = [again.plan_version.plan.key, again.subscription.customer.key]

        assert again == phase and again.starts_at == phase.starts_at and not again._state.adding
        assert told == [phase.plan_version.plan.key, phase.subscription.customer.key]
        assert again.plan_version.plan.name == phase.plan_version.plan.name, (
            "what was left out is read when it is asked for"
        )
        assert written.first(subscription=phase.subscription_id) == written.get(subscription=phase.subscription_id)
    assert written.first(subscription=0) is None
    with pytest.raises(SubscriptionPhase.DoesNotExist):
        written.get(subscription=0)


@pytest.mark.django_db(transaction=True)
def test_what_locks_is_asked_in_a_transaction_alone_also_when_it_was_written_before() -> None:
    locked = WrittenObjects(lambda name: ApiKey.objects.select_for_update().filter(name=name), name=str)
    with transaction.atomic():
        assert locked.all(name="ingest") == []

    with pytest.raises(AssertionError, match="a lock lasts as long as its transaction"):
        locked.all(name="ingest")
