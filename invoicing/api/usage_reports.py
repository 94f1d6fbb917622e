"""A count of a running period over HTTP, as services keep it that do not send events (S1-100)."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import clock
from billing_site.kernel.model import EXACT_DIGITS, EXACT_PLACES
from billing_site.kernel.money import plain
from invoicing.api.base import check_customer_visible, read
from invoicing.workflows.report_count import ReportedCount, report_count

EXAMPLE = {"tenant_id": "cust_acme", "subscription_id": "sub_acme", "query_count": "12500"}
EXAMPLE_ANSWER = {
    "tenant_id": "cust_acme",
    "subscription_id": "sub_acme",
    "meter": "queries",
    "period": {"start": "2026-07-01T00:00:00Z", "end": "2026-08-01T00:00:00Z"},
    "query_count": "12500",
    "added": "300",
    "idempotency_key": "count:sub_acme:queries:20260701T0000:12500",
}


class UsageReportSerializer(serializers.Serializer[Any]):
    """A count since the beginning of the running billing period."""

    tenant_id = serializers.CharField(max_length=100, help_text="The customer's key.")
    subscription_id = serializers.CharField(max_length=100, help_text="The subscription's key.")
    query_count = serializers.DecimalField(
        max_digits=EXACT_DIGITS,
        decimal_places=EXACT_PLACES,
        min_value=Decimal(0),
        help_text="All of the period so far.",
    )
    meter = serializers.CharField(
        max_length=100, default="", help_text="What is counted; needed where the subscription is charged for several."
    )


class ReportedPeriodSerializer(serializers.Serializer[Any]):
    """From `start` until before `end`."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField()


class UsageReportedSerializer(serializers.Serializer[Any]):
    """What is counted now."""

    tenant_id = serializers.CharField()
    subscription_id = serializers.CharField()
    meter = serializers.CharField()
    period = ReportedPeriodSerializer()
    query_count = serializers.CharField()
    added = serializers.CharField(help_text="By how much it is more than before.")
    idempotency_key = serializers.CharField(help_text="Of the event that adds it; empty where nothing was added.")


class UsageReportView(generics.GenericAPIView[Any]):
    """Counts of running periods."""

    scopes = {"POST": "events:write"}
    customer_bound = ("POST",)
    serializer_class = UsageReportSerializer

    @extend_schema(
        operation_id="report_usage",
        summary="Set the count of a running period",
        description="The count replaces what was counted since the period began: the same again changes nothing, a larger one adds the"
        " difference as one event of this moment. A smaller one is a 409: cancel or amend events instead.",
        request=UsageReportSerializer,
        responses=UsageReportedSerializer,
        examples=[
            OpenApiExample("12,500 queries so far", value=EXAMPLE, request_only=True),
            OpenApiExample("300 more than before", value=EXAMPLE_ANSWER, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Set the count."""
        given = read(self.get_serializer(data=request.data))
        check_customer_visible(request, key=given["tenant_id"], field="tenant_id")
        done = report_count(
            customer_key=given["tenant_id"],
            subscription_key=given["subscription_id"],
            total=given["query_count"],
            meter_key=given["meter"],
            at=clock.now(),
        )
        return Response(UsageReportedSerializer(_document(given, done)).data)


def _document(given: dict[str, Any], done: ReportedCount) -> dict[str, Any]:
    return {
        "tenant_id": given["tenant_id"],
        "subscription_id": given["subscription_id"],
        "meter": done.meter,
        "period": {"start": done.period.start, "end": done.period.end},
        "query_count": plain(done.total),
        "added": plain(done.added),
        "idempotency_key": done.idempotency_key,
    }
