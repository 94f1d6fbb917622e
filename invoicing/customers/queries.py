"""What may be asked about customers."""

from billing_site.kernel.errors import NotFound
from invoicing.customers.models import Customer


def customer_by_key(*, key: str, field: str = "customer_id") -> Customer:
    """Return the customer with this key and its seller; raises NotFound naming the field that held it."""
    try:
        return Customer.objects.select_related("legal_entity").get(key=key)
    except Customer.DoesNotExist:
        raise NotFound(f"there is no customer {key!r}", field=field) from None
