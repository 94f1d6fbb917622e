"""Closed months over HTTP: how each stands, its checklist or certificate, sign-off, close, the request to open it again, and the package."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict
from invoicing.api.approvals import APPROVAL_EXAMPLE, DIGEST, ApprovalSerializer
from invoicing.api.base import actor_of, filters_of, read
from invoicing.api.fields import MomentField, StrictSerializer, TextField
from invoicing.closing.operations import ask_to_reopen
from invoicing.closing.queries import MONTH_STATES, MonthState, close_in_force, month_state, month_states, read_month
from invoicing.workflows.close_month import CHECK_STATES, Checklist, CheckState, checklist_of, close_month, sign_off
from invoicing.workflows.close_package import package_of

FOUND_MAX = 100
MONTH_EXAMPLE = {
    "month": "2026-07",
    "state": "closed",
    "entries": 1204,
    "closed_at": "2026-08-04T09:12:00Z",
    "closed_by": "API key finance",
    "reason": "July is complete",
    "certificate_digest": DIGEST,
}
CHECK_EXAMPLE = {
    "check": "refunds",
    "title": "What was promised back is paid",
    "why": "A refund of the month stands as owed until it is transferred and written down.",
    "state": "signed",
    "found": ["USD 12.00 of credit note CN-2026-00003 are not paid back"],
    "found_count": 1,
    "digest": DIGEST,
    "instead_of_signing": "",
    "signed_by": "API key finance",
    "reason": "the bank pays it on Monday",
}
DETAIL_EXAMPLE = {
    **MONTH_EXAMPLE,
    "month": "2026-08",
    "state": "to close",
    "closed_at": None,
    "closed_by": "",
    "reason": "",
    "certificate_digest": "",
    "checklist": [CHECK_EXAMPLE],
    "checklist_digest": DIGEST,
    "certificate": None,
}
SIGN_EXAMPLE = {"check": "refunds", "digest": DIGEST, "reason": "the bank pays it on Monday"}
CLOSE_EXAMPLE = {"digest": DIGEST, "reason": "July is complete"}
REASON_EXAMPLE = {"reason": "an invoice of July is wrong"}
REOPENING_EXAMPLE = {
    **APPROVAL_EXAMPLE,
    "deed": "reopening",
    "subject": "month close 7",
    "summary": "Reopen July 2026, closed on 2026-08-04 by API key finance",
    "decision": "",
    "decided_at": None,
    "decided_by": "",
    "decision_reason": "",
}


class NewSignOff(StrictSerializer):
    """Who answers for what a check has found."""

    check = TextField(max_length=40, help_text="The name of the check.")
    digest = TextField(max_length=64, help_text="The `digest` of the check, as it was looked at.")
    reason = TextField(max_length=300)


class NewClose(StrictSerializer):
    """The close of the next month."""

    digest = TextField(max_length=64, help_text="The `checklist_digest` that was looked at.")
    reason = TextField(max_length=300)


class NewReopening(StrictSerializer):
    """The request that the newest closed month is opened again."""

    reason = TextField(max_length=300)


class MonthSerializer(serializers.Serializer[Any]):
    """How a month stands."""

    month = serializers.CharField(help_text="Such as 2026-07; months are of UTC.")
    state = serializers.ChoiceField(choices=MONTH_STATES)
    entries = serializers.IntegerField(help_text="Journal entries booked in it.")
    closed_at = MomentField(allow_null=True)
    closed_by = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    certificate_digest = serializers.CharField(allow_blank=True)


class CheckSerializer(serializers.Serializer[Any]):
    """A check of the checklist."""

    check = serializers.CharField()
    title = serializers.CharField()
    why = serializers.CharField()
    state = serializers.ChoiceField(choices=CHECK_STATES)
    found = serializers.ListField(
        child=serializers.CharField(), help_text=f"The first {FOUND_MAX} things that it found."
    )
    found_count = serializers.IntegerField()
    digest = serializers.CharField(help_text="Of everything that it found.")
    instead_of_signing = serializers.CharField(
        allow_blank=True, help_text="Where nobody can sign it off: what to do with what it found."
    )
    signed_by = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)


class MonthDetailSerializer(MonthSerializer):
    """A month with its checklist while it is the next to close, and its certificate once it is closed."""

    checklist = CheckSerializer(many=True, allow_null=True)
    checklist_digest = serializers.CharField(
        help_text="What a close is bound to; empty where it is not the next month."
    )
    certificate = serializers.DictField(allow_null=True)


class MonthListSerializer(serializers.Serializer[Any]):
    """All months."""

    months = MonthSerializer(many=True)


class MonthsView(generics.GenericAPIView[Any]):
    """The months of the books."""

    scopes = {"GET": "months:read"}
    serializer_class = MonthListSerializer
    pagination_class = None

    @extend_schema(
        operation_id="list_months",
        summary="List the months of the books, newest first",
        responses=MonthListSerializer,
        examples=[OpenApiExample("One of them", value={"months": [MONTH_EXAMPLE]}, response_only=True)],
    )
    def get(self, request: Request) -> Response:
        """Return them all."""
        filters_of(request, known=())
        return Response({"months": [_month(state) for state in month_states(at=now())]})


class MonthView(generics.GenericAPIView[Any]):
    """One month."""

    scopes = {"GET": "months:read"}
    serializer_class = MonthDetailSerializer
    pagination_class = None

    @extend_schema(
        operation_id="get_month",
        summary="Read a month's checklist, or its certificate",
        description="While it is the next month to close its checks are made now; once it is closed its certificate says what it was.",
        responses=MonthDetailSerializer,
        examples=[OpenApiExample("The next to close", value=DETAIL_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, month: str) -> Response:
        """Return it."""
        filters_of(request, known=())
        at = now()
        state = month_state(month=read_month(text=month), at=at)
        return Response(_document(state, checklist_of(month=state.month, at=at) if state.is_next else None))


class MonthSignOffView(generics.GenericAPIView[Any]):
    """Signing off what a check has found."""

    scopes = {"POST": "months:write"}
    serializer_class = MonthDetailSerializer

    @extend_schema(
        operation_id="sign_off_check",
        summary="Sign off what a check of the next month has found",
        description="Bound to the `digest` of what was looked at: what the check finds later is found anew (`outdated`). Books that do not agree, and"
        " reports that do not tie, are mended: nobody can sign them off (`never_signed_off`).",
        request=NewSignOff,
        responses=MonthDetailSerializer,
        examples=[
            OpenApiExample("A refund", value=SIGN_EXAMPLE, request_only=True),
            OpenApiExample("The month then", value=DETAIL_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request, month: str) -> Response:
        """Sign it off."""
        fields: dict[str, Any] = read(NewSignOff(data=request.data))
        one, at = read_month(text=month), now()
        checklist = sign_off(month=one, **fields, at=at, actor=actor_of(request))
        return Response(_document(month_state(month=one, at=at), checklist))


class MonthCloseView(generics.GenericAPIView[Any]):
    """The close of a month."""

    scopes = {"POST": "months:write"}
    serializer_class = MonthDetailSerializer

    @extend_schema(
        operation_id="close_month",
        summary="Close the next month",
        description="Every check is green or signed off, or it is refused (`not_ready`). From then on nothing is booked in it: what belongs to it and"
        " comes later is booked as the first open month begins.",
        request=NewClose,
        responses=MonthDetailSerializer,
        examples=[
            OpenApiExample("Complete", value=CLOSE_EXAMPLE, request_only=True),
            OpenApiExample("Closed", value={**DETAIL_EXAMPLE, **MONTH_EXAMPLE, "checklist": None}, response_only=True),
        ],
    )
    def post(self, request: Request, month: str) -> Response:
        """Close it."""
        fields: dict[str, Any] = read(NewClose(data=request.data))
        one, at = read_month(text=month), now()
        close_month(month=one, **fields, at=at, actor=actor_of(request))
        return Response(_document(month_state(month=one, at=at), None))


class MonthReopeningView(generics.GenericAPIView[Any]):
    """The request that a month is opened again."""

    scopes = {"POST": "months:write"}
    serializer_class = ApprovalSerializer

    @extend_schema(
        operation_id="ask_to_reopen_month",
        summary="Ask that the newest closed month is opened again",
        description="Somebody else approves it (`POST /approvals/{number}/decision`): then it is open.",
        request=NewReopening,
        responses=ApprovalSerializer,
        examples=[
            OpenApiExample("A wrong invoice", value=REASON_EXAMPLE, request_only=True),
            OpenApiExample("It waits", value=REOPENING_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request, month: str) -> Response:
        """Ask for it."""
        fields: dict[str, Any] = read(NewReopening(data=request.data))
        one = read_month(text=month)
        close = close_in_force(month=one)
        if close is None:
            raise Conflict(f"{one} has no close in force", field="month", code="not_closed")
        asked = ask_to_reopen(close_id=close.pk, **fields, at=now(), actor=actor_of(request))
        return Response(ApprovalSerializer(asked).data)


class MonthPackageView(generics.GenericAPIView[Any]):
    """The package of a closed month."""

    scopes = {"GET": "months:read"}
    pagination_class = None

    @extend_schema(
        operation_id="get_month_package",
        summary="Download the package of a closed month",
        description="A ZIP: certificate, checklist, reports as they were, the journal as CSV and for each bookkeeping system that can take it,"
        " and the SHA-256 of each file. The same bytes each time.",
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, month: str) -> StreamingHttpResponse:
        """Return it."""
        filters_of(request, known=())
        package = package_of(month=read_month(text=month))
        return StreamingHttpResponse(
            package.chunks,
            content_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{package.name}"'},
        )


def _document(state: MonthState, checklist: Checklist | None) -> dict[str, Any]:
    return {
        **_month(state),
        "checklist": [_check(one) for one in checklist.checks] if checklist else None,
        "checklist_digest": checklist.digest if checklist else "",
        "certificate": state.close.certificate if state.close else None,
    }


def _month(state: MonthState) -> dict[str, Any]:
    close = state.close
    return {
        "month": str(state.month),
        "state": state.word,
        "entries": state.entries,
        "closed_at": MomentField().to_representation(close.closed_at) if close else None,
        "closed_by": close.actor if close else "",
        "reason": close.reason if close else "",
        "certificate_digest": close.digest if close else "",
    }


def _check(one: CheckState) -> dict[str, Any]:
    checked = one.checked
    return {
        "check": checked.name,
        "title": checked.title,
        "why": checked.check.why,
        "state": one.state,
        "found": list(checked.found[:FOUND_MAX]),
        "found_count": len(checked.found),
        "digest": checked.digest,
        "instead_of_signing": checked.check.instead,
        "signed_by": one.signed.actor if one.signed else "",
        "reason": one.signed.reason if one.signed else "",
    }
