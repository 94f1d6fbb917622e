"""Unusual days as work: open until somebody says what was found."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import QuerySet

from billing_site.kernel.reasons import checked_reason
from invoicing.spend.models import AnomalyReview, UsageAnomaly


def open_anomalies() -> "QuerySet[UsageAnomaly]":
    """Return the unusual days that nobody has looked into."""
    return UsageAnomaly.objects.filter(review__isnull=True)


def review_anomalies(anomalies: Collection[int], *, at: datetime, actor: str, reason: str) -> int:
    """Say what was found about unusual days (primary keys), and return of how many; what was said of a day before stays.

    Raises InvalidInput at `reason`.
    """
    found = checked_reason(reason=reason, asked="say what was found")
    waiting = list(open_anomalies().filter(pk__in=anomalies).order_by("pk"))
    rows = [AnomalyReview(anomaly=one, reviewed_at=at, actor=actor, reason=found) for one in waiting]
    # Of two people who look at once, the first one's words stay.
    AnomalyReview.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)
