"""Unusual days as work: open until somebody says what was found."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import QuerySet

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.text import is_storable
from invoicing.spend.models import AnomalyReview, UsageAnomaly

REASON_MAX = 300


def open_anomalies() -> "QuerySet[UsageAnomaly]":
    """Return the unusual days that nobody has looked into."""
    return UsageAnomaly.objects.filter(review__isnull=True)


def review_anomalies(*, anomalies: Collection[int], at: datetime, actor: str, reason: str) -> int:
    """Say what was found about unusual days (primary keys), and return of how many; what was said of a day before stays.

    Raises InvalidInput at `reason`.
    """
    found = reason.strip()
    if not found or len(found) > REASON_MAX or not is_storable(found):
        raise InvalidInput(f"say what was found, in at most {REASON_MAX} characters", field="reason")
    waiting = list(open_anomalies().filter(pk__in=anomalies).order_by("pk"))
    rows = [AnomalyReview(anomaly=one, reviewed_at=at, actor=actor, reason=found) for one in waiting]
    # Of two people who look at once, the first one's words stay.
    AnomalyReview.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)
