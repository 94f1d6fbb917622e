"""Dunning policies as versions that stay, and who is chased by which."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.ending import ends_once
from billing_site.kernel.model import append_only
from dunning.core.policy import PolicyTerms, read_terms
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer


class PolicyVersion(models.Model):
    """One version of a policy, in force from a moment on until the next one is; a case keeps the version that it was opened with."""

    key = models.CharField(max_length=50, help_text="Of the policy: standard.")
    number = models.PositiveIntegerField(help_text="1 is the first version.")
    name = models.CharField(max_length=200)
    terms = models.JSONField(help_text="Its steps by day, its hours and days, its minimum amounts.")
    in_force_from = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["PolicyVersion"]()

    class Meta:
        verbose_name = "dunning policy"
        verbose_name_plural = "dunning policies"
        constraints = [
            models.UniqueConstraint(fields=["key", "number"], name="dunning_policy_versions_are_numbered"),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason="") & ~Q(key=""), name="dunning_policy_has_actor_and_reason"
            ),
        ]
        triggers = append_only(noun="dunning policies")

    @property
    def read(self) -> PolicyTerms:
        """Its terms, read."""
        return read_terms(self.terms)

    def __str__(self) -> str:
        return f"{self.name} (version {self.number})"


class PolicyAssignment(models.Model):
    """Which policy a customer is chased by, or those of a country, or, with neither, everybody else."""

    policy = models.CharField(max_length=50, help_text="The key of the policy.")
    customer = models.ForeignKey(
        Customer, null=True, blank=True, on_delete=models.PROTECT, related_name="dunning_assignments"
    )
    country = models.CharField(max_length=2, blank=True, default="", help_text="Of those without one of their own: FR.")
    set_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=200, blank=True, default="")
    ended_because = models.CharField(max_length=300, blank=True, default="")

    objects = models.Manager["PolicyAssignment"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"],
                condition=Q(ended_at__isnull=True, customer__isnull=False),
                name="dunning_policy_is_one_per_customer",
            ),
            models.UniqueConstraint(
                fields=["country"],
                condition=Q(ended_at__isnull=True, customer__isnull=True),
                name="dunning_policy_is_one_per_country_and_for_the_rest",
            ),
            models.CheckConstraint(
                condition=Q(country="") | Q(country__regex=r"^[A-Z]{2}$", customer__isnull=True),
                name="dunning_policy_is_for_a_customer_or_a_country",
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="dunning_assignment_has_actor_and_reason"
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by="", ended_because="")
                | Q(ended_at__gte=F("set_at")) & ~Q(ended_by="") & ~Q(ended_because=""),
                name="dunning_assignment_ends_by_somebody_with_a_reason",
            ),
        ]
        triggers = [*ends_once(noun="assignment of a policy"), is_of_who_pays(noun="an assignment of a policy")]

    def __str__(self) -> str:
        return f"{self.customer or self.country or 'everybody else'}: {self.policy}"
