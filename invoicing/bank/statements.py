"""Bank statements as they were imported: files, statements and lines, append-only, each line once for ever."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.model import amount_field, append_only, fits_currency, money_field
from invoicing.entities.models import of_entity


class BankAccount(models.Model):
    """An account of one of our legal entities at a bank, in one currency; made by its first statement."""

    identifier = models.CharField(max_length=50, help_text="Its IBAN, or what its bank calls it.")
    currency = models.CharField(max_length=3)
    legal_entity = of_entity(help_text="Whose account it is: its lines stand in the books of that company.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["BankAccount"]()

    class Meta:
        verbose_name = "bank account"
        constraints = [
            models.UniqueConstraint(fields=["identifier", "currency"], name="bank_account_is_one"),
            models.CheckConstraint(condition=~Q(identifier=""), name="bank_account_has_a_name"),
        ]
        triggers = [*append_only(noun="bank accounts")]

    @property
    def holder_key(self) -> str:
        """The key of the legal entity whose account it is."""
        return str(self.legal_entity_id)

    def __str__(self) -> str:
        return f"{self.identifier} {self.currency}"


class BankFile(models.Model):
    """A file as it was imported: the same bytes once."""

    class Format(models.TextChoices):
        CAMT053 = "camt053", "CAMT.053"
        CSV = "csv", "CSV"

    name = models.CharField(max_length=200)
    format = models.CharField(max_length=10, choices=Format)
    layout = models.JSONField(default=dict, help_text="How a CSV was read; empty for CAMT.053.")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the file.")
    content = models.BinaryField(editable=False)
    imported_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=200)

    objects = models.Manager["BankFile"]()

    class Meta:
        verbose_name = "bank file"
        constraints = [
            models.CheckConstraint(condition=~Q(actor=""), name="bank_file_is_imported_by_somebody"),
            models.CheckConstraint(condition=Q(digest__regex="^[0-9a-f]{64}$"), name="bank_file_has_its_digest"),
        ]
        triggers = append_only(noun="bank files")

    def __str__(self) -> str:
        return self.name


class BankStatement(models.Model):
    """What a file says about one account; lines that were here already are counted, not repeated."""

    file = models.ForeignKey(BankFile, on_delete=models.PROTECT, related_name="statements")
    account = models.ForeignKey(BankAccount, on_delete=models.PROTECT, related_name="statements")
    position = models.PositiveIntegerField(help_text="Its place in the file.")
    number = models.CharField(max_length=100, blank=True, help_text="What the bank calls it.")
    currency = models.CharField(max_length=3)
    from_date = models.DateField()
    to_date = models.DateField()
    opening = amount_field(null=True, help_text="The booked balance before it; empty where the file states none.")
    closing = amount_field(null=True)
    line_count = models.PositiveIntegerField(help_text="Its booked lines, those included that were here already.")
    known_count = models.PositiveIntegerField(help_text="How many of them were here already.")
    counted_from = models.JSONField(
        default=dict, help_text="How many lines that are equal to one of it stand on the pages before it, by content."
    )
    remarks = models.JSONField(default=list, help_text="What of it was left out, and why.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["BankStatement"]()

    class Meta:
        verbose_name = "bank statement"
        constraints = [
            models.UniqueConstraint(fields=["file", "position"], name="bank_statement_has_a_place_in_its_file"),
            models.CheckConstraint(condition=Q(from_date__lte=models.F("to_date")), name="bank_statement_spans_days"),
            models.CheckConstraint(
                condition=Q(opening__isnull=True, closing__isnull=True)
                | Q(opening__isnull=False, closing__isnull=False),
                name="bank_statement_has_both_balances_or_none",
            ),
            models.CheckConstraint(
                condition=Q(known_count__lte=models.F("line_count")), name="bank_statement_counts_its_lines"
            ),
            fits_currency("opening", "closing", name="bank_statement_balances_fit_their_currency"),
        ]
        triggers = append_only(noun="bank statements")

    def __str__(self) -> str:
        return f"{self.number or self.from_date} of {self.account}"


class BankLine(models.Model):
    """One booked movement of an account, once for ever: what came in is positive. `reference` names its journal entry."""

    statement = models.ForeignKey(BankStatement, on_delete=models.PROTECT, related_name="lines")
    account = models.ForeignKey(BankAccount, on_delete=models.PROTECT, related_name="lines")
    reference = models.CharField(max_length=40, unique=True, help_text="BL-000123-4f0a9c1d22")
    identity = models.CharField(
        max_length=64, help_text="Digest of what tells it from every other line of its account."
    )
    place = models.CharField(max_length=100, help_text="Where it stands in the file.")
    booked_on = models.DateField()
    value_on = models.DateField(null=True, blank=True)
    booked_at = models.DateTimeField(
        help_text="When it counts in the books: noon (UTC) of its day, or when it was imported."
    )
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="In is positive, out is negative.")
    bank_reference = models.CharField(max_length=200, blank=True)
    end_to_end_id = models.CharField(max_length=200, blank=True)
    structured_reference = models.CharField(max_length=200, blank=True)
    name = models.CharField(max_length=200, blank=True, help_text="The other party.")
    iban = models.CharField(max_length=50, blank=True, help_text="The account of the other party.")
    text = models.TextField(blank=True)
    is_reversal = models.BooleanField(default=False)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["BankLine"]()

    class Meta:
        verbose_name = "bank line"
        constraints = [
            models.UniqueConstraint(fields=["account", "identity"], name="bank_line_is_imported_once"),
            models.CheckConstraint(condition=~Q(amount=0), name="bank_line_moves_something"),
            fits_currency("amount", name="bank_line_fits_its_currency"),
        ]
        indexes = [
            models.Index(fields=["iban"], name="bank_line_by_payer"),
            models.Index(fields=["account", "booked_on"], name="bank_line_by_day"),
        ]
        triggers = append_only(noun="bank lines")

    def __str__(self) -> str:
        return self.reference
