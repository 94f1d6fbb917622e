"""Service that is restricted and still given: written by dunning, read by the access endpoint in its one query."""

import pgtrigger
from django.db import models
from django.db.models import F, Q

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import never_deleted, never_truncated, stays
from invoicing.customers.models import Customer


class ServiceRestriction(models.Model):
    """A customer is served in a restricted way from a moment on until it is lifted; what that takes from it the product decides (S1-023, S2-022)."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="restrictions")
    restricted_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    lifted_at = models.DateTimeField(null=True, blank=True)

    objects = models.Manager["ServiceRestriction"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"], condition=Q(lifted_at__isnull=True), name="service_restriction_is_one_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(lifted_at__isnull=True) | Q(lifted_at__gte=F("restricted_at")),
                name="service_restriction_ends_after_it_began",
            ),
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="service_restriction_has_actor_and_reason"
            ),
        ]
        triggers = [
            stays(noun="service restriction", columns=["customer_id", "restricted_at", "actor", "reason"]),
            never_deleted(noun="service restrictions"),
            Guard(
                name="is_lifted_once",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                    IF OLD.lifted_at IS NOT NULL AND NEW.lifted_at IS DISTINCT FROM OLD.lifted_at THEN
                        RAISE EXCEPTION 'service restriction % is lifted: it stays so', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            never_truncated(noun="service restrictions"),
        ]

    def __str__(self) -> str:
        return f"{self.customer} since {self.restricted_at:%Y-%m-%d}"
