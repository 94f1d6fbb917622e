"""What may be asked about thresholds of progressive invoices."""

from billing_site.kernel.errors import NotFound
from invoicing.progressive.models import ProgressiveThreshold


def threshold_by_key(*, key: str, of_customer: str = "") -> ProgressiveThreshold:
    """Return a threshold by its key, of one customer only where its key is given; raises NotFound."""
    found = ProgressiveThreshold.objects.select_related("customer").filter(key=key).first()
    if found is None or of_customer not in ("", found.customer.key):
        raise NotFound(f"there is no progressive threshold {key!r}", field="key")
    return found
