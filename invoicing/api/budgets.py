"""Budgets and limits over HTTP: amounts that each billing period of a customer is compared with (S0-140, S0-141)."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import NotFound
from invoicing.api.base import actor_of, bound_customer, check_customer_visible, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, NewMoneyField, StrictSerializer, TextField, WholeField
from invoicing.customers.queries import customer_by_key
from invoicing.spend.models import AtLimit, Budget, SetBy
from invoicing.spend.operations import KEY_PATTERN, retire_budget
from invoicing.spend.queries import budget_by_key
from invoicing.workflows.watch_spend import change_watched_budget, set_watched_budget

REQUEST_EXAMPLE: dict[str, Any] = {
    "key": "acme_monthly",
    "customer_id": "cust_acme",
    "name": "Monthly budget",
    "amount": {"amount": "2500.00", "currency": "EUR"},
    "thresholds": [50, 80, 100],
    "at_limit": "notify",
}
ANSWER_EXAMPLE = REQUEST_EXAMPLE | {
    "projected_thresholds": [],
    "set_by": "company",
    "retired_at": None,
    "created_at": "2026-08-01T09:00:00Z",
}
REASON = "set over the API"


class BudgetTerms(StrictSerializer):
    """What may change about a budget."""

    name = TextField(required=False, max_length=100)
    amount = NewMoneyField(required=False, help_text="For each billing period, in the customer's currency.")
    thresholds = serializers.ListField(
        child=WholeField(), required=False, help_text="Percent of the amount; default: 50, 80 and 100."
    )
    projected_thresholds = serializers.ListField(
        child=WholeField(),
        required=False,
        help_text="Percent of the amount at which the spend that is expected of the whole period is told; default: none.",
    )
    at_limit = serializers.ChoiceField(
        required=False,
        choices=AtLimit.choices,
        help_text="`stop`: from the amount on access is refused (`spend_limit`) until the period ends. Default: notify.",
    )


class NewBudget(BudgetTerms):
    """A budget to be set."""

    key = TextField(required=False, max_length=100, help_text="Your name for it; one is made where it is missing.")
    customer_id = TextField(
        max_length=100,
        allow_null=True,
        help_text="null: the default of all customers of the currency for whom the company has set none.",
    )
    name = TextField(max_length=100)
    amount = NewMoneyField(help_text="For each billing period, in the customer's currency.")


class BudgetEnd(StrictSerializer):
    """Why a budget is not watched any more."""

    reason = TextField(max_length=300)


class BudgetSerializer(serializers.ModelSerializer[Budget]):
    """A budget as it is."""

    customer_id = serializers.SerializerMethodField(help_text="null: a default.")
    amount = MoneyField()
    retired_at = MomentField(allow_null=True)
    created_at = MomentField()

    class Meta:
        model = Budget
        fields = (
            "key",
            "customer_id",
            "name",
            "amount",
            "thresholds",
            "projected_thresholds",
            "at_limit",
            "set_by",
            "retired_at",
            "created_at",
        )

    def get_customer_id(self, budget: Budget) -> str | None:
        """Return the customer's key."""
        return budget.customer.key if budget.customer else None


