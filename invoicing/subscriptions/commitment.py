"""Commitments of subscriptions: spend that was promised, in tranches that follow each other."""

import pgtrigger
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import Func, Q, Value

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import exact_field, fits_currency, money_field, never_truncated
from invoicing.subscriptions.models import Subscription


class CommitmentPayment(models.TextChoices):
    """When committed spend is paid."""

    IN_ADVANCE = "in_advance", "In advance: charges are drawn from it"
    IN_ARREARS = "in_arrears", "In arrears: what is missing is trued up at the end"


def _stays(noun: str) -> list[Guard]:
    return [
        Guard(
            name="stays_what_it_is",
            when=pgtrigger.Before,
            operation=pgtrigger.Update,
            func=f"RAISE EXCEPTION '{noun} % cannot be changed: withdraw it before it is invoiced, and commit anew',"
            " OLD.id USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;",
        ),
        never_truncated(noun=f"{noun}s"),
    ]


class Commitment(models.Model):
    """What a customer promises to spend under a subscription; how much and when is in its tranches.

    It never changes; as long as no invoice has a line of it, it can be withdrawn.
    """

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="commitments")
    payment = models.CharField(max_length=20, choices=CommitmentPayment)
    overage_rate = exact_field(default=1, help_text="Of the list price, beyond the commitment: 0.8 is 80 %.")
    rolls_over = models.BooleanField(default=False, help_text="What is left of a tranche goes on into the next one.")
    currency = models.CharField(max_length=3)
    rollover_max = money_field(null=True, blank=True, help_text="At most so much rolls over; empty: all of it.")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    created_at = models.DateTimeField()

    objects = models.Manager["Commitment"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(payment__in=CommitmentPayment.values), name="commitment_payment_is_known"
            ),
            models.CheckConstraint(
                condition=Q(overage_rate__gte=0, overage_rate__lte=10), name="commitment_overage_rate_is_sound"
            ),
            models.CheckConstraint(
                condition=Q(rolls_over=False) | Q(payment="in_advance"), name="commitment_paid_in_advance_rolls_over"
            ),
            models.CheckConstraint(
                condition=Q(rollover_max__isnull=True) | Q(rolls_over=True, rollover_max__gt=0),
                name="commitment_rollover_has_a_maximum_above_zero",
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="commitment_has_actor_and_reason"),
            fits_currency("rollover_max", name="commitment_fits_its_currency"),
        ]
        triggers = _stays("commitment")

    def __str__(self) -> str:
        return f"commitment {self.pk} of {self.subscription}"


class CommitmentTranche(models.Model):
    """The amount promised for the billing periods within `[starts_at, ends_at)`; both are bounds of billing periods."""

    commitment = models.ForeignKey(Commitment, on_delete=models.CASCADE, related_name="tranches")
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="tranches")
    position = models.PositiveSmallIntegerField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    currency = models.CharField(max_length=3)
    amount = money_field()

    objects = models.Manager["CommitmentTranche"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["commitment", "position"], name="commitment_tranche_position_is_unique"),
            models.CheckConstraint(condition=Q(ends_at__gt=models.F("starts_at")), name="commitment_tranche_lasts"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="commitment_tranche_is_above_zero"),
            fits_currency("amount", name="commitment_tranche_fits_its_currency"),
            # A range of one number stands for the number: there is no btree_gist.
            ExclusionConstraint(
                name="commitments_of_a_subscription_do_not_overlap",
                expressions=[
                    (Func("subscription_id", "subscription_id", Value("[]"), function="int8range"), "&&"),
                    (
                        Func("starts_at", "ends_at", function="tstzrange", output_field=DateTimeRangeField()),
                        "&&",
                    ),
                ],
            ),
        ]
        triggers = [
            *_stays("commitment tranche"),
            Guard(
                name="belongs_to_its_commitment",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NOT EXISTS (SELECT 1 FROM invoicing_commitment commitment WHERE commitment.id = NEW.commitment_id
                        AND (commitment.subscription_id, commitment.currency) = (NEW.subscription_id, NEW.currency)
                    ) OR EXISTS (SELECT 1 FROM invoicing_commitmenttranche other
                        WHERE other.commitment_id = NEW.commitment_id AND other.position < NEW.position
                          AND (other.position = NEW.position - 1 AND other.ends_at <> NEW.starts_at)
                    ) THEN
                        RAISE EXCEPTION 'a tranche has the subscription and currency of its commitment, and follows the one before'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"tranche {self.position} of commitment {self.commitment_id}"
