"""What may happen to findings of re-rating: somebody looks into them, once."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import QuerySet

from billing_site.kernel.reasons import checked_reason
from invoicing.rerating.models import ReratingFinding, ReratingReview


def open_findings() -> "QuerySet[ReratingFinding]":
    """Return the findings that nobody has looked into."""
    return ReratingFinding.objects.filter(review__isnull=True)


def review_findings(findings: Collection[int], *, at: datetime, actor: str, reason: str) -> int:
    """Say what was found about lines that rate otherwise (primary keys of findings), and return of how many; what was said before stays.

    Raises InvalidInput at `reason`.
    """
    found = checked_reason(reason=reason, asked="say what was found")
    waiting = list(open_findings().filter(pk__in=findings).order_by("pk"))
    rows = [ReratingReview(finding=one, reviewed_at=at, actor=actor, reason=found) for one in waiting]
    # Of two people who look at once, the first one's words stay.
    ReratingReview.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)
