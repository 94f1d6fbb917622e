"""Which plan is in force for whom, and from when."""

from collections.abc import Iterable, Sequence

import pgtrigger
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import Func, Q, Value
from django.db.models.functions import Coalesce, Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import never_truncated, stays
from invoicing.catalog.models import Plan, PlanVersion
from invoicing.core.phases import PhaseKind
from invoicing.customers.models import Customer


class Anchor(models.TextChoices):
    """From when the billing periods are counted."""

    CALENDAR = "calendar", "Calendar (1st of the month)"
    ANNIVERSARY = "anniversary", "Anniversary of the start"


def _covered_guard(*, subscription: str, operation: pgtrigger.Operation) -> Guard:
    """Return a deferred trigger by which phases cover `[started_at, ended_at)` of their subscription and nothing else.

    `subscription` is the SQL of its id, in terms of OLD and NEW.
    """
    return Guard(
        name="phases_cover_the_subscription",
        when=pgtrigger.After,
        operation=operation,
        timing=pgtrigger.Deferred,
        declare=[("subject", "bigint"), ("whole", "record"), ("covered", "record")],
        func=f"""
            subject := {subscription};
            SELECT started_at, ended_at INTO whole FROM invoicing_subscription WHERE id = subject;
            IF NOT FOUND THEN RETURN NULL; END IF;
            SELECT min(starts_at) AS starts_at,
                   nullif(max(coalesce(ends_at, 'infinity')), 'infinity') AS ends_at,
                   count(*) FILTER (WHERE before IS NOT NULL AND before <> starts_at) AS gaps
              INTO covered
              FROM (SELECT starts_at, ends_at, lag(coalesce(ends_at, 'infinity')) OVER (ORDER BY starts_at) AS before
                      FROM invoicing_subscriptionphase WHERE subscription_id = subject) phases;
            IF covered.gaps <> 0 OR (covered.starts_at, covered.ends_at)
               IS DISTINCT FROM (whole.started_at, whole.ended_at)
            THEN
                RAISE EXCEPTION 'the phases of subscription % do not cover it', subject
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        """,
    )


def _whole(column: str) -> Coalesce:
    return Coalesce(column, Value(0), output_field=models.BigIntegerField())


def _hash_of(column: str) -> Func:
    return Func(column, Value(0), function="hashtextextended", output_field=models.BigIntegerField())


