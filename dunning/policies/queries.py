"""Which policy a customer is chased by."""

from datetime import datetime

from django.db.models import Q

from dunning.policies.models import PolicyAssignment, PolicyVersion
from dunning.policies.operations import STANDARD_KEY, ensure_presets
from invoicing.customers.models import Customer
from invoicing.tax.models import CustomerTax


def policy_for(*, customer: Customer, at: datetime) -> PolicyVersion:
    """Return the version in force of the policy of a customer: its own, that of its country, that of everybody else."""
    country = CustomerTax.objects.filter(customer=customer).values_list("country", flat=True).first()
    ways = Q(customer=customer) | Q(customer=None, country__in={country or "", ""})
    found = PolicyAssignment.objects.filter(ways, ended_at=None).values_list("customer", "country", "policy")
    # Its own before its country's, that before the rest.
    named = sorted(found, key=lambda row: (row[0] is None, row[1] == ""))
    return version_in_force(key=named[0][2] if named else STANDARD_KEY, at=at)


def version_in_force(*, key: str, at: datetime) -> PolicyVersion:
    """Return the version of a policy that is in force at a moment; before its first one, that."""
    versions = PolicyVersion.objects.filter(key=key)
    if key == STANDARD_KEY and not versions.exists():
        ensure_presets()
    found = versions.filter(in_force_from__lte=at).order_by("-number").first() or versions.order_by("number").first()
    assert found is not None, "what is assigned is published"
    return found
