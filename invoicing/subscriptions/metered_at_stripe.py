"""The second way to settle usage: Stripe's meters hear of it, and Stripe charges for it, instead of us; per subscription and meter."""

from collections.abc import Iterable, Sequence

import pgtrigger
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import F, Func, Q, QuerySet, Value
from django.db.models.functions import Now

from billing_site.kernel.errors import Conflict
from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import never_deleted, never_truncated, stays
from invoicing.customers.models import Customer
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from metering.models import Meter

# What can be reported piece by piece: elsewhere the whole is not the sum of its parts.
ADDITIVE = ("sum", "count")


class ReportingMode(models.TextChoices):
    """What one report is of."""

    WINDOWS = "windows", "Hourly windows"
    EVENTS = "events", "Single events"


def _same(column: str) -> Func:
    return Func(column, column, Value("[]"), function="int8range")


# A range of one number stands for the number, and a hash of 64 bits for a name: there is no btree_gist.
_NAME = Func("event_name", Value(0), function="hashtextextended", output_field=models.BigIntegerField())
_LASTS = Func("starts_at", "ends_at", function="tstzrange", output_field=DateTimeRangeField())
# A phase whose plan prices the meter, at a time in which Stripe settles it.
_PRICED_HERE = """
    SELECT FROM invoicing_subscriptionphase phase
      JOIN invoicing_subscription subscription ON subscription.id = phase.subscription_id
      JOIN invoicing_price price ON price.plan_version_id = phase.plan_version_id
      JOIN invoicing_meterreporting reporting
           ON reporting.customer_id = subscription.customer_id AND reporting.meter_id = price.meter_id
     WHERE tstzrange(phase.starts_at, phase.ends_at) && tstzrange(reporting.starts_at, reporting.ends_at)
"""


class MeterReporting(models.Model):
    """That Stripe settles what a meter counts for a customer, under one subscription, during `[starts_at, ends_at)`.

    Its terms stay; it is retired, never edited. No plan of the customer may price the meter at the same time: nothing is charged twice.
    """

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="reportings")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=10, choices=ReportingMode, help_text="What one report is of.")
    event_name = models.CharField(max_length=100, help_text="Of the meter at Stripe.")
    stripe_meter_id = models.CharField(max_length=100, help_text="Stripe's id of that meter.")
    starts_at = models.DateTimeField(help_text="Usage from this hour on is reported (UTC).")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until further notice.")
    # How far usage was looked at: no terms, and no history.
    looked_until = models.DateTimeField(editable=False, help_text="Hours before it were looked at.")
    looked_through = models.BigIntegerField(
        default=0, editable=False, help_text="Events up to this number were looked at."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked(excluded_fields=["looked_until", "looked_through"])

    objects = models.Manager["MeterReporting"]()

    class Meta:
        verbose_name = "meter reporting"
        constraints = [
            models.CheckConstraint(condition=Q(mode__in=ReportingMode.values), name="meter_reporting_mode_is_known"),
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=F("starts_at")), name="meter_reporting_lasts"
            ),
            models.CheckConstraint(
                condition=~Q(event_name="") & ~Q(stripe_meter_id=""), name="meter_reporting_names_its_meter"
            ),
            ExclusionConstraint(
                name="meter_reportings_do_not_overlap",
                expressions=[(_same("customer"), "&&"), (_same("meter"), "&&"), (_LASTS, "&&")],
            ),
            ExclusionConstraint(
                name="meter_reportings_share_no_meter_at_stripe",
                expressions=[
                    (_same("customer"), "&&"),
                    (Func(_NAME, _NAME, Value("[]"), function="int8range"), "&&"),
                    (_LASTS, "&&"),
                ],
            ),
        ]
        triggers = [
            stays(
                noun="meter reporting",
                columns=[
                    "subscription_id",
                    "customer_id",
                    "meter_id",
                    "mode",
                    "event_name",
                    "stripe_meter_id",
                    "starts_at",
                ],
            ),
            Guard(
                name="settles_what_is_not_priced_here",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                # Whoever begins a subscription of the customer, or changes one, waits: it is seen here, or sees this row.
                func=f"""
                    IF TG_OP = 'UPDATE' AND OLD.ends_at IS NOT NULL AND OLD.ends_at IS DISTINCT FROM NEW.ends_at THEN
                        RAISE EXCEPTION 'meter reporting % was retired', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF TG_OP = 'UPDATE' THEN RETURN NULL; END IF;
                    PERFORM 1 FROM invoicing_customer WHERE id = NEW.customer_id FOR UPDATE;
                    PERFORM 1 FROM invoicing_subscription WHERE customer_id = NEW.customer_id ORDER BY id FOR NO KEY UPDATE;
                    PERFORM 1 FROM invoicing_subscription
                     WHERE id = NEW.subscription_id AND customer_id = NEW.customer_id;
                    IF NOT FOUND THEN
                        RAISE EXCEPTION 'the subscription of meter reporting % is another customer''s', NEW.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    PERFORM 1 FROM metering_meter WHERE id = NEW.meter_id AND aggregation IN ('sum', 'count');
                    IF NOT FOUND THEN
                        RAISE EXCEPTION 'the meter of meter reporting % does not add up', NEW.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    PERFORM 1 WHERE EXISTS ({_PRICED_HERE} AND reporting.id = NEW.id);
                    IF FOUND THEN
                        RAISE EXCEPTION 'a plan of customer % prices meter % already', NEW.customer_id, NEW.meter_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
            never_deleted(noun="meter reportings"),
            never_truncated(noun="meter reportings"),
        ]

    def __str__(self) -> str:
        return f"{self.event_name} from {self.starts_at:%Y-%m-%d %H:%M} UTC"


# Beside the guards of phases themselves, which cannot name a table that came after them.
pgtrigger.register(
    Guard(
        name="prices_nothing_that_stripe_settles",
        when=pgtrigger.After,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func=f"""
            PERFORM 1 FROM invoicing_subscription WHERE id = NEW.subscription_id FOR NO KEY UPDATE;
            PERFORM 1 WHERE EXISTS ({_PRICED_HERE} AND phase.id = NEW.id);
            IF FOUND THEN
                RAISE EXCEPTION 'phase % prices what Stripe settles', NEW.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        """,
    )
)(SubscriptionPhase)


def refuse_settled_twice(
    *, reportings: Iterable[MeterReporting], phases: Sequence[SubscriptionPhase], field: str
) -> None:
    """Refuse phases whose plan prices a meter that Stripe settles at the same time; raises Conflict, naming the field."""
    for reporting in reportings:
        for phase in phases:
            overlaps = (reporting.ends_at is None or phase.starts_at < reporting.ends_at) and (
                phase.ends_at is None or reporting.starts_at < phase.ends_at
            )
            if overlaps and phase.plan_version.prices.filter(meter=reporting.meter_id).exists():
                raise Conflict(
                    f"{phase.plan_version} prices {reporting.meter.key}, which Stripe settles from "
                    f"{reporting.starts_at:%Y-%m-%d %H:%M} UTC on: it would be charged twice",
                    field=field,
                    code="settled_at_stripe",
                )


def reportings_of(*, customer_id: int) -> "QuerySet[MeterReporting]":
    """Return what Stripe settles, or settled, of a customer's usage, with the meters."""
    return MeterReporting.objects.filter(customer=customer_id).select_related("meter").order_by("id")
