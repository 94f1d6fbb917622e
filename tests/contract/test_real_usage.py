"""A real usage trace is imported and billed, and the bill is what twenty lines of other code make of the file."""

import csv
import gzip
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from django.core.management import call_command

from invoicing.catalog.operations import load_catalog
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from tests.factories import a_customer, a_subscription

pytestmark = [pytest.mark.django_db, pytest.mark.contract]

NOVEMBER, DECEMBER = datetime(2023, 11, 1, tzinfo=UTC), datetime(2023, 12, 1, tzinfo=UTC)
CATALOG = {
    "meters": [
        {"key": "input", "name": "Input tokens", "event_type": "llm.input_tokens", "unit": "token"},
        {"key": "output", "name": "Output tokens", "event_type": "llm.output_tokens", "unit": "token"},
    ],
    "products": [{"key": "llm", "name": "LLM"}],
    "plans": [
        {
            "key": "code",
            "name": "Code",
            "product": "llm",
            "prices": [
                {
                    "key": "input",
                    "name": "Input tokens",
                    "meter": "input",
                    "currency": "USD",
                    "model": "graduated",
                    "tiers": [
                        {"up_to": "10000000", "unit_amount": "0.0000031"},
                        {"up_to": None, "unit_amount": "0.0000025"},
                    ],
                },
                {
                    "key": "output",
                    "name": "Output tokens",
                    "meter": "output",
                    "currency": "USD",
                    "model": "per_unit",
                    "unit_amount": "0.0000123",
                    "free_units": "1000",
                },
            ],
        }
    ],
}


def import_as(event_type: str, column: str, trace: Path) -> None:
    mapping = ["timestamp=TIMESTAMP", f"quantity={column}", "customer_id==cust_code", f"event_type=={event_type}"]
    call_command("import_events", str(trace), map=mapping)


def independent_bill(trace: Path) -> Decimal:
    """Price the file without any of the product's code."""
    read = written = 0
    with gzip.open(trace, "rt") as file:
        for row in csv.DictReader(file):
            read += int(row["ContextTokens"])
            written += int(row["GeneratedTokens"])
    first, rest = min(read, 10_000_000), max(read - 10_000_000, 0)
    cents = [
        (first * Decimal("0.0000031") + rest * Decimal("0.0000025")).quantize(Decimal("0.01"), ROUND_HALF_UP),
        (max(written - 1000, 0) * Decimal("0.0000123")).quantize(Decimal("0.01"), ROUND_HALF_UP),
    ]
    return sum(cents, Decimal(0))


def test_a_real_trace_is_imported_once_and_billed_to_the_cent(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = shared / "data" / "azure_llm_inference_2023_code.csv.gz"
    load_catalog(document=CATALOG, at=NOVEMBER, actor="test", reason="trace")
    a_subscription(a_customer("cust_code"), plan="code", started_at=NOVEMBER)

    for event_type, column in (("llm.input_tokens", "ContextTokens"), ("llm.output_tokens", "GeneratedTokens")):
        import_as(event_type, column, trace)
        import_as(event_type, column, trace)

    said = capsys.readouterr().out.splitlines()
    assert said == ["accepted 8819, duplicates 0, rejected 0", "accepted 0, duplicates 8819, rejected 0"] * 2
    [invoice] = issue_billing(as_of=DECEMBER, at=DECEMBER).invoices
    assert invoice.total.amount == independent_bill(trace) == Decimal("54.16")
    assert verify() == []
