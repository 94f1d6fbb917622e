"""What is sold: products, plans with immutable versions, and their prices."""

import pgtrigger
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import Func, Value
from django.db.models.functions import Greatest

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import carved, exact_field, frozen_with_parent
from invoicing.core.contract import Cadence, PriceModel
from invoicing.core.phases import Proration, TiersOnChange
from metering.models import Meter


def _choices(kinds: type[PriceModel] | type[Cadence]) -> list[tuple[str, str]]:
    return [(kind.value, kind.value.replace("_", " ").capitalize()) for kind in kinds]


class Product(models.Model):
    """What is sold."""

    key = models.SlugField(max_length=100, unique=True)
    name = models.CharField(max_length=200)
    history = tracked()

    objects = models.Manager["Product"]()

    def __str__(self) -> str:
        return self.name


class Plan(models.Model):
    """A named offer; what it costs is in its versions."""

    key = models.SlugField(max_length=100, unique=True)
    name = models.CharField(max_length=200)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="plans")
    add_on_to = models.ManyToManyField(
        "self",
        symmetrical=False,
        blank=True,
        related_name="add_ons",
        help_text="Sold only together with one of these plans; none: sold by itself.",
    )
    history = tracked()

    objects = models.Manager["Plan"]()

    def __str__(self) -> str:
        return self.name


