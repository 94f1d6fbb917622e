"""May a customer be served: what a product asks before it answers its customer."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from invoicing.api.base import check_customer_visible, filters_of
from invoicing.api.fields import MomentField
from invoicing.core.access import AccessReason
from invoicing.core.life_cycle import State
from invoicing.workflows.answer_access import answer_access

ANSWER_EXAMPLE = {
    "customer_id": "cust_acme",
    "allowed": True,
    "reason": "trial",
    "subscription": "sub_acme_pro",
    "plan": "pro",
    "state": "trial",
    "changes_at": "2026-08-15T00:00:00Z",
    "overdue_since": None,
    "disputed_since": None,
    "restricted_since": None,
}


class AccessSerializer(serializers.Serializer[Any]):
    """Whether a customer is served now, and why."""

    customer_id = serializers.CharField()
    allowed = serializers.BooleanField(
        help_text="True while a subscription is active or in its trial, and not incomplete, no spend limit is reached, no"
        " payment is disputed, and the customer is neither suspended nor churned."
    )
    reason = serializers.ChoiceField(choices=[(reason.value, reason.value) for reason in AccessReason])
    subscription = serializers.CharField(allow_null=True, help_text="The key of the one that the reason is about.")
    plan = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(
        choices=[(state.value, state.value) for state in State], help_text="Where the customer stands in its life."
    )
    changes_at = MomentField(
        allow_null=True, help_text="When the answer changes as things are planned; null: not by itself."
    )
    overdue_since = serializers.DateField(
        allow_null=True, help_text="The due date of the oldest overdue invoice: a flag, it does not take access away."
    )
    disputed_since = MomentField(
        allow_null=True,
        help_text="When the bank of the customer took a payment back (a chargeback): neither served nor charged until that is decided.",
    )
    restricted_since = MomentField(
        allow_null=True,
        help_text="Since when service is restricted because of what is overdue; what that takes away your product decides. Paid, it is null.",
    )


class AccessView(generics.GenericAPIView[Any]):
    """Access of one customer."""

    scopes = {"GET": "access:read"}
    customer_bound = ("GET",)
    serializer_class = AccessSerializer

    @extend_schema(
        operation_id="get_access",
        summary="Ask whether a customer may be served now",
        description="One indexed read of what is in force at this moment; meant to be asked before each call of your product.",
        responses=AccessSerializer,
        examples=[OpenApiExample("In its trial", value=ANSWER_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the answer."""
        filters_of(request, known=())
        check_customer_visible(request, key=key, field="key")
        access = answer_access(customer_key=key, at=now())
        verdict = access.verdict
        answer = {
            "customer_id": key,
            "allowed": verdict.is_allowed,
            "reason": verdict.reason.value,
            "subscription": verdict.subscription,
            "plan": verdict.plan,
            "state": access.state.value,
            "changes_at": verdict.changes_at,
            "overdue_since": access.overdue_since,
            "disputed_since": access.disputed_since,
            "restricted_since": access.restricted_since,
        }
        return Response(AccessSerializer(answer).data)