@extend_schema_view(
    get=extend_schema(
        operation_id="list_budgets",
        summary="List budgets, newest first",
        parameters=[OpenApiParameter("customer_id", str, description="Only this customer's own.")],
    )
)
class BudgetsView(generics.ListAPIView[Budget]):
    """All budgets."""

    scopes = {"GET": "spend:read", "POST": "spend:write"}
    customer_bound = ("GET", "POST")
    serializer_class = BudgetSerializer

    def get_queryset(self) -> QuerySet[Budget]:
        """Return the budgets that the caller may see and asks for."""
        filters = filters_of(self.request, known=("customer_id",))
        found = Budget.objects.select_related("customer")
        for key in {key for key in (bound_customer(self.request), filters.get("customer_id")) if key}:
            found = found.filter(customer__key=key)
        return found

    @extend_schema(
        operation_id="set_budget",
        summary="Set a budget",
        description="What is reached already is noticed at once. The same key and content a second time is the budget that"
        " exists; other content is a 409. A key that is bound to a customer sets the customer's own, beside the company's.",
        request=NewBudget,
        responses={201: BudgetSerializer},
        examples=[
            OpenApiExample("A budget of Acme", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("A budget of Acme", value=ANSWER_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Set a budget."""
        wanted: dict[str, Any] = read(NewBudget(data=request.data))
        key = wanted.pop("customer_id")
        if bound_customer(request) and key is None:
            raise PermissionDenied("a key that is bound to a customer cannot set the default of all")
        if key is not None:
            check_customer_visible(request, key=key, field="customer_id")
        budget = set_watched_budget(
            customer=None if key is None else customer_by_key(key=key),
            set_by=SetBy.CUSTOMER.value if bound_customer(request) else SetBy.COMPANY.value,
            at=now(),
            actor=actor_of(request),
            reason=REASON,
            **wanted,
        )
        return Response(_answer(budget.key), status=201)


class BudgetView(generics.GenericAPIView[Budget]):
    """One budget."""

    scopes = {"GET": "spend:read", "PATCH": "spend:write"}
    customer_bound = ("GET", "PATCH")
    serializer_class = BudgetSerializer

    @extend_schema(operation_id="get_budget", summary="Read a budget", responses=BudgetSerializer)
    def get(self, request: Request, key: str) -> Response:
        """Return the budget."""
        return Response(BudgetSerializer(_budget(request, key)).data)

    @extend_schema(
        operation_id="change_budget",
        summary="Change a budget",
        description="Access hears of it at once. Thresholds of another amount are told anew.",
        request=BudgetTerms,
        responses=BudgetSerializer,
        examples=[
            OpenApiExample("Raise it", value={"amount": {"amount": "3000.00", "currency": "EUR"}}, request_only=True)
        ],
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields that are given."""
        budget = _own_budget(request, key)
        changes = read(BudgetTerms(data=request.data))
        change_watched_budget(budget=budget, changes=changes, at=now(), actor=actor_of(request), reason=REASON)
        return Response(_answer(key))


class BudgetRetireView(generics.GenericAPIView[Budget]):
    """The end of one budget."""

    scopes = {"POST": "spend:write"}
    customer_bound = ("POST",)
    serializer_class = BudgetEnd

    @extend_schema(
        operation_id="retire_budget",
        summary="Retire a budget",
        description="It is watched no more, and stops nobody; its notices stay. A second time changes nothing.",
        responses=BudgetSerializer,
        examples=[OpenApiExample("Not needed", value={"reason": "replaced by a limit"}, request_only=True)],
    )
    def post(self, request: Request, key: str) -> Response:
        """Retire the budget."""
        budget = _own_budget(request, key)
        end = read(BudgetEnd(data=request.data))
        retire_budget(budget=budget, at=now(), actor=actor_of(request), reason=end["reason"])
        return Response(_answer(key))


def _budget(request: Request, key: str) -> Budget:
    if not KEY_PATTERN.fullmatch(key):
        raise NotFound(f"there is no budget {key!r}", field="key")
    budget = budget_by_key(key=key)
    if bound_customer(request) not in ("", budget.customer.key if budget.customer else None):
        raise NotFound(f"there is no budget {key!r}", field="key")
    return budget


def _own_budget(request: Request, key: str) -> Budget:
    """Return a budget that the caller may change: a customer's key not what the company has set."""
    budget = _budget(request, key)
    if bound_customer(request) and budget.set_by != SetBy.CUSTOMER:
        raise PermissionDenied("a key that is bound to a customer cannot change what the company has set")
    return budget


def _answer(key: str) -> Any:
    return BudgetSerializer(budget_by_key(key=key)).data
