"""Bank statements over HTTP: imported as a file, each line once; and the lines with what they are."""

from base64 import b64decode
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import round_money, wire
from invoicing.api.base import actor_of, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, StrictSerializer, TextField
from invoicing.bank.models import BankAllocation, BankFile, BankLine, BankStatement
from invoicing.bank.queries import with_left
from invoicing.core.bank.csv_statement import LAYOUTS
from invoicing.workflows.import_bank_statement import FILE_BYTES_MAX, Upload, import_bank_statement

EXAMPLE = {
    "id": 12,
    "account": "DE02100100109307118603",
    "currency": "EUR",
    "number": "7",
    "from_date": "2026-07-01",
    "to_date": "2026-07-31",
    "opening": {"amount": "1000.00", "currency": "EUR"},
    "closing": {"amount": "1119.00", "currency": "EUR"},
    "line_count": 2,
    "known_count": 0,
    "remarks": ["Stmt 1, Ntry 3 (line 41) is not booked (PDNG): left out until it is"],
    "file": "july.xml",
    "imported_at": "2026-08-01T06:00:00Z",
}
LINE_EXAMPLE = {
    "reference": "BL-12-1",
    "statement": 12,
    "account": "DE02100100109307118603",
    "booked_on": "2026-07-10",
    "value_on": "2026-07-10",
    "amount": {"amount": "150.00", "currency": "EUR"},
    "left": {"amount": "0.00", "currency": "EUR"},
    "state": "settled",
    "name": "Acme GmbH",
    "iban": "DE75512108001245126199",
    "text": "Invoice INV-2026-00042",
    "bank_reference": "2026071000042",
    "end_to_end_id": "",
    "structured_reference": "",
    "is_reversal": False,
    "allocations": [
        {
            "reference": "BL-12-1/1",
            "kind": "payment",
            "amount": {"amount": "119.00", "currency": "EUR"},
            "invoice": "INV-2026-00042",
            "customer_id": "cust_acme",
            "actor": "bank matching",
            "reason": "it names INV-2026-00042, exactly what is open",
            "allocated_at": "2026-08-01T06:00:01Z",
            "is_taken_back": False,
        },
        {
            "reference": "BL-12-1/2",
            "kind": "on_account",
            "amount": {"amount": "31.00", "currency": "EUR"},
            "invoice": None,
            "customer_id": "cust_acme",
            "actor": "ann",
            "reason": "paid too much, keeps it for the next",
            "allocated_at": "2026-08-01T09:00:00Z",
            "is_taken_back": False,
        },
    ],
}


class BankStatementSerializer(serializers.ModelSerializer[BankStatement]):
    """A statement as it was imported."""

    account = serializers.CharField(source="account.identifier")
    opening = serializers.SerializerMethodField()
    closing = serializers.SerializerMethodField()
    remarks = serializers.ListField(child=serializers.CharField())
    file = serializers.CharField(source="file.name")
    imported_at = MomentField(source="file.imported_at")

    class Meta:
        model = BankStatement
        fields = tuple(EXAMPLE)

    def get_opening(self, statement: BankStatement) -> dict[str, str] | None:
        """Return the balance before it, null where the file states none."""
        return None if statement.opening is None else wire(round_money(statement.opening, statement.currency))

    def get_closing(self, statement: BankStatement) -> dict[str, str] | None:
        """Return the balance after it, null where the file states none."""
        return None if statement.closing is None else wire(round_money(statement.closing, statement.currency))


class ImportedSerializer(serializers.Serializer[Any]):
    """What an import found: whether the file is new, and its statements."""

    is_new = serializers.BooleanField()
    statements = BankStatementSerializer(many=True)


class BankAllocationSerializer(serializers.ModelSerializer[BankAllocation]):
    """What a part of a line is."""

    amount = MoneyField()
    invoice = serializers.CharField(source="payment.invoice.number", default=None)
    customer_id = serializers.SerializerMethodField()
    allocated_at = MomentField()
    is_taken_back = serializers.SerializerMethodField()

    class Meta:
        model = BankAllocation
        fields = tuple(LINE_EXAMPLE["allocations"][0])  # type: ignore[index]

    def get_customer_id(self, allocation: BankAllocation) -> str | None:
        """Return the key of the customer whose money it is, null where it is nobody's."""
        if allocation.payment is not None:
            return allocation.payment.customer.key
        return allocation.customer.key if allocation.customer else None

    def get_is_taken_back(self, allocation: BankAllocation) -> bool:
        """Say whether it was wrong, and taken back."""
        return hasattr(allocation, "reversal")


class BankLineSerializer(serializers.ModelSerializer[BankLine]):
    """A line of a statement, and what it is."""

    account = serializers.CharField(source="account.identifier")
    statement = serializers.IntegerField(source="statement_id")
    amount = MoneyField()
    left = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField()
    allocations = BankAllocationSerializer(many=True)

    class Meta:
        model = BankLine
        fields = tuple(LINE_EXAMPLE)

    def get_left(self, line: Any) -> dict[str, str]:
        """Return what is not identified, signed as the line."""
        return wire(round_money(line.left_amount, line.currency))

    def get_state(self, line: Any) -> str:
        """Say whether somebody has to look at it: open, or settled."""
        return "open" if line.left_amount else "settled"


