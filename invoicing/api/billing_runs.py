"""Billing runs over HTTP that are looked at first: proposed, read with every figure, issued as somebody else has signed them."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field, extend_schema_view
from moneyed import Money
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import NotFound
from invoicing.api.base import actor_of, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, StrictSerializer, TextField
from invoicing.approvals.models import Decision
from invoicing.run_proposals.models import HELD, ISSUED, WAITS, RunProposal
from invoicing.workflows.propose_run import ask_to_issue, propose_run
from invoicing.workflows.run_figures import RunSums, run_sums

PROPOSE_EXAMPLE = {"as_of": "2026-08-01T00:00:00Z", "reason": "the month is over"}
DIGEST = "4f7c2a9d0b1e6c358f7c2a9d0b1e6c358f7c2a9d0b1e6c358f7c2a9d0b1e6c35"
RUN_EXAMPLE = {
    "id": 12,
    "as_of": "2026-08-01T00:00:00Z",
    "proposed_at": "2026-08-01T06:00:00Z",
    "proposed_by": "API key finance",
    "reason": "the month is over",
    "digest": DIGEST,
    "approval": 31,
    "approved_by": None,
    "refusal": "",
    "issued_at": None,
}
INVOICE_EXAMPLE = {
    "customer_id": "cust_acme",
    "period_start": "2026-07-01T00:00:00Z",
    "period_end": "2026-08-01T00:00:00Z",
    "becomes": "held",
    "reasons": "USD 505 charged, 4.8 × the usual USD 105 (the middle of the 3 invoices before)",
    "total": {"amount": "505.00", "currency": "USD"},
    "last_total": {"amount": "105.00", "currency": "USD"},
}
SUM_EXAMPLE = {
    "currency": "USD",
    "issued_count": 1,
    "issued_total": {"amount": "12.00", "currency": "USD"},
    "held_count": 1,
    "held_total": {"amount": "505.00", "currency": "USD"},
    "waiting_count": 0,
    "last_total": {"amount": "110.00", "currency": "USD"},
    "new_customers": 1,
    "gone_customers": 1,
}


class NewRun(StrictSerializer):
    """A billing run to be looked at."""

    as_of = MomentField(help_text="Periods that ended by then are billed; not in the future.")
    reason = TextField(max_length=300)


class RunDigest(StrictSerializer):
    """What the caller has seen."""

    digest = TextField(max_length=64, help_text="The run's `digest`: where it is another by now, nothing is done.")


class RunSerializer(serializers.ModelSerializer[RunProposal]):
    """A proposed billing run and where it stands."""

    as_of = MomentField()
    proposed_at = MomentField()
    digest = serializers.CharField(source="figures_digest", help_text="Of every figure; empty while they are made.")
    approval = serializers.IntegerField(
        source="approval_id", allow_null=True, help_text="The request for its signature, null while figures are made."
    )
    approved_by = serializers.SerializerMethodField(help_text="Who has signed these figures, null before.")
    refusal = serializers.CharField(help_text="Why it was not issued as signed; empty where it was not refused.")
    issued_at = MomentField(source="committed_at", allow_null=True)

    class Meta:
        model = RunProposal
        fields = (
            "id",
            "as_of",
            "proposed_at",
            "proposed_by",
            "reason",
            "digest",
            "approval",
            "approved_by",
            "refusal",
            "issued_at",
        )

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_approved_by(self, run: RunProposal) -> str | None:
        """Return who has signed what the run says now."""
        asked = run.approval
        is_signed = asked is not None and asked.decision == Decision.APPROVED and asked.digest == run.figures_digest
        return asked.decided_by if asked and is_signed else None


class RunSumSerializer(serializers.Serializer[Any]):
    """What a run comes to in one currency."""

    currency = serializers.CharField()
    issued_count = serializers.IntegerField()
    issued_total = MoneyField()
    held_count = serializers.IntegerField()
    held_total = MoneyField()
    waiting_count = serializers.IntegerField(help_text="They wait for late usage.")
    last_total = MoneyField(help_text="What these customers, and those that are gone, were invoiced the last time.")
    new_customers = serializers.IntegerField()
    gone_customers = serializers.IntegerField(help_text="Billed the last time and not now.")


class RunInvoiceSerializer(serializers.Serializer[Any]):
    """One invoice of a run."""

    customer_id = serializers.CharField()
    period_start = MomentField()
    period_end = MomentField()
    becomes = serializers.ChoiceField(choices=(ISSUED, HELD, WAITS), help_text="`held` and `waits` stay drafts.")
    reasons = serializers.CharField(help_text="Why it is held.")
    total = MoneyField()
    last_total = MoneyField(allow_null=True, help_text="What the customer was invoiced before this run.")


class RunDetailSerializer(RunSerializer):
    """A proposed billing run with every figure."""

    sums = RunSumSerializer(many=True, source="*")
    invoices = RunInvoiceSerializer(many=True, source="*")
    not_billed = serializers.ListField(child=serializers.CharField(), source="*", help_text="Customers, by key.")

    class Meta(RunSerializer.Meta):
        fields = (*RunSerializer.Meta.fields, "sums", "invoices", "not_billed")  # type: ignore[assignment]

    def to_representation(self, instance: RunProposal) -> dict[str, Any]:
        """Write the run, then its figures in their order."""
        figures = instance.figures or {"rows": [], "gone": [], "failures": []}
        return {
            **RunSerializer(instance).data,
            "sums": [RunSumSerializer(_sum(one)).data for one in run_sums(figures=figures)],
            "invoices": [RunInvoiceSerializer(_invoice(row)).data for row in figures["rows"]],
            "not_billed": figures["failures"],
        }


@extend_schema_view(
    get=extend_schema(operation_id="list_billing_runs", summary="List proposed billing runs, newest first")
)
class BillingRunsView(generics.ListAPIView[RunProposal]):
    """All proposed runs."""

    scopes = {"GET": "billing_runs:read", "POST": "billing_runs:write"}
    serializer_class = RunSerializer

    def get_queryset(self) -> QuerySet[RunProposal]:
        """Return them all."""
        filters_of(self.request, known=())
        return RunProposal.objects.select_related("approval")

    @extend_schema(
        operation_id="propose_billing_run",
        summary="Propose a billing run",
        description="Makes the run on trial, in the background, and takes it back: read it until it has a `digest`. Nothing is issued"
        " before somebody else has approved that digest (`POST /approvals/{id}/decision`).",
        request=NewRun,
        responses={202: RunSerializer},
        examples=[
            OpenApiExample("A month", value=PROPOSE_EXAMPLE, request_only=True),
            OpenApiExample("A month", value=RUN_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Propose it."""
        run = propose_run(**read(NewRun(data=request.data)), at=now(), actor=actor_of(request))
        return Response(RunSerializer(run).data, status=202)


