"""What may be asked about customers."""

from collections.abc import Collection, Iterable

from billing_site.kernel.among import among
from billing_site.kernel.errors import NotFound
from invoicing.customers.models import Customer


def customer_by_key(*, key: str, field: str = "customer_id") -> Customer:
    """Return the customer with this key, its seller and who is billed for it; raises NotFound naming the field that held it."""
    try:
        return Customer.objects.select_related("legal_entity", "billed_to").get(key=key)
    except Customer.DoesNotExist:
        raise NotFound(f"there is no customer {key!r}", field=field) from None


def names_of_accounts(*, customers: Iterable[Customer]) -> dict[int, dict[str, str]]:
    """Return the names of the accounts that are billed to customers, by number and key: one query."""
    found: dict[int, dict[str, str]] = {}
    accounts = Customer.objects.filter(among("billed_to", [customer.pk for customer in customers])).order_by("key")
    for account in accounts.only("billed_to", "key", "name"):
        found.setdefault(account.payer_id, {})[account.key] = account.name
    return found


def with_payers(*, keys: Collection[str]) -> set[str]:
    """Return the keys of customers together with those of whom they are billed to: whose invoices their usage is on."""
    accounts = Customer.objects.filter(key__in=keys, billed_to__isnull=False)
    return {*keys, *accounts.values_list("billed_to__key", flat=True)}
