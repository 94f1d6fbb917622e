"""Tax as the law sees both sides: the seller's settings, registrations and rates; the customer's place, number and exemptions."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import BigIntegerRangeField, DateRangeField
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Cast, Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import append_only, carved, stays
from invoicing.core.tax import TaxRounding
from invoicing.customers.models import Customer
from invoicing.entities.models import of_entity

ROUNDINGS = [
    (TaxRounding.PER_INVOICE.value, "Once for each rate of an invoice"),
    (TaxRounding.PER_LINE.value, "On each line"),
]
JURISDICTION = r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$"
COUNTRY = r"^[A-Z]{2}$"
SINCE = "The first day on which it holds."
UNTIL = "The first day on which it holds no more; empty: it goes on."


def _one_at_a_time(*columns: str, name: str) -> ExclusionConstraint:
    """Return a constraint by which rows that are the same in these columns never hold on the same day.

    A range of one hash stands for the columns: there is no btree_gist.
    """

    def same() -> Func:
        texts = [Cast(column, models.TextField()) for column in columns]
        # In the order of their names: so Django finds them equal to those of the migration.
        together = Func(*texts, arg_joiner=" || '/' || ", output_field=models.TextField(), template="(%(expressions)s)")
        return Func(together, Value(0), function="hashtextextended", output_field=models.BigIntegerField())

    return ExclusionConstraint(
        name=name,
        expressions=[
            (Func(same(), same(), Value("[]"), function="int8range", output_field=BigIntegerRangeField()), "&&"),
            (Func("valid_from", "valid_to", function="daterange", output_field=DateRangeField()), "&&"),
        ],
    )


def _lasts(name: str) -> models.CheckConstraint:
    # Both the same: it was taken back before it held.
    return models.CheckConstraint(condition=Q(valid_to__isnull=True) | Q(valid_to__gte=F("valid_from")), name=name)


def _dated(noun: str) -> list[Guard]:
    """Return triggers by which a dated row is only ended, never changed: what was taxed by it stays explained."""
    return carved(noun=noun, while_open="FALSE", free_columns=["valid_to"])


class SellerTax(models.Model):
    """How a legal entity charges tax, from a day on; of its rows that with the latest day holds, of several the newest."""

    legal_entity = of_entity(help_text="Who sells.")
    valid_from = models.DateField(help_text="Invoices whose period ends on that day or later.")
    country = models.CharField(max_length=2, help_text="Where it is established: DE.")
    rounding = models.CharField(max_length=20, choices=ROUNDINGS)
    prices_include_tax = models.BooleanField(
        default=False, help_text="Prices contain the tax (consumers); otherwise it comes on top (companies)."
    )
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["SellerTax"]()

    class Meta:
        verbose_name = "seller's tax settings"
        verbose_name_plural = "seller's tax settings"
        constraints = [
            models.CheckConstraint(condition=Q(country__regex=COUNTRY), name="seller_tax_country_is_a_code"),
            models.CheckConstraint(
                condition=Q(rounding__in=[rounding.value for rounding in TaxRounding]),
                name="seller_tax_rounding_is_known",
            ),
            models.CheckConstraint(condition=~Q(actor="") & ~Q(reason=""), name="seller_tax_has_actor_and_reason"),
        ]
        triggers = append_only(noun="tax settings")

    def __str__(self) -> str:
        return f"{self.country} from {self.valid_from}"


class TaxRegistration(models.Model):
    """Where a legal entity is registered for tax: a country, a region of one, or EU for the One-Stop Shop."""

    legal_entity = of_entity(help_text="Who sells.")
    jurisdiction = models.CharField(max_length=6, help_text="DE, US-CA; EU for the One-Stop Shop.")
    number = models.CharField(max_length=50, help_text="The number that stands on invoices.")
    valid_from = models.DateField(help_text=SINCE)
    valid_to = models.DateField(null=True, blank=True, help_text=UNTIL)
    history = tracked()

    objects = models.Manager["TaxRegistration"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(jurisdiction__regex=JURISDICTION), name="tax_registration_jurisdiction_is_a_code"
            ),
            models.CheckConstraint(condition=~Q(number=""), name="tax_registration_has_a_number"),
            _lasts("tax_registration_lasts"),
            _one_at_a_time("legal_entity_id", "jurisdiction", name="tax_registrations_hold_one_at_a_time"),
        ]
        triggers = _dated("tax registration")

    def __str__(self) -> str:
        return f"{self.jurisdiction} {self.number}"


class TaxRate(models.Model):
    """A rate of tax of a place. Of a country and its region both are charged, where the company is registered for them."""

    jurisdiction = models.CharField(max_length=6, help_text="DE, US-CA.")
    name = models.CharField(max_length=50, help_text="What stands on invoices: VAT, GST, Sales tax.")
    rate = models.DecimalField(max_digits=9, decimal_places=8, help_text="A fraction of one: 0.19 is 19 %.")
    valid_from = models.DateField(help_text=SINCE)
    valid_to = models.DateField(null=True, blank=True, help_text=UNTIL)
    history = tracked()

    objects = models.Manager["TaxRate"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(jurisdiction__regex=JURISDICTION), name="tax_rate_jurisdiction_is_a_code"
            ),
            models.CheckConstraint(condition=~Q(name=""), name="tax_rate_has_a_name"),
            models.CheckConstraint(condition=Q(rate__gte=0, rate__lt=1), name="tax_rate_is_a_fraction_of_one"),
            _lasts("tax_rate_lasts"),
            _one_at_a_time("jurisdiction", "name", name="tax_rates_of_a_name_hold_one_at_a_time"),
        ]
        triggers = _dated("tax rate")

    def __str__(self) -> str:
        return f"{self.name} {self.jurisdiction} {self.rate.normalize():f}"


class CustomerTax(models.Model):
    """What tax law has to know of a customer. Without this row nobody knows, and that is listed."""

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, related_name="tax")
    country = models.CharField(max_length=2, help_text="Where the customer is established or lives: FR.")
    region = models.CharField(max_length=3, blank=True, help_text="Where regions have taxes of their own: CA, QC.")
    vat_id = models.CharField(max_length=50, blank=True, help_text="With the code of the country; empty: a consumer.")
    postal_code = models.CharField(
        max_length=20,
        blank=True,
        db_default="",
        help_text="Where places within a region have taxes of their own: 10001.",
    )
    city = models.CharField(max_length=100, blank=True, db_default="", help_text="New York.")
    line1 = models.CharField("street", max_length=200, blank=True, db_default="", help_text="With its number.")
    history = tracked()

    objects = models.Manager["CustomerTax"]()

    class Meta:
        verbose_name = "tax data of a customer"
        verbose_name_plural = "tax data of customers"
        constraints = [
            models.CheckConstraint(condition=Q(country__regex=COUNTRY), name="customer_tax_country_is_a_code"),
            models.CheckConstraint(condition=Q(region__regex=r"^[A-Z0-9]{0,3}$"), name="customer_tax_region_is_a_code"),
        ]
        triggers = [stays(noun="tax data of customer", columns=["customer_id"])]

    def __str__(self) -> str:
        return f"{self.customer} in {self.country}"


class VatIdCheck(models.Model):
    """What a register said about a customer's VAT id, once; `reference` proves that it was asked."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="vat_id_checks")
    vat_id = models.CharField(max_length=50)
    is_valid = models.BooleanField()
    registered_name = models.CharField(max_length=300, blank=True)
    reference = models.CharField(max_length=100, blank=True, help_text="The register's consultation number.")
    checked_at = models.DateTimeField()

    objects = models.Manager["VatIdCheck"]()

    class Meta:
        verbose_name = "check of a VAT id"
        verbose_name_plural = "checks of VAT ids"
        indexes = [models.Index(fields=["customer", "vat_id"], name="vat_id_check_by_customer")]
        triggers = append_only(noun="checks of VAT ids")

    def __str__(self) -> str:
        return f"{self.vat_id} is {'known' if self.is_valid else 'not known'}"


class TaxExemption(models.Model):
    """Why a customer pays no tax of a place, and what proves it."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="tax_exemptions")
    jurisdiction = models.CharField(max_length=6, help_text="Where it holds: DE, US-CA.")
    reason = models.CharField(max_length=300, help_text="The sentence on the invoice, with the law.")
    evidence = models.CharField(max_length=200, help_text="The certificate: its number, and where it is kept.")
    valid_from = models.DateField(help_text=SINCE)
    valid_to = models.DateField(null=True, blank=True, help_text=UNTIL)
    history = tracked()

    objects = models.Manager["TaxExemption"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(jurisdiction__regex=JURISDICTION), name="tax_exemption_jurisdiction_is_a_code"
            ),
            models.CheckConstraint(
                condition=~Q(reason="") & ~Q(evidence=""), name="tax_exemption_has_reason_and_evidence"
            ),
            _lasts("tax_exemption_lasts"),
            _one_at_a_time("customer_id", "jurisdiction", name="tax_exemptions_hold_one_at_a_time"),
        ]
        triggers = _dated("tax exemption")

    def __str__(self) -> str:
        return f"{self.customer} in {self.jurisdiction}: {self.evidence}"
