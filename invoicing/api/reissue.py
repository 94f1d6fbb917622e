"""Void and re-issue over HTTP: looked at first, then done."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import FieldError, InvalidFields
from invoicing.api.approvals import ApprovalSerializer
from invoicing.api.base import actor_of, read
from invoicing.api.fields import MoneyField, StrictSerializer, TextField
from invoicing.api.invoices import visible_invoice
from invoicing.api.subscription_changes import LineEffectSerializer
from invoicing.approvals.models import Approval
from invoicing.invoices.models import Invoice
from invoicing.workflows.ask_to_void import reissue_or_ask
from invoicing.workflows.reissue_invoice import Reissue, preview_reissue

EXAMPLE = {
    "preview": True,
    "invoice": "INV-2026-00042",
    "before": {"amount": "44.00", "currency": "EUR"},
    "after": {"amount": "39.00", "currency": "EUR"},
    "difference": {"amount": "-5.00", "currency": "EUR"},
    "lines": [
        {
            "description": "Actions",
            "before": {"amount": "15.00", "currency": "EUR"},
            "after": {"amount": "10.00", "currency": "EUR"},
            "difference": {"amount": "-5.00", "currency": "EUR"},
        }
    ],
    "digest": "9f2c…",
}


class ReissueRequest(StrictSerializer):
    """That an invoice is to be made again."""

    preview = serializers.BooleanField(required=False, help_text="Only say what it would do. Default: false.")
    digest = TextField(required=False, max_length=64, help_text="Of a preview: do it only if it does what was shown.")
    reason = TextField(required=False, max_length=300, help_text="Why; needed unless it is a preview.")


class ReissueSerializer(serializers.Serializer[Any]):
    """The invoice that is void by it, and the draft in its place, line by line."""

    preview = serializers.BooleanField()
    invoice = serializers.CharField(source="done.invoice.number")
    before = MoneyField(source="done.invoice.total")
    after = MoneyField(
        source="done.total_after", help_text="Of the draft; nothing where the period is not due any more."
    )
    difference = MoneyField(source="done.difference")
    lines = LineEffectSerializer(source="done.lines", many=True)
    digest = serializers.CharField(source="done.digest")


class InvoiceReissueView(generics.GenericAPIView[Invoice]):
    """Making an unpaid invoice again."""

    scopes = {"POST": "invoices:write"}
    serializer_class = ReissueRequest

    @extend_schema(
        operation_id="reissue_invoice",
        summary="Void and re-issue an unpaid invoice, or see what that would do",
        description="The invoice of a billing period is declared void, and its period is drafted again from what is known now; the draft is issued as any other."
        " Refused (`built_on`) where a later issued invoice builds on it: a credit note corrects it then. From the limit of its currency on (202) somebody else has to approve.",
        request=ReissueRequest,
        responses={200: ReissueSerializer, 202: ApprovalSerializer},
        examples=[
            OpenApiExample("Preview", value={"preview": True}, request_only=True),
            OpenApiExample("Preview", value=EXAMPLE, response_only=True, status_codes=["200"]),
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """Do it, or show it."""
        fields = read(ReissueRequest(data=request.data))
        found = visible_invoice(request, number=number)
        is_preview = fields.get("preview", False)
        if is_preview:
            done: Reissue | Approval = preview_reissue(invoice_id=found.pk, at=now())
        elif not fields.get("reason", "").strip():
            raise InvalidFields((FieldError("reason", "required", "is missing: say why, or ask for a preview"),))
        else:
            done = reissue_or_ask(
                invoice_id=found.pk,
                at=now(),
                actor=actor_of(request),
                reason=fields["reason"],
                digest=fields.get("digest", ""),
            )
        if isinstance(done, Approval):
            return Response(ApprovalSerializer(done).data, status=202)
        return Response(ReissueSerializer({"preview": is_preview, "done": done}).data)
