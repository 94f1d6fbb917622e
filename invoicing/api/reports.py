"""Reports over HTTP: which there are, and each with its figures, sums and ties."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.money import wire
from invoicing.api.base import filters_of
from invoicing.api.fields import MomentField, MoneyField
from invoicing.reports.asking import read_question
from invoicing.reports.catalogue import REPORTS, report_kind
from invoicing.reports.report import Cell, Column, ColumnKind, Report, Section, Tie

QUESTIONS = ("as_of", "start", "end", "currency", "customer_id", "account", "legal_entity")
MONEY = {"amount": "53.00", "currency": "USD"}
EXAMPLE = {
    "report": "trial-balance",
    "title": "Trial balance",
    "asked": "as of the end of 2026-09-30",
    "definition": "The sum of all postings to each account of everything that happened by the end of the day (UTC).",
    "columns": [
        {"key": "account", "title": "Account", "kind": "text"},
        {"key": "name", "title": "Name", "kind": "text"},
        {"key": "debit", "title": "Debit", "kind": "money"},
        {"key": "credit", "title": "Credit", "kind": "money"},
    ],
    "sections": [
        {
            "currency": "USD",
            "title": "",
            "rows": [
                {"account": "1200", "name": "Receivable", "debit": MONEY, "credit": None},
                {"account": "4000", "name": "Revenue", "debit": None, "credit": MONEY},
            ],
            "totals": {"debit": MONEY, "credit": MONEY},
            "ties": [{"about": "debits", "reported": MONEY, "against": "credits", "booked": MONEY, "holds": True}],
        }
    ],
    "ties": True,
}


class ReportKindSerializer(serializers.Serializer[Any]):
    """A report of the catalogue."""

    report = serializers.CharField(source="name")
    title = serializers.CharField()
    answers = serializers.CharField()
    asks = serializers.ListField(child=serializers.CharField(), help_text="The parameters that it knows.")


class CatalogueSerializer(serializers.Serializer[Any]):
    """All reports."""

    reports = ReportKindSerializer(many=True)


class ColumnSerializer(serializers.Serializer[Any]):
    """A column of a report's rows."""

    key = serializers.CharField()
    title = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in ColumnKind])


class TieSerializer(serializers.Serializer[Any]):
    """A figure of the report beside the same figure from the ledger."""

    about = serializers.CharField()
    reported = MoneyField()
    against = serializers.CharField(help_text="What it is compared with.")
    booked = MoneyField()
    holds = serializers.BooleanField(help_text="Both are the same, to the cent.")


class SectionSerializer(serializers.Serializer[Any]):
    """The figures of one currency."""

    currency = serializers.CharField()
    title = serializers.CharField()
    rows = serializers.ListField(child=serializers.DictField(), help_text="By the keys of the columns.")
    totals = serializers.DictField(child=MoneyField())
    ties = TieSerializer(many=True)


class ReportSerializer(serializers.Serializer[Any]):
    """A report."""

    report = serializers.CharField()
    title = serializers.CharField()
    asked = serializers.CharField()
    definition = serializers.CharField()
    columns = ColumnSerializer(many=True)
    sections = SectionSerializer(many=True)
    ties = serializers.BooleanField(help_text="Every tie of every section holds.")


class ReportsView(generics.GenericAPIView[Any]):
    """The catalogue of reports."""

    scopes = {"GET": "reports:read"}
    serializer_class = CatalogueSerializer
    pagination_class = None

    @extend_schema(
        operation_id="list_reports",
        summary="List the reports on the books",
        responses=CatalogueSerializer,
        examples=[
            OpenApiExample(
                "One of them",
                value={
                    "reports": [
                        {
                            "report": "trial-balance",
                            "title": "Trial balance",
                            "answers": "What stands on every account, as of a day.",
                            "asks": ["as_of", "currency", "legal_entity"],
                        }
                    ]
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: Request) -> Response:
        """Return them all."""
        filters_of(request, known=())
        return Response({"reports": ReportKindSerializer(REPORTS, many=True).data})


class ReportView(generics.GenericAPIView[Any]):
    """One report."""

    scopes = {"GET": "reports:read"}
    serializer_class = ReportSerializer
    pagination_class = None

    @extend_schema(
        operation_id="get_report",
        summary="Read a report on the books, tied to the ledger",
        description="Days are of UTC, and are over: `as_of` counts what happened by the end of that day. A report refuses parameters that it does not ask for.",
        parameters=[
            OpenApiParameter("as_of", str, description="A day such as 2026-08-31. Default: today."),
            OpenApiParameter(
                "start", str, description="The first day of the span. Default: the first of the month of its last."
            ),
            OpenApiParameter("end", str, description="The last day of the span. Default: today."),
            OpenApiParameter("currency", str, description="ISO 4217. Default: all."),
            OpenApiParameter("customer_id", str, description="The customer's key. The statement needs it."),
            OpenApiParameter("account", str, description="An account's code. Default: 1200, receivable."),
            OpenApiParameter(
                "legal_entity", str, description="The key of whose books. Default: those of all together."
            ),
        ],
        responses=ReportSerializer,
        examples=[OpenApiExample("A trial balance", value=EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, report: str) -> Response:
        """Return it."""
        kind = report_kind(name=report)
        asked = filters_of(request, known=tuple(name for name in QUESTIONS if name in kind.asks))
        question = read_question(asked=asked, today=now().date())
        return Response(report_document(report=kind.answer(question=question)))


def report_document(*, report: Report) -> dict[str, Any]:
    """Return a report as on the wire."""
    return {
        "report": report.name,
        "title": report.title,
        "asked": report.asked,
        "definition": report.definition,
        "columns": [{"key": one.key, "title": one.title, "kind": one.kind.value} for one in report.columns],
        "sections": [_section(section, report) for section in report.sections],
        "ties": report.is_tied,
    }


def _section(section: Section, report: Report) -> dict[str, Any]:
    return {
        "currency": section.currency,
        "title": section.title,
        "rows": [
            {column.key: _cell(row.cells.get(column.key), column) for column in report.columns} for row in section.rows
        ],
        "totals": {key: wire(amount) for key, amount in section.totals.items()},
        "ties": [_tie(tie) for tie in section.ties],
    }


def _tie(tie: Tie) -> dict[str, Any]:
    return {
        "about": tie.about,
        "reported": wire(tie.reported),
        "against": tie.source,
        "booked": wire(tie.booked),
        "holds": tie.holds,
    }


def _cell(value: Cell, column: Column) -> Any:
    match column.kind:
        case ColumnKind.MONEY:
            return None if value is None else wire(value)  # type: ignore[arg-type]
        case ColumnKind.MOMENT:
            return None if value is None else MomentField().to_representation(value)  # type: ignore[arg-type]
        case ColumnKind.DAY:
            return None if value is None else str(value)
        case _:
            return value