class PlanVersion(models.Model):
    """One state of a plan; immutable with all its prices from the moment it is published."""

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    cadence = models.CharField(max_length=20, choices=_choices(Cadence), default=Cadence.MONTH.value)
    proration = models.CharField(
        max_length=10,
        choices=[
            (Proration.SECOND.value, "By second"),
            (Proration.DAY.value, "By calendar day"),
            (Proration.NONE.value, "Not at all: what begins the period owes the whole"),
        ],
        default=Proration.SECOND.value,
        db_default=Proration.SECOND.value,
        help_text="How fees of a billing period are divided where a change, start or end cuts it.",
    )
    tiers_on_change = models.CharField(
        max_length=10,
        choices=[
            (TiersOnChange.RESET.value, "Begin anew"),
            (TiersOnChange.CARRY.value, "Go on from what was used before in the period"),
        ],
        default=TiersOnChange.RESET.value,
        db_default=TiersOnChange.RESET.value,
        help_text="Tiers, free units and packages, where this version begins within a billing period.",
    )
    effective_from = models.DateTimeField(
        null=True,
        blank=True,
        help_text="New subscriptions take this version from then on. Empty: from its publication on, a plan's first since ever.",
    )
    effective_to = models.DateTimeField(
        null=True, blank=True, help_text="It is sold until then; who has it keeps it. Empty: until another is sold."
    )
    digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the published rate card.")
    published_at = models.DateTimeField(null=True, blank=True, help_text="Empty: a draft that may still change.")
    history = tracked()
    objects = models.Manager["PlanVersion"]()
    named_with = "plan"  # `display/changes.py` tells its changes with the name of its plan

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan", "number"], name="plan_version_number_is_unique"),
            models.CheckConstraint(
                condition=models.Q(published_at__isnull=True) | ~models.Q(digest=""),
                name="plan_version_is_published_with_its_digest",
            ),
            models.CheckConstraint(
                condition=models.Q(cadence__in=[cadence.value for cadence in Cadence]), name="plan_cadence_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(proration__in=[proration.value for proration in Proration]),
                name="plan_proration_is_known",
            ),
            models.CheckConstraint(
                condition=models.Q(tiers_on_change__in=[choice.value for choice in TiersOnChange]),
                name="plan_tiers_on_change_are_known",
            ),
            # Both the same: it was replaced before it was sold to anybody.
            models.CheckConstraint(
                condition=models.Q(effective_to__isnull=True)
                | models.Q(effective_from__isnull=True)
                | models.Q(effective_to__gte=models.F("effective_from")),
                name="plan_version_is_sold_forwards",
            ),
            # A range of one number stands for the number: there is no btree_gist.
            ExclusionConstraint(
                name="versions_of_a_plan_are_sold_one_at_a_time",
                expressions=[
                    (Func("plan", "plan", Value("[]"), function="int8range"), "&&"),
                    (
                        Func("effective_from", "effective_to", function="tstzrange", output_field=DateTimeRangeField()),
                        "&&",
                    ),
                ],
                condition=models.Q(published_at__isnull=False),
            ),
        ]
        # Until when it is sold is decided later: by the version that follows it, or by people.
        triggers = [
            *carved(
                noun="published plan versions", while_open="OLD.published_at IS NULL", free_columns=["effective_to"]
            ),
            Guard(
                name="is_approved_by_another",  # deed and code are those of a slice above
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func="""
                    IF NEW.published_at IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.published_at IS NULL)
                       AND (SELECT amount FROM invoicing_approvallimit WHERE deed = 'price_version' AND currency = 'XXX'
                             ORDER BY number DESC LIMIT 1) IS NOT NULL
                       AND NOT EXISTS (
                            SELECT 1 FROM invoicing_approval
                             WHERE deed = 'price_version' AND subject = 'version ' || NEW.id AND digest = NEW.digest
                               AND decision = 'approved') THEN
                        RAISE EXCEPTION 'prices are published by two people: nobody else has approved plan version %', NEW.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan.name} v{self.number}"

    @property
    def is_never_sold(self) -> bool:
        """Say whether another version took its place before it was sold to anybody."""
        return self.effective_from is not None and self.effective_from == self.effective_to


class Price(models.Model):
    """The rate of one thing in one currency, as part of a plan version."""

    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="prices")
    key = models.SlugField(max_length=100, help_text="Stable name within the plan: input_tokens.")
    name = models.CharField(max_length=200, help_text="As on the invoice line.")
    meter = models.ForeignKey(
        Meter, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="Empty: a fixed fee."
    )
    currency = models.CharField(max_length=3)
    position = models.PositiveSmallIntegerField(default=0)
    model = models.CharField(max_length=30, choices=_choices(PriceModel))
    unit_amount = exact_field(null=True, blank=True)
    package_size = exact_field(null=True, blank=True)
    package_amount = exact_field(null=True, blank=True)
    free_units = exact_field(default=0)
    rate = exact_field(null=True, blank=True, help_text="A fraction of one: 0.029 is 2.9 %.")
    minimum_amount = exact_field(null=True, blank=True)
    maximum_amount = exact_field(null=True, blank=True)
    in_advance = models.BooleanField(
        default=False,
        db_default=Value(False),
        help_text="A flat fee: invoiced before its billing period begins, and settled after it.",
    )
    first_dimension = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="Of a matrix: a dimension of the meter."
    )
    second_dimension = models.CharField(max_length=200, blank=True, default="", db_default="")
    default_unit_amount = exact_field(
        null=True,
        blank=True,
        help_text="Of a matrix: for values without a cell. Empty: such usage cannot be billed until somebody acts.",
    )
    fixed_amount_per_event = exact_field(
        null=True, blank=True, help_text="Of a percentage: each event is charged by itself, and this much more."
    )
    minimum_amount_per_event = exact_field(null=True, blank=True, help_text="What an event costs at least.")
    maximum_amount_per_event = exact_field(null=True, blank=True, help_text="What an event costs at most.")

    objects = models.Manager["Price"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan_version", "key", "currency"], name="price_is_one_per_currency"),
            models.CheckConstraint(
                condition=models.Q(model__in=[model.value for model in PriceModel]), name="price_model_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(model=PriceModel.FLAT.value) | models.Q(meter__isnull=False),
                name="price_of_usage_has_a_meter",
            ),
            models.CheckConstraint(
                condition=models.Q(in_advance=False) | models.Q(model=PriceModel.FLAT.value),
                name="price_in_advance_is_flat",
            ),
            models.CheckConstraint(condition=models.Q(free_units__gte=0), name="price_free_units_are_not_negative"),
            models.CheckConstraint(
                condition=(models.Q(unit_amount__isnull=True) | models.Q(unit_amount__gte=0))
                & (models.Q(package_amount__isnull=True) | models.Q(package_amount__gte=0))
                & (models.Q(minimum_amount__isnull=True) | models.Q(minimum_amount__gte=0))
                & (models.Q(maximum_amount__isnull=True) | models.Q(maximum_amount__gte=0))
                & (models.Q(package_size__isnull=True) | models.Q(package_size__gt=0)),
                name="price_amounts_are_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(rate__isnull=True) | models.Q(rate__gte=0, rate__lte=1),
                name="price_rate_is_a_fraction",
            ),
            models.CheckConstraint(
                condition=models.Q(maximum_amount__isnull=True)
                | models.Q(minimum_amount__isnull=True)
                | models.Q(minimum_amount__lte=models.F("maximum_amount")),
                name="price_minimum_is_not_above_maximum",
            ),
            models.CheckConstraint(
                condition=models.Q(second_dimension="")
                | (~models.Q(first_dimension="") & ~models.Q(first_dimension=models.F("second_dimension"))),
                name="price_second_dimension_is_another_than_the_first",
            ),
            models.CheckConstraint(
                condition=models.Q(default_unit_amount__isnull=True) | models.Q(default_unit_amount__gte=0),
                name="price_default_amount_is_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(model=PriceModel.PERCENTAGE.value)
                | models.Q(
                    fixed_amount_per_event__isnull=True,
                    minimum_amount_per_event__isnull=True,
                    maximum_amount_per_event__isnull=True,
                ),
                name="price_per_event_is_a_percentage",
            ),
            models.CheckConstraint(
                condition=(models.Q(fixed_amount_per_event__isnull=True) | models.Q(fixed_amount_per_event__gte=0))
                & (models.Q(minimum_amount_per_event__isnull=True) | models.Q(minimum_amount_per_event__gte=0))
                & (
                    models.Q(maximum_amount_per_event__isnull=True)
                    | models.Q(
                        maximum_amount_per_event__gte=Greatest("fixed_amount_per_event", "minimum_amount_per_event", 0)
                    )
                ),
                name="price_of_an_event_is_within_its_bounds",
            ),
        ]
        triggers = frozen_with_parent(
            noun="prices of the published plan version",
            parent_column="plan_version_id",
            open_parent="SELECT 1 FROM invoicing_planversion version"
            " WHERE version.id = {row}.plan_version_id AND version.published_at IS NULL FOR SHARE",
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.currency})"


class PlanSpend(models.Model):
    """What a subscription to a plan version owes at least and at most per billing period, in one currency."""

    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="spend")
    currency = models.CharField(max_length=3)
    minimum_spend = exact_field(null=True, blank=True, help_text="Per billing period; a partial one owes its share.")
    maximum_spend = exact_field(null=True, blank=True, help_text="What is charged above it is taken off.")

    objects = models.Manager["PlanSpend"]()

    class Meta:
        verbose_name = "minimum and maximum spend"
        verbose_name_plural = "minimum and maximum spend"
        constraints = [
            models.UniqueConstraint(fields=["plan_version", "currency"], name="plan_spend_is_one_per_currency"),
            models.CheckConstraint(
                condition=models.Q(minimum_spend__isnull=False) | models.Q(maximum_spend__isnull=False),
                name="plan_spend_has_a_bound",
            ),
            models.CheckConstraint(
                condition=(models.Q(minimum_spend__isnull=True) | models.Q(minimum_spend__gte=0))
                & (models.Q(maximum_spend__isnull=True) | models.Q(maximum_spend__gte=0)),
                name="plan_spend_is_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(maximum_spend__isnull=True)
                | models.Q(minimum_spend__isnull=True)
                | models.Q(minimum_spend__lte=models.F("maximum_spend")),
                name="plan_minimum_spend_is_not_above_maximum",
            ),
        ]
        triggers = frozen_with_parent(
            noun="minimum and maximum spend of the published plan version",
            parent_column="plan_version_id",
            open_parent="SELECT 1 FROM invoicing_planversion version"
            " WHERE version.id = {row}.plan_version_id AND version.published_at IS NULL FOR SHARE",
        )

    def __str__(self) -> str:
        return f"spend in {self.currency}"


class PriceTier(models.Model):
    """The rate up to and including a bound."""

    price = models.ForeignKey(Price, on_delete=models.CASCADE, related_name="tiers")
    position = models.PositiveSmallIntegerField()
    up_to = exact_field(null=True, blank=True, help_text="Empty: without bound; only in the last tier.")
    unit_amount = exact_field(default=0)
    flat_amount = exact_field(default=0)
    rate = exact_field(default=0)

    objects = models.Manager["PriceTier"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["price", "position"], name="price_tier_position_is_unique"),
            models.CheckConstraint(
                condition=models.Q(up_to__isnull=True) | models.Q(up_to__gt=0), name="price_tier_bound_is_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(unit_amount__gte=0, flat_amount__gte=0, rate__gte=0, rate__lte=1),
                name="price_tier_amounts_are_not_negative",
            ),
        ]
        triggers = frozen_with_parent(
            noun="tiers of the published price",
            parent_column="price_id",
            open_parent="SELECT 1 FROM invoicing_price price"
            " JOIN invoicing_planversion version ON version.id = price.plan_version_id"
            " WHERE price.id = {row}.price_id AND version.published_at IS NULL FOR SHARE OF version",
        )

    def __str__(self) -> str:
        return f"up to {self.up_to}"


class PriceCell(models.Model):
    """What a unit costs that was used with these values of a matrix's dimensions."""

    price = models.ForeignKey(Price, on_delete=models.CASCADE, related_name="cells")
    position = models.PositiveSmallIntegerField()
    first_value = models.CharField(
        max_length=100, null=True, blank=True, help_text="Empty: events without the first dimension."
    )
    second_value = models.CharField(
        max_length=100, null=True, blank=True, help_text="Empty: events without the second dimension, if there is one."
    )
    unit_amount = exact_field(default=0)

    objects = models.Manager["PriceCell"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["price", "position"], name="price_cell_position_is_unique"),
            models.UniqueConstraint(
                fields=["price", "first_value", "second_value"],
                nulls_distinct=False,
                name="price_cell_of_some_values_is_one",
            ),
            models.CheckConstraint(condition=models.Q(unit_amount__gte=0), name="price_cell_amount_is_not_negative"),
            models.CheckConstraint(
                condition=(models.Q(first_value__isnull=True) | ~models.Q(first_value=""))
                & (models.Q(second_value__isnull=True) | ~models.Q(second_value="")),
                name="price_cell_value_is_a_text_or_none",
            ),
        ]
        triggers = frozen_with_parent(
            noun="cells of the published price",
            parent_column="price_id",
            open_parent="SELECT 1 FROM invoicing_price price"
            " JOIN invoicing_planversion version ON version.id = price.plan_version_id"
            " WHERE price.id = {row}.price_id AND version.published_at IS NULL FOR SHARE OF version",
        )

    def __str__(self) -> str:
        return ", ".join(value or "none" for value in (self.first_value, self.second_value))