class BankStatementRequest(StrictSerializer):
    """A file of the bank's."""

    name = TextField(max_length=200)
    format = serializers.ChoiceField(choices=BankFile.Format.choices)
    content = serializers.CharField(help_text="The file in base64.")
    layout = serializers.ChoiceField(choices=sorted(LAYOUTS), default="standard", help_text="How a CSV is written.")
    columns = serializers.DictField(
        child=serializers.CharField(allow_blank=True),
        default=dict,
        help_text="Other columns for fields of a CSV ({'text': 'Memo'}), constants ({'account': '=DE02…'}), or ways of writing ({'decimal': ','}).",
    )
    legal_entity = TextField(
        max_length=30,
        default="",
        help_text="The key of whose account it is, where the account is new here. Default: the one that prints it on documents, else the first.",
    )


@extend_schema_view(
    get=extend_schema(
        operation_id="list_bank_statements",
        summary="List imported bank statements, newest first",
        parameters=[OpenApiParameter("account", str, description="Only those of this account.")],
    )
)
class BankStatementsView(generics.ListAPIView[BankStatement]):
    """All statements."""

    scopes = {"GET": "bank_statements:read", "POST": "bank_statements:write"}
    serializer_class = BankStatementSerializer

    def get_queryset(self) -> QuerySet[BankStatement]:
        """Return the statements that the caller asks for."""
        filters = filters_of(self.request, known=("account",))
        found = BankStatement.objects.select_related("account", "file")
        return found.filter(account__identifier=filters["account"]) if "account" in filters else found

    @extend_schema(
        operation_id="import_bank_statement",
        summary="Import a bank statement: CAMT.053, or CSV by a layout",
        description="Each booked line is taken in once, in whichever file it comes: the same file again, or one that overlaps, adds only what is new"
        " (`known_count` says how many lines were here). What names one open invoice and is exactly what is open of it settles it in a moment; everything"
        " else waits at the desk. A file that is wrong is refused whole, with the place and what to do.",
        request=BankStatementRequest,
        responses={201: ImportedSerializer, 200: ImportedSerializer},
        examples=[
            OpenApiExample(
                "A file",
                value={"name": "july.xml", "format": "camt053", "content": "PD94bWwgdmVyc2lv…"},
                request_only=True,
            ),
            OpenApiExample("Its statements", value={"is_new": True, "statements": [EXAMPLE]}, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Import a file; 201 where it is new, 200 where it was imported already."""
        fields: dict[str, Any] = read(BankStatementRequest(data=request.data))
        upload = Upload(
            fields["name"],
            fields["format"],
            _decoded(fields["content"]),
            fields["layout"],
            fields["columns"],
            fields["legal_entity"],
        )
        imported = import_bank_statement(upload=upload, at=now(), actor=actor_of(request))
        answer = ImportedSerializer({"is_new": imported.is_new, "statements": imported.statements}).data
        return Response(answer, status=201 if imported.is_new else 200)


def _decoded(content: str) -> bytes:
    if len(content) > FILE_BYTES_MAX * 2:
        raise InvalidInput(f"must be a file of at most {FILE_BYTES_MAX:,} bytes", field="content")
    try:
        return b64decode(content, validate=True)
    except ValueError:
        raise InvalidInput("must be the file in base64", field="content") from None


@extend_schema_view(
    get=extend_schema(
        operation_id="list_bank_lines",
        summary="List lines of bank statements with what they are, newest first",
        parameters=[
            OpenApiParameter(
                "state", str, enum=["open", "settled"], description="Only those to look at, or only the others."
            ),
            OpenApiParameter("account", str, description="Only those of this account."),
            OpenApiParameter("statement", int, description="Only those that the statement with this id brought."),
        ],
    )
)
class BankLinesView(generics.ListAPIView[BankLine]):
    """All lines."""

    scopes = {"GET": "bank_statements:read"}
    serializer_class = BankLineSerializer

    def get_queryset(self) -> QuerySet[BankLine]:
        """Return the lines that the caller asks for."""
        filters = filters_of(self.request, known=("state", "account", "statement"))
        found = with_left(BankLine.objects.select_related("account")).prefetch_related(
            "allocations__payment__invoice",
            "allocations__payment__customer",
            "allocations__customer",
            "allocations__reversal",
        )
        if filters.get("state", "open") not in ("open", "settled"):
            raise InvalidInput("must be open or settled", field="state")
        if not filters.get("statement", "1").isascii() or not filters.get("statement", "1").isdigit():
            raise InvalidInput("must be the number of a statement", field="statement")
        if "state" in filters:
            found = found.exclude(left_amount=0) if filters["state"] == "open" else found.filter(left_amount=0)
        if "account" in filters:
            found = found.filter(account__identifier=filters["account"])
        return found.filter(statement=int(filters["statement"][:18])) if "statement" in filters else found
