"""Numbers of invoices and credit notes: gapless per series, because the number is taken under the lock of the series' row."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import connection

from invoicing.invoices.models import InvoiceSeries


def year_of(*, issued_at: datetime, timezone: str) -> int:
    """Return the year, there, in which a document is issued: each has its own series."""
    return issued_at.astimezone(ZoneInfo(timezone)).year


def locked_series(*, legal_entity: str, name: str, year: int) -> InvoiceSeries:
    """Return the series of an entity's kind of document (by its prefix) and a year, its row locked until the transaction ends; made on first use."""
    assert connection.in_atomic_block, "a number is taken in the transaction that issues"
    prefix = f"{name}-{year}"
    made = InvoiceSeries(legal_entity_id=legal_entity, prefix=prefix)
    InvoiceSeries.objects.bulk_create([made], ignore_conflicts=True)
    return InvoiceSeries.objects.select_for_update().get(legal_entity__key=legal_entity, prefix=prefix)


def number_of(*, series: InvoiceSeries, ordinal: int) -> str:
    """Write a number: INV-2026-00042."""
    return f"{series.prefix}-{ordinal:05d}"
