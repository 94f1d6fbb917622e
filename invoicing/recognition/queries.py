"""What was recognised of fees in advance, as reports ask for it."""

from datetime import UTC, datetime, timedelta

from django.db.models import F, Sum
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.recognition.models import RecognisedRevenue


def recognised_before(*, moment: datetime, entity: str) -> dict[int | None, Money]:
    """Return what is recognised of each subscription (by number) in the books as they are just before a moment: something where a month ends then.

    As the next month begins it is taken back, to be counted on. Of one legal entity, or, where it is "", of all.
    """
    last = (moment - timedelta(microseconds=1)).astimezone(UTC)
    rows = RecognisedRevenue.objects.filter(month=last.date().replace(day=1), entry__booked_at__lt=moment)
    if entity:
        rows = rows.filter(legal_entity__key=entity)
    if moment.astimezone(UTC) != (last.replace(day=1) + timedelta(days=31)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    ):
        return {}
    # What was written down after its month was closed counts in a later one, and is taken back there in the same moment.
    rows = rows.filter(entry__booked_at=F("entry__occurred_at"))
    sums = rows.order_by().values("subscription", "currency").annotate(sum=Sum("amount"))
    return {row["subscription"]: round_money(row["sum"], row["currency"]) for row in sums}
