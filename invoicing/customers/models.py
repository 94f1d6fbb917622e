"""Who owes: customers, their terms and how they pay."""

from decimal import Decimal

import pgtrigger
from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import amount_field, append_only, fits_currency, stays
from invoicing.core.languages import LANGUAGES
from invoicing.core.life_cycle import TRANSITIONS, State, Trigger
from invoicing.customers.accounts import is_billed_within_its_company
from invoicing.entities.models import of_entity


class SettlementChannel(models.TextChoices):
    """How a customer pays."""

    STRIPE = "stripe", "Stripe"
    MANUAL = "manual", "Bank transfer"


class LateUsagePolicy(models.TextChoices):
    """What becomes of usage that arrives, or is cancelled, after its invoice was issued (S0-061)."""

    NEXT_INVOICE = "next_invoice", "Goes to the next invoice"
    ABSORB = "absorb", "Is absorbed"
    ASK = "ask", "Waits at the late-event desk"


GRACE_HOURS_MAX = 744


def _choices(words: type[State] | type[Trigger]) -> list[tuple[str, str]]:
    return [(word.value, word.value.replace("_", " ").capitalize()) for word in words]


def _stays_with_its_seller() -> Guard:
    """Return a trigger by which whoever was invoiced, or has credit or money on account, owes the same legal entity for ever.

    Credit, fees in advance, commitments and corrections go from one of its invoices to the next: what one company was paid for
    is never settled by another.
    """
    return Guard(
        name="stays_with_its_seller",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func="""
            IF NEW.legal_entity_id <> OLD.legal_entity_id AND (
                EXISTS (SELECT 1 FROM invoicing_invoice WHERE customer_id = OLD.id)
                OR EXISTS (SELECT 1 FROM invoicing_creditgrant WHERE customer_id = OLD.id)
                OR EXISTS (SELECT 1 FROM invoicing_bankallocation WHERE customer_id = OLD.id)
            ) THEN
                RAISE EXCEPTION 'customer % stays with its seller %', OLD.key, OLD.legal_entity_id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


class Customer(models.Model):
    """Who owes. Usage events name it by `key`."""

    key = models.CharField(max_length=100, unique=True, help_text="The customer_id on usage events: cust_acme.")
    name = models.CharField(max_length=300)
    legal_entity = of_entity(
        related_name="customers",
        help_text="Who sells to it, and issues its invoices. It stays as soon as there is one.",
    )
    billed_to = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="accounts",
        help_text="Who gets one invoice for it and pays it, with a section of its own. Empty: it is billed itself.",
    )
    email = models.EmailField(blank=True)
    currency = models.CharField(max_length=3)
    timezone = models.CharField(max_length=60, default="UTC", help_text="Periods begin at midnight there.")
    address = models.TextField(blank=True)
    language = models.CharField(
        max_length=2,
        blank=True,
        default="",
        db_default=models.Value(""),
        choices=[(language.code, language.name) for language in LANGUAGES.values()],
        help_text="Of invoices and credit notes; empty: the one of the house (DOCUMENT_LANGUAGE).",
    )
    tax_id = models.CharField(max_length=50, blank=True)
    settlement_channel = models.CharField(max_length=20, choices=SettlementChannel, default=SettlementChannel.STRIPE)
    net_terms_days = models.PositiveSmallIntegerField(default=14, help_text="Days from issue to due date.")
    payment_method = models.CharField(
        max_length=100, blank=True, help_text="Stripe's payment method that is charged: pm_…"
    )
    late_usage_policy = models.CharField(
        max_length=20,
        choices=LateUsagePolicy,
        default=LateUsagePolicy.NEXT_INVOICE,
        db_default=models.Value(LateUsagePolicy.NEXT_INVOICE.value),
        help_text="What becomes of usage that arrives, or is cancelled, after its invoice was issued.",
    )
    late_materiality: "models.DecimalField[Decimal, Decimal]" = amount_field(
        default=Decimal(0),
        db_default=Decimal(0),
        help_text="Late usage that changes an invoice line by less than this amount is absorbed.",
    )
    grace_hours = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        help_text="So long after the end of a period late usage still joins its invoice before it is issued.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked()

    objects = models.Manager["Customer"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="customer_currency_is_a_code"
            ),
            models.CheckConstraint(
                condition=models.Q(settlement_channel__in=SettlementChannel.values), name="customer_channel_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(language__in=["", *LANGUAGES]), name="customer_language_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(net_terms_days__lte=365), name="customer_terms_are_within_a_year"
            ),
            models.CheckConstraint(
                condition=models.Q(late_usage_policy__in=LateUsagePolicy.values),
                name="customer_late_usage_policy_is_known",
            ),
            models.CheckConstraint(
                condition=models.Q(late_materiality__gte=0), name="customer_late_materiality_is_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(grace_hours__lte=GRACE_HOURS_MAX), name="customer_grace_is_within_a_month"
            ),
            fits_currency("late_materiality", name="customer_late_materiality_fits_its_currency"),
        ]
        # Events name the key; currency and zone decide the prices and the bounds of periods already billed.
        triggers = [
            stays(noun="customer", columns=["key", "currency", "timezone"]),
            _stays_with_its_seller(),
            is_billed_within_its_company(),
        ]

    @property
    def payer_id(self) -> int:
        """The number of who is billed for it: itself, or the customer that it is billed to."""
        return self.pk if self.billed_to_id is None else self.billed_to_id

    @property
    def payer(self) -> "Customer":
        """Who is billed for it: itself, or the customer that it is billed to."""
        return self.billed_to or self

    @property
    def seller_key(self) -> str:
        """The key of the legal entity that sells to it."""
        return str(self.legal_entity_id)

    def __str__(self) -> str:
        return self.name


def _follows_the_table() -> Guard:
    """Return a trigger, made of the table of the life cycle, by which each move is a row of it and continues the last."""
    known = ", ".join(
        f"('{row.start.value}', '{row.to.value}', '{row.trigger.value}')"
        for row in TRANSITIONS
        if row.start is not None
    )
    return Guard(
        name="follows_the_life_cycle",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert,
        declare=[("before", "record")],
        func=f"""
            SELECT number, to_state, moved_at INTO before FROM invoicing_lifecyclemove
             WHERE customer_id = NEW.customer_id ORDER BY number DESC LIMIT 1;
            IF NEW.number <> coalesce(before.number, 0) + 1
               OR NEW.from_state <> coalesce(before.to_state, '{State.TRIAL.value}')
               OR NEW.moved_at < coalesce(before.moved_at, '-infinity')
            THEN
                RAISE EXCEPTION 'move % of customer % does not continue its life', NEW.number, NEW.customer_id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF (NEW.from_state, NEW.to_state, NEW.trigger) NOT IN ({known}) THEN
                RAISE EXCEPTION 'a customer does not move from % to % by %', NEW.from_state, NEW.to_state, NEW.trigger
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


class LifeCycleMove(models.Model):
    """One move in the life of a customer (S0-121); its registration is the customer's own row, which begins in its trial."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="moves")
    number = models.PositiveIntegerField(help_text="1 is the customer's first move.")
    from_state = models.CharField(max_length=20, choices=_choices(State))
    to_state = models.CharField(max_length=20, choices=_choices(State))
    trigger = models.CharField(max_length=20, choices=_choices(Trigger))
    moved_at = models.DateTimeField(help_text="From this moment on.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=150)
    reason = models.CharField(max_length=300)

    objects = models.Manager["LifeCycleMove"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "number"], name="life_cycle_moves_are_numbered"),
            models.CheckConstraint(
                condition=~models.Q(actor="") & ~models.Q(reason=""), name="life_cycle_move_has_actor_and_reason"
            ),
        ]
        triggers = [*append_only(noun="life cycle moves"), _follows_the_table()]

    def __str__(self) -> str:
        return f"{self.from_state} → {self.to_state}"