class BillingRunView(generics.GenericAPIView[RunProposal]):
    """One proposed run."""

    scopes = {"GET": "billing_runs:read"}
    serializer_class = RunDetailSerializer

    @extend_schema(
        operation_id="get_billing_run",
        summary="Read a proposed billing run with every figure",
        responses=RunDetailSerializer,
        examples=[
            OpenApiExample(
                "To be signed",
                value=RUN_EXAMPLE | {"sums": [SUM_EXAMPLE], "invoices": [INVOICE_EXAMPLE], "not_billed": []},
                response_only=True,
            )
        ],
    )
    def get(self, request: Request, number: str) -> Response:
        """Return it."""
        return Response(RunDetailSerializer(_run(number)).data)


class BillingRunIssueView(generics.GenericAPIView[RunProposal]):
    """The issue of a signed run."""

    scopes = {"POST": "billing_runs:write"}
    serializer_class = RunSerializer

    @extend_schema(
        operation_id="issue_billing_run",
        summary="Issue a billing run as it was signed",
        description="All of it in the background, or nothing where one figure would differ from what was signed: then `refusal` says which.",
        request=RunDigest,
        responses={202: RunSerializer},
        examples=[
            OpenApiExample("As it was seen", value={"digest": DIGEST}, request_only=True),
            OpenApiExample("Asked for", value=RUN_EXAMPLE | {"approved_by": "API key cfo"}, response_only=True),
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """Queue it."""
        digest = read(RunDigest(data=request.data))["digest"]
        run = ask_to_issue(proposal_id=_run(number).pk, digest=digest, at=now(), actor=actor_of(request))
        return Response(RunSerializer(run).data, status=202)


def _run(number: str) -> RunProposal:
    found = RunProposal.objects.filter(pk=int(number)).first() if number.isdecimal() and len(number) < 19 else None
    if found is None:
        raise NotFound(f"there is no billing run {number!r}", field="number")
    return found


def _sum(one: RunSums) -> dict[str, Any]:
    return {
        "currency": one.currency,
        "issued_count": one.counts[ISSUED],
        "issued_total": one.totals[ISSUED],
        "held_count": one.counts[HELD],
        "held_total": one.totals[HELD],
        "waiting_count": one.counts[WAITS],
        "last_total": one.before,
        "new_customers": one.newcomers,
        "gone_customers": one.gone,
    }


def _invoice(row: dict[str, Any]) -> dict[str, Any]:
    currency = row["currency"]
    return {
        "customer_id": row["customer"],
        "period_start": datetime.fromisoformat(row["period_start"]),
        "period_end": datetime.fromisoformat(row["period_end"]),
        "becomes": row["state"],
        "reasons": row["reasons"],
        "total": Money(row["total"], currency),
        "last_total": Money(row["before"], currency) if row["before"] is not None else None,
    }
