"""Rules by which credit is topped up, over HTTP: set, looked at with where they stand, retired."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from moneyed import Money
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.money import wire
from invoicing.api.base import actor_of, bound_customer, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, NewMoneyField, StrictSerializer, TextField, WholeField
from invoicing.customers.queries import customer_by_key
from invoicing.top_ups.operations import RuleTerms, retire_rule, set_rule
from invoicing.top_ups.queries import rule_by_key
from invoicing.top_ups.rules import PER_MONTH_MAX, VALID_DAYS_MAX, RuleState, TopUpRule

REQUEST_EXAMPLE = {
    "key": "acme-auto",
    "customer_id": "cust_acme",
    "threshold": {"amount": "50.00", "currency": "EUR"},
    "amount": {"amount": "500.00", "currency": "EUR"},
    "valid_days": 365,
    "max_per_month": 4,
    "reason": "agreed in the contract",
}
RULE_EXAMPLE = REQUEST_EXAMPLE | {
    "state": "enough",
    "problem": "",
    "state_since": "2026-08-01T09:00:00Z",
    "seen_at": "2026-08-03T10:01:00Z",
    "seen_balance": {"amount": "212.40", "currency": "EUR"},
    "set_at": "2026-08-01T09:00:00Z",
    "retired_at": None,
}


class NewTopUpRule(StrictSerializer):
    """Below which live balance how much is sold."""

    key = TextField(max_length=100, help_text="The same key a second time is the rule that exists.")
    customer_id = TextField(max_length=100, help_text="The customer's key. The rule before it is retired.")
    threshold = NewMoneyField(help_text="A live balance below it is topped up; in the customer's currency.")
    amount = NewMoneyField(help_text="What is sold each time.")
    valid_days = WholeField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=VALID_DAYS_MAX,
        help_text="For how many days after its payment the credit lasts. Default: until it is used up.",
    )
    max_per_month = WholeField(
        min_value=1, max_value=PER_MONTH_MAX, help_text="In a calendar month where the customer is."
    )
    reason = TextField(max_length=300)


class TopUpRuleSerializer(serializers.ModelSerializer[TopUpRule]):
    """A rule and where it stands."""

    customer_id = serializers.CharField(source="customer.key")
    threshold = MoneyField()
    amount = MoneyField()
    state = serializers.ChoiceField(
        choices=RuleState.choices, help_text="unpaid, capped, stopped, unknown and frozen need somebody."
    )
    state_since = MomentField()
    seen_at = MomentField(allow_null=True)
    seen_balance = serializers.SerializerMethodField(help_text="The live balance that was seen last.")
    set_at = MomentField()
    retired_at = MomentField(allow_null=True)

    class Meta:
        model = TopUpRule
        fields = (
            "key",
            "customer_id",
            "threshold",
            "amount",
            "valid_days",
            "max_per_month",
            "state",
            "problem",
            "state_since",
            "seen_at",
            "seen_balance",
            "set_at",
            "retired_at",
            "reason",
        )

    @extend_schema_field(MoneyField(allow_null=True))
    def get_seen_balance(self, rule: TopUpRule) -> dict[str, str] | None:
        """Return the balance, or null where none was computed yet."""
        return None if rule.seen_balance is None else wire(Money(rule.seen_balance, rule.currency))


@extend_schema_view(
    get=extend_schema(
        operation_id="list_top_up_rules",
        summary="List top-up rules, newest first",
        parameters=[OpenApiParameter("customer_id", str, description="Of this customer only.")],
    )
)
class TopUpRulesView(generics.ListAPIView[TopUpRule]):
    """All rules."""

    scopes = {"GET": "credits:read", "POST": "credits:write"}
    customer_bound = ("GET",)
    serializer_class = TopUpRuleSerializer

    def get_queryset(self) -> QuerySet[TopUpRule]:
        """Return the rules that the caller may see."""
        filters = filters_of(self.request, known=("customer_id",))
        rules = TopUpRule.objects.select_related("customer")
        for key in filter(None, (bound_customer(self.request), filters.get("customer_id", ""))):
            rules = rules.filter(customer__key=key)
        return rules

    @extend_schema(
        operation_id="set_top_up_rule",
        summary="Top credit up automatically",
        description="Where the live balance is below the threshold an invoice sells more credit, within a minute; not while one of them is unpaid, and not more often"
        " in a month than agreed.",
        request=NewTopUpRule,
        responses={201: TopUpRuleSerializer},
        examples=[
            OpenApiExample("Below 50, buy 500", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("Below 50, buy 500", value=RULE_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Set it."""
        fields: dict[str, Any] = read(NewTopUpRule(data=request.data))
        rule = set_rule(
            customer=customer_by_key(key=fields.pop("customer_id"), field="customer_id"),
            key=fields.pop("key"),
            reason=fields.pop("reason"),
            terms=RuleTerms(**fields),
            at=now(),
            actor=actor_of(request),
        )
        return Response(TopUpRuleSerializer(rule).data, status=201)


class RuleRetirement(StrictSerializer):
    """Why a rule ends."""

    reason = TextField(max_length=300)


class TopUpRuleRetireView(generics.GenericAPIView[TopUpRule]):
    """Ending a rule."""

    scopes = {"POST": "credits:write"}
    serializer_class = TopUpRuleSerializer

    @extend_schema(
        operation_id="retire_top_up_rule",
        summary="Top up by a rule no more",
        request=RuleRetirement,
        responses=TopUpRuleSerializer,
        examples=[
            OpenApiExample("Why", value={"reason": "they pay by invoice now"}, request_only=True),
            OpenApiExample("Retired", value=RULE_EXAMPLE | {"retired_at": "2026-09-01T00:00:00Z"}, response_only=True),
        ],
    )
    def post(self, request: Request, key: str) -> Response:
        """Retire it."""
        fields = read(RuleRetirement(data=request.data))
        rule = rule_by_key(key=key, of_customer=bound_customer(request))
        rule = retire_rule(rule=rule, at=now(), actor=actor_of(request), reason=fields["reason"])
        return Response(TopUpRuleSerializer(rule).data)
