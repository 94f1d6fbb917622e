"""Which policy customers are chased by."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import Q

from dunning.policies.models import PolicyAssignment, PolicyVersion
from dunning.policies.operations import STANDARD_KEY, ensure_presets
from invoicing.customers.models import Customer
from invoicing.tax.models import CustomerTax

# Whoever fills in the next holidays has so long to do it.
HOLIDAYS_RUN_OUT = timedelta(days=60)


def policy_for(*, customer: Customer, at: datetime) -> PolicyVersion:
    """Return the version in force of the policy of a customer: its own, that of its country, that of everybody else."""
    return policies_for(customers=[customer.pk], at=at)[customer.pk]


def policies_for(*, customers: Sequence[int], at: datetime) -> dict[int, PolicyVersion]:
    """Return the versions in force of the policies of customers, by their number; the number of queries does not grow with them."""
    if not customers:
        return {}
    assigned = PolicyAssignment.objects.filter(Q(customer=None) | Q(customer__in=customers), ended_at=None)
    found: dict[tuple[int | None, str], str] = {
        (customer, country): policy
        for customer, country, policy in assigned.values_list("customer", "country", "policy")
    }
    countries = dict(CustomerTax.objects.filter(customer__in=customers).values_list("customer", "country"))
    versions: dict[str, list[PolicyVersion]] = {}
    for version in _versions():
        versions.setdefault(version.key, []).append(version)
    rest = found.get((None, ""), STANDARD_KEY)
    keys = {
        number: found.get((number, "")) or found.get((None, countries.get(number, "")), rest) for number in customers
    }
    return {number: _in_force(versions[key], at=at) for number, key in keys.items()}


def policies_running_out_of_holidays(*, at: datetime) -> list[PolicyVersion]:
    """Return the newest versions of the policies that keep holidays, of which none is left 60 days from now, by their keys."""
    newest = {version.key: version for version in PolicyVersion.objects.order_by("key", "number")}.values()
    return [
        version
        for version in newest
        if (terms := version.read).business_days
        and terms.holidays
        and max(terms.holidays) < (at + HOLIDAYS_RUN_OUT).date()
    ]


def _versions() -> Iterable[PolicyVersion]:
    versions = list(PolicyVersion.objects.order_by("key", "number"))
    if not any(version.key == STANDARD_KEY for version in versions):
        ensure_presets()
        versions = list(PolicyVersion.objects.order_by("key", "number"))
    return versions


def _in_force(versions: Sequence[PolicyVersion], *, at: datetime) -> PolicyVersion:
    """Return the newest of the versions of a policy that are in force at a moment; before its first one, that."""
    begun = [version for version in versions if version.in_force_from <= at]
    return begun[-1] if begun else versions[0]
