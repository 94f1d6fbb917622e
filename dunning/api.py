"""Dunning over HTTP: a service that charges customers itself reports failed payments (S1-101)."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from dunning.reporting import Reported, report_failed_payment
from invoicing.api.base import check_customer_visible, read
from invoicing.api.fields import MomentField, NewMoneyField, StrictSerializer, TextField
from invoicing.core.access import AccessReason
from invoicing.workflows.answer_access import answer_access

ASKED = {
    "tenant_id": "cust_acme",
    "failure_count": 1,
    "invoice_amount": {"amount": "23.80", "currency": "EUR"},
}
ANSWER = {
    "tenant_id": "cust_acme",
    "invoice": "INV-2026-00042",
    "recorded": True,
    "allowed": True,
    "reason": "past_due",
    "case": {
        "state": "open",
        "policy": "standard",
        "days_from": "2026-09-05",
        "next_step": {"day": 0, "act": "notice", "notice": "payment_failed", "due_at": "2026-09-05T09:00:00Z"},
    },
}


class FailedPaymentRequest(StrictSerializer):
    """Which payment failed, and how often it has by now."""

    tenant_id = TextField(max_length=100, help_text="The customer's key.")
    failure_count = serializers.IntegerField(help_text="1 is the first time; the same again changes nothing.")
    invoice_amount = NewMoneyField(help_text="What is open of the invoice.")


class NextStepSerializer(serializers.Serializer[Any]):
    """What comes next, unless it is paid."""

    day = serializers.IntegerField()
    act = serializers.CharField()
    notice = serializers.CharField(help_text='"": nothing is told.')
    due_at = MomentField()


class CaseSerializer(serializers.Serializer[Any]):
    """How the customer is chased."""

    state = serializers.CharField()
    policy = serializers.CharField()
    days_from = serializers.DateField(help_text="Days are counted from it, where the customer is.")
    next_step = NextStepSerializer(allow_null=True)


class FailedPaymentSerializer(serializers.Serializer[Any]):
    """What came of the report."""

    tenant_id = serializers.CharField()
    invoice = serializers.CharField()
    recorded = serializers.BooleanField(help_text="False: this failure was reported before.")
    allowed = serializers.BooleanField(help_text="Whether the customer is served now, as the access endpoint says.")
    reason = serializers.ChoiceField(choices=[(reason.value, reason.value) for reason in AccessReason])
    case = CaseSerializer(allow_null=True, help_text="Null: so little is left alone.")


class FailedPaymentsView(generics.GenericAPIView[Any]):
    """Reports of failed payments."""

    scopes = {"POST": "dunning:write"}
    serializer_class = FailedPaymentSerializer

    @extend_schema(
        operation_id="report_failed_payment",
        summary="Report a failed payment, and let dunning take it up",
        description="For services that charge customers themselves; what Stripe charges is heard of from Stripe. The failure is recorded for the oldest invoice"
        " of which exactly this amount is open; 409 where there is none, because it may be paid by now.",
        request=FailedPaymentRequest,
        responses=FailedPaymentSerializer,
        examples=[
            OpenApiExample("First failure", value=ASKED, request_only=True),
            OpenApiExample("Taken up", value=ANSWER, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Take a report."""
        fields: dict[str, Any] = read(FailedPaymentRequest(data=request.data))
        tenant, at = fields["tenant_id"], now()
        check_customer_visible(request, key=tenant, field="tenant_id")
        reported = report_failed_payment(
            tenant=tenant, failure_count=fields["failure_count"], amount=fields["invoice_amount"], at=at
        )
        verdict = answer_access(customer_key=tenant, at=at).verdict
        answer = {
            "tenant_id": tenant,
            "invoice": reported.invoice.number,
            "recorded": reported.is_new,
            "allowed": verdict.is_allowed,
            "reason": verdict.reason.value,
            "case": _case(reported),
        }
        return Response(FailedPaymentSerializer(answer).data)


def _case(reported: Reported) -> dict[str, Any] | None:
    if reported.case is None:
        return None
    ahead = reported.next_step
    return {
        "state": reported.case.state,
        "policy": reported.case.policy.key,
        "days_from": reported.case.anchor_day,
        "next_step": ahead
        and {
            "day": ahead.step.day,
            "act": ahead.step.act.value,
            "notice": ahead.step.notice.value if ahead.step.notice else "",
            "due_at": ahead.due_at,
        },
    }
