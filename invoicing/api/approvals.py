"""Approvals over HTTP: what others ask for, and the decision about it, bound to the digest of what was seen."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidInput, NotFound
from invoicing.api.base import actor_of, filters_of, read
from invoicing.api.fields import MomentField, StrictSerializer, TextField
from invoicing.approvals.models import Approval, Decision
from invoicing.workflows.approve import decide

STATES = ("open", *Decision.values)
DIGEST = "4f7c2a9d0b1e6c358f7c2a9d0b1e6c358f7c2a9d0b1e6c358f7c2a9d0b1e6c35"
DECISION_EXAMPLE = {"decision": "approved", "digest": DIGEST, "reason": "compared with June"}
APPROVAL_EXAMPLE = {
    "id": 31,
    "deed": "billing_run",
    "subject": "run 12",
    "summary": "Issue 412 invoices, EUR 183,220.10; 3 held stay drafts",
    "figures": [],
    "digest": DIGEST,
    "requested_at": "2026-08-01T06:02:00Z",
    "requested_by": "API key finance",
    "reason": "the month is over",
    "decision": "approved",
    "decided_at": "2026-08-01T08:30:00Z",
    "decided_by": "API key cfo",
    "decision_reason": "compared with June",
}


class NewDecision(StrictSerializer):
    """What somebody decides about what another asks for."""

    decision = serializers.ChoiceField(choices=Decision.choices)
    digest = TextField(max_length=64, help_text="Of what was looked at.")
    reason = TextField(max_length=300)


class ApprovalSerializer(serializers.ModelSerializer[Approval]):
    """A request for a deed that takes two people, and what was decided."""

    figures = serializers.ListField(
        source="asked.figures",
        default=list,
        child=serializers.ListField(child=serializers.CharField(), min_length=2, max_length=2),
        help_text="What is asked for, figure by figure: pairs of words.",
    )
    requested_at = MomentField()
    decision = serializers.CharField(help_text="Empty while it waits.")
    decided_at = MomentField(allow_null=True)

    class Meta:
        model = Approval
        fields = tuple(APPROVAL_EXAMPLE)


@extend_schema_view(
    get=extend_schema(
        operation_id="list_approvals",
        summary="List what takes two people, newest first",
        parameters=[OpenApiParameter("state", str, enum=STATES)],
    )
)
class ApprovalsView(generics.ListAPIView[Approval]):
    """All requests."""

    scopes = {"GET": "approvals:read"}
    serializer_class = ApprovalSerializer

    def get_queryset(self) -> QuerySet[Approval]:
        """Return those in the state that is asked for."""
        state = filters_of(self.request, known=("state",)).get("state")
        if state is None:
            return Approval.objects.all()
        if state not in STATES:
            raise InvalidInput(f"must be one of {', '.join(STATES)}", field="state", code="unknown")
        return Approval.objects.filter(decision="" if state == "open" else state)


class ApprovalDecisionView(generics.GenericAPIView[Approval]):
    """The decision about a request."""

    scopes = {"POST": "approvals:write"}
    serializer_class = ApprovalSerializer

    @extend_schema(
        operation_id="decide_approval",
        summary="Approve, refuse or withdraw",
        description="Whoever asked for it does not approve it: a key with the requester's name is refused (`same_person`).",
        request=NewDecision,
        responses=ApprovalSerializer,
        examples=[
            OpenApiExample("Approve", value=DECISION_EXAMPLE, request_only=True),
            OpenApiExample("Approve", value=APPROVAL_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """Decide."""
        fields: dict[str, Any] = read(NewDecision(data=request.data))
        if not (number.isdecimal() and len(number) < 19 and Approval.objects.filter(pk=int(number)).exists()):
            raise NotFound(f"there is no approval {number!r}", field="number")
        decided = decide(
            approval_id=int(number),
            digest=fields["digest"],
            decision=Decision(fields["decision"]),
            at=now(),
            actor=actor_of(request),
            reason=fields["reason"],
        )
        return Response(ApprovalSerializer(decided).data)
