"""A query that is written once answers as the queryset does, for whatever it is asked with, and freezes nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Exists, OuterRef, QuerySet
from pytest_django import DjangoAssertNumQueries

from billing_site.api.models import ApiKey
from billing_site.api.operations import create_api_key
from billing_site.kernel.written_query import WrittenQuery

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