class Subscription(models.Model):
    """A customer's agreement during `[started_at, ended_at)`; which plan is in force when, is in its phases."""

    key = models.CharField(max_length=100, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="subscriptions")
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="add_ons",
        help_text="What it is added to: it follows its periods, its trial and its pauses, and ends with it.",
    )
    anchor = models.CharField(max_length=20, choices=Anchor, default=Anchor.CALENDAR)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until further notice.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked()

    objects = models.Manager["Subscription"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ended_at__isnull=True) | models.Q(ended_at__gt=models.F("started_at")),
                name="subscription_ends_after_its_start",
            ),
            models.CheckConstraint(condition=models.Q(anchor__in=Anchor.values), name="subscription_anchor_is_known"),
        ]
        # Invoices were computed from these.
        triggers = [
            stays(noun="subscription", columns=["key", "customer_id", "parent_id", "anchor", "started_at"]),
            _covered_guard(subscription="NEW.id", operation=pgtrigger.Insert | pgtrigger.Update),
            Guard(
                name="add_on_stays_within_its_parent",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                timing=pgtrigger.Deferred,
                # Asked as two lists of children: "either is new" would read all subscriptions for each that starts.
                func="""
                    PERFORM 1 FROM (
                        SELECT * FROM invoicing_subscription WHERE id = NEW.id
                         UNION ALL SELECT * FROM invoicing_subscription WHERE parent_id = NEW.id
                    ) child
                      JOIN invoicing_subscription parent ON parent.id = child.parent_id
                     WHERE (child.customer_id <> parent.customer_id OR parent.parent_id IS NOT NULL
                            OR child.anchor <> parent.anchor OR child.started_at < parent.started_at
                            OR coalesce(child.ended_at, 'infinity') > coalesce(parent.ended_at, 'infinity'));
                    IF FOUND THEN
                        RAISE EXCEPTION 'subscription % does not stay within what it is added to, or what is added to it', NEW.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.key

    def known_phases(self) -> "Iterable[SubscriptionPhase]":
        """Return the phases as `phases.all()` does, without a manager where they were read beforehand: for who asks it of thousands."""
        read = self.__dict__.get("_prefetched_objects_cache", {}).get("phases")
        return self.phases.all() if read is None else read  # type: ignore[attr-defined,no-any-return]

    def know_phases(self, phases: "Sequence[SubscriptionPhase]") -> None:
        """Take phases that were read for many subscriptions at once, in the order of time, for all that are asked for from now on."""
        self.__dict__.setdefault("_prefetched_objects_cache", {})["phases"] = phases


class SubscriptionPhase(models.Model):
    """A stretch `[starts_at, ends_at)` of a subscription under one plan version, quantity and kind."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="phases")
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="phases")
    kind = models.CharField(max_length=10, choices=[(kind.value, kind.value.capitalize()) for kind in PhaseKind])
    quantity = models.PositiveIntegerField(default=1, help_text="Seats: flat fees count so often.")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until further notice.")
    history = tracked()

    objects = models.Manager["SubscriptionPhase"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=models.F("starts_at")), name="phase_lasts"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in PhaseKind]), name="phase_kind_is_known"
            ),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="phase_quantity_is_at_least_one"),
            # A range of one number stands for the number: there is no btree_gist.
            ExclusionConstraint(
                name="phases_of_a_subscription_do_not_overlap",
                expressions=[
                    (Func("subscription_id", "subscription_id", Value("[]"), function="int8range"), "&&"),
                    (
                        Func("starts_at", "ends_at", function="tstzrange", output_field=DateTimeRangeField()),
                        "&&",
                    ),
                ],
            ),
        ]
        indexes = [models.Index(fields=["subscription", "starts_at"], name="phase_by_subscription")]
        triggers = [
            stays(noun="phase", columns=["subscription_id", "starts_at"]),
            _covered_guard(
                subscription="CASE TG_OP WHEN 'DELETE' THEN OLD.subscription_id ELSE NEW.subscription_id END",
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
            ),
            Guard(
                name="keeps_what_is_invoiced",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                declare=[("phase", "invoicing_subscriptionphase%ROWTYPE"), ("until", "timestamptz")],
                # The subscription is locked as a line's guard locks it: nobody invoices it at the same moment.
                func="""
                    IF TG_OP = 'INSERT' THEN phase := NEW; ELSE phase := OLD; END IF;
                    PERFORM 1 FROM invoicing_subscription WHERE id = phase.subscription_id FOR NO KEY UPDATE;
                    SELECT max(line.service_end) INTO until FROM invoicing_invoiceline line
                      JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id
                     WHERE line.subscription_id = phase.subscription_id AND invoice.status NOT IN ('draft', 'void')
                       AND line.kind = 'charge';
                    IF until IS NULL OR phase.starts_at >= until THEN
                        NULL;
                    ELSIF TG_OP = 'UPDATE' AND to_jsonb(OLD) - 'ends_at' = to_jsonb(NEW) - 'ends_at'
                          AND (OLD.ends_at IS NOT DISTINCT FROM NEW.ends_at
                               OR least(coalesce(OLD.ends_at, 'infinity'), coalesce(NEW.ends_at, 'infinity')) >= until)
                    THEN
                        NULL;
                    ELSE
                        RAISE EXCEPTION 'phases of subscription % are invoiced until %', phase.subscription_id, until
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
                    RETURN NEW;
                """,
            ),
            never_truncated(noun="phases of subscriptions"),
        ]

    def __str__(self) -> str:
        return f"{self.plan_version} from {self.starts_at:%Y-%m-%d}"


