"""Who sells: the legal entities of the house, each with prefixes of its own for the numbers of its documents."""

import pgtrigger
from django.db import models
from django.db.models import Q

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import never_truncated
from invoicing.entities.logo import SellerLogo

# The key of the entity that is made of the settings; who says no other means it.
FIRST = "main"
KEY = r"^[a-z0-9][a-z0-9_-]{0,29}$"
# It stands in addresses and names of files, before the year and the number: INV-2026-00001.
PREFIX = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,24}$"
PREFIX_LOCK = 7_402


class LegalEntity(models.Model):
    """A company that sells. Invoices and credit notes copy what it is called when they are issued, and are numbered under its prefixes."""

    key = models.CharField(
        max_length=30, unique=True, help_text="As customers and requests name it: acme-us. It stays."
    )
    name = models.CharField(max_length=300, help_text="The legal name, as it stands on documents.")
    address = models.TextField(blank=True)
    email = models.EmailField(blank=True)
    tax_id = models.CharField(
        max_length=50, blank=True, help_text="Printed where it is not registered for tax at home under a number."
    )
    registration = models.CharField(
        max_length=300,
        blank=True,
        help_text="What the law asks for on documents: commercial register, managing directors.",
    )
    bank = models.TextField(blank=True, help_text="Where transfers go.")
    logo = models.ForeignKey(
        SellerLogo, to_field="digest", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    invoice_prefix = models.CharField(
        max_length=25, help_text="INV-2026-00001 begins with INV. It stays as soon as a document is issued."
    )
    credit_note_prefix = models.CharField(max_length=25, help_text="CN-2026-00001 begins with CN. It stays, too.")
    history = tracked()

    objects = models.Manager["LegalEntity"]()

    class Meta:
        verbose_name_plural = "legal entities"
        constraints = [
            models.CheckConstraint(condition=Q(key__regex=KEY), name="legal_entity_key_is_a_word"),
            models.CheckConstraint(condition=~Q(name=""), name="legal_entity_has_a_name"),
            models.CheckConstraint(
                condition=Q(invoice_prefix__regex=PREFIX, credit_note_prefix__regex=PREFIX),
                name="legal_entity_prefix_can_begin_a_number",
            ),
        ]
        triggers = [
            Guard(
                name="keeps_its_prefixes",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                # Two columns hold one set of prefixes, which no unique constraint can say: the lock lets one look after the other.
                # Series of before there were several entities may have begun with something else.
                func=f"""
                    IF TG_OP = 'DELETE' THEN
                        RAISE EXCEPTION 'legal entity % is kept', OLD.key USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF TG_OP = 'UPDATE' THEN
                        IF (OLD.id, OLD.key) <> (NEW.id, NEW.key) THEN
                            RAISE EXCEPTION 'the key of legal entity % stays', OLD.key
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                        IF (OLD.invoice_prefix, OLD.credit_note_prefix) = (NEW.invoice_prefix, NEW.credit_note_prefix) THEN
                            RETURN NEW;
                        END IF;
                        IF EXISTS (SELECT 1 FROM invoicing_invoiceseries WHERE legal_entity_id = OLD.key) THEN
                            RAISE EXCEPTION 'legal entity % has issued under its prefixes', OLD.key
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                    END IF;
                    PERFORM pg_advisory_xact_lock({PREFIX_LOCK});
                    IF upper(NEW.invoice_prefix) = upper(NEW.credit_note_prefix) OR EXISTS (
                        SELECT 1 FROM invoicing_legalentity other WHERE other.key <> NEW.key
                           AND ARRAY[upper(other.invoice_prefix), upper(other.credit_note_prefix)]
                            && ARRAY[upper(NEW.invoice_prefix), upper(NEW.credit_note_prefix)]
                    ) OR EXISTS (
                        SELECT 1 FROM invoicing_invoiceseries WHERE legal_entity_id <> NEW.key
                           AND upper(left(prefix, -5)) IN (upper(NEW.invoice_prefix), upper(NEW.credit_note_prefix))
                    ) THEN
                        RAISE EXCEPTION 'a prefix of legal entity % is taken', NEW.key
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            never_truncated(noun="legal entities"),
        ]

    def __str__(self) -> str:
        return self.name


def of_entity(*, related_name: str = "+", help_text: str = "") -> "models.ForeignKey[LegalEntity, LegalEntity]":
    """Return the column that names a legal entity by its key; where nobody says another one it is the first."""
    return models.ForeignKey(
        LegalEntity,
        to_field="key",
        default=FIRST,
        db_default=models.Value(FIRST),
        on_delete=models.PROTECT,
        related_name=related_name,
        help_text=help_text,
    )