class PriceOverride(models.Model):
    """A price that a customer, or one of its subscriptions, is charged during `[starts_at, ends_at)` in place of a plan's.

    It holds for the plan's price of this key in every version. `definition` is the price as in a catalog file.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="price_overrides")
    subscription = models.ForeignKey(
        Subscription,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="price_overrides",
        help_text="Empty: all subscriptions of the customer.",
    )
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="price_overrides")
    price_key = models.CharField(max_length=100)
    definition = models.JSONField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until further notice.")
    history = tracked()

    objects = models.Manager["PriceOverride"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=models.F("starts_at")), name="price_override_lasts"
            ),
            # A range of one number stands for the number, and a hash of 64 bits for the key: there is no btree_gist.
            ExclusionConstraint(
                name="price_overrides_do_not_overlap",
                expressions=[
                    (Func("customer", "customer", Value("[]"), function="int8range"), "&&"),
                    (Func(_whole("subscription"), _whole("subscription"), Value("[]"), function="int8range"), "&&"),
                    (Func("plan", "plan", Value("[]"), function="int8range"), "&&"),
                    (Func(_hash_of("price_key"), _hash_of("price_key"), Value("[]"), function="int8range"), "&&"),
                    (Func("starts_at", "ends_at", function="tstzrange", output_field=DateTimeRangeField()), "&&"),
                ],
            ),
        ]
        triggers = [
            stays(
                noun="price override",
                columns=["customer_id", "subscription_id", "plan_id", "price_key", "definition", "starts_at"],
            ),
            Guard(
                name="keeps_what_is_invoiced",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                declare=[
                    ("own", "invoicing_priceoverride%ROWTYPE"),
                    ("since", "timestamptz"),
                    ("until", "timestamptz"),
                ],
                # Who is billed for it is locked as billing locks it: nobody invoices it at the same moment.
                func="""
                    IF TG_OP = 'DELETE' THEN own := OLD; ELSE own := NEW; END IF;
                    PERFORM 1 FROM invoicing_customer WHERE id = (
                        SELECT coalesce(billed_to_id, id) FROM invoicing_customer WHERE id = own.customer_id
                    ) FOR NO KEY UPDATE;
                    PERFORM 1 FROM invoicing_subscription
                     WHERE id = own.subscription_id AND customer_id <> own.customer_id;
                    IF FOUND THEN
                        RAISE EXCEPTION 'the subscription of price override % is another customer''s', own.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    since := own.starts_at;
                    IF TG_OP = 'UPDATE' THEN
                        IF OLD.ends_at IS NOT DISTINCT FROM NEW.ends_at THEN RETURN NEW; END IF;
                        since := least(coalesce(OLD.ends_at, 'infinity'), coalesce(NEW.ends_at, 'infinity'));
                    END IF;
                    SELECT max(line.service_end) INTO until FROM invoicing_invoiceline line
                      JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id
                      JOIN invoicing_price price ON price.id = line.price_id
                      JOIN invoicing_planversion version ON version.id = price.plan_version_id
                      JOIN invoicing_subscription subscription ON subscription.id = line.subscription_id
                     WHERE subscription.customer_id = own.customer_id AND invoice.status NOT IN ('draft', 'void')
                       AND line.kind = 'charge' AND version.plan_id = own.plan_id AND price.key = own.price_key
                       AND line.subscription_id = coalesce(own.subscription_id, line.subscription_id);
                    IF until > since THEN
                        RAISE EXCEPTION 'price % of customer % is invoiced until %', own.price_key, own.customer_id, until
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="is_agreed_by_two",  # deed and code are those of a slice above
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                timing=pgtrigger.Deferred,
                declare=[("own", "invoicing_priceoverride%ROWTYPE"), ("agreed", "jsonb"), ("stored", "jsonb")],
                # The newest approval of a place says what holds in it, whole: an older one is no leave to go back.
                func="""
                    IF (SELECT amount FROM invoicing_approvallimit WHERE deed = 'own_price' AND currency = 'XXX'
                         ORDER BY number DESC LIMIT 1) IS NULL THEN
                        RETURN NULL;
                    END IF;
                    IF TG_OP = 'DELETE' THEN own := OLD; ELSE own := NEW; END IF;
                    SELECT asked -> 'after' INTO agreed FROM invoicing_approval
                     WHERE deed = 'own_price' AND decision = 'approved' AND asked -> 'place' = jsonb_build_object(
                           'customer', own.customer_id, 'subscription', own.subscription_id,
                           'plan', own.plan_id, 'price', own.price_key)
                     ORDER BY decided_at DESC, id DESC LIMIT 1;
                    SELECT coalesce(jsonb_agg(jsonb_build_object(
                               'definition', definition,
                               'starts_at', to_char(starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                               'ends_at', to_char(ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                           ) ORDER BY starts_at), '[]') INTO stored
                      FROM invoicing_priceoverride
                     WHERE customer_id = own.customer_id AND plan_id = own.plan_id AND price_key = own.price_key
                       AND subscription_id IS NOT DISTINCT FROM own.subscription_id;
                    IF stored IS DISTINCT FROM agreed THEN
                        RAISE EXCEPTION 'own prices are agreed by two people: nobody else has approved those of % of customer %',
                            own.price_key, own.customer_id USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
            never_truncated(noun="price overrides"),
        ]

    def __str__(self) -> str:
        return f"{self.price_key} of {self.plan} from {self.starts_at:%Y-%m-%d}"
