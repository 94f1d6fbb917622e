"""The books: accounts, journal entries and postings, append-only, balanced, and in an open month: the database sees to it."""

import pgtrigger
from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, fits_currency, money_field, never_truncated, stays
from invoicing.core.posting import INTERCOMPANY
from invoicing.entities.models import LegalEntity


class Account(models.Model):
    """A place in the books that money is in or owed from."""

    class Kind(models.TextChoices):
        ASSET = "asset", "Asset"
        LIABILITY = "liability", "Liability"
        REVENUE = "revenue", "Revenue"
        EXPENSE = "expense", "Expense"

    code = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=20, choices=Kind)

    objects = models.Manager["Account"]()

    class Meta:
        triggers = [stays(noun="account", columns=["code", "kind"])]

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


def has_postings() -> Guard:
    """Return a deferred trigger by which an entry has postings; that they balance was asked as all of them were written (S0-118)."""
    return Guard(
        name="has_postings",
        when=pgtrigger.After,
        operation=pgtrigger.Insert,
        timing=pgtrigger.Deferred,
        func="""
            IF NOT EXISTS (SELECT 1 FROM invoicing_posting WHERE entry_id = NEW.id) THEN
                RAISE EXCEPTION 'journal entry % % does not balance: it has no postings', NEW.kind, NEW.reference
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        """,
    )


class Books(models.Model):
    """From when on the books are open: one row, which follows the months that are closed and is locked by whoever posts or closes.

    A posting shares the lock until it commits, a close takes it alone: no entry slips into a month that is being closed. A row, not an
    advisory lock, so that a transaction which began before the close and sees the books as they were is refused, not believed.
    """

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    open_from = models.DateTimeField(
        null=True, help_text="Midnight (UTC) after the newest closed month; empty: none is closed."
    )

    objects = models.Manager["Books"]()

    class Meta:
        verbose_name_plural = "books"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="books_are_one_row")]
        triggers = [
            never_truncated(noun="the state of the books"),
            Guard(
                name="follow_the_closed_months",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                declare=[("newest", "date")],
                func="""
                    SELECT max(month) INTO newest FROM invoicing_monthclose closed
                     WHERE NOT EXISTS (SELECT 1 FROM invoicing_monthreopening WHERE close_id = closed.id);
                    IF TG_OP = 'DELETE'
                       OR NEW.open_from IS DISTINCT FROM (newest + interval '1 month') AT TIME ZONE 'UTC' THEN
                        RAISE EXCEPTION 'the books are open from after the newest month that is closed, %',
                            coalesce(to_char(newest, 'YYYY-MM'), 'none')
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return "open" if self.open_from is None else f"open from {self.open_from:%Y-%m-%d}"


class JournalEntry(models.Model):
    """One business fact in the books; its postings sum to zero for each legal entity (S0-118). `reference` with `kind` is the idempotency key.

    It is booked when it happened, or, where that month is closed, as the first open month begins: the database says so as it is written.
    """

    class Kind(models.TextChoices):
        ISSUE = "issue", "Invoice issued"
        PAYMENT = "payment", "Payment received"
        PAYMENT_REVERSAL = "payment_reversal", "Payment taken back"
        CREDIT_SALE = "credit_sale", "Credit paid in advance"
        BREAKAGE = "breakage", "Prepaid credit expired"
        REVERSAL = "reversal", "Reversal"
        CREDIT_NOTE = "credit_note", "Credit note issued"
        REFUND = "refund", "Refund paid"
        WRITE_OFF = "write_off", "Written off"
        RECOVERY = "recovery", "Write-off recovered"
        DISPUTE = "dispute", "Disputed payment withdrawn"
        DISPUTE_RETURN = "dispute_return", "Disputed payment given back"
        DISPUTE_LOSS = "dispute_loss", "Dispute lost"
        DISPUTE_FEE = "dispute_fee", "Dispute fee"
        BANK_LINE = "bank_line", "Line of a bank statement"
        BANK_ALLOCATION = "bank_allocation", "Bank line identified"
        BANK_REVERSAL = "bank_reversal", "Bank line unidentified again"
        PAYOUT = "payout", "Payout left Stripe"
        PAYOUT_RETURN = "payout_return", "Payout came back to Stripe"
        STRIPE_FEE = "stripe_fee", "Fee of Stripe"
        EXPLANATION = "explanation", "Transaction of Stripe explained"
        PAID_BACK = "paid_back", "Money on account paid back"
        RECOGNITION = "recognition", "Service paid in advance was served"
        RECOGNITION_END = "recognition_end", "Counted on in the next month"

    kind = models.CharField(max_length=20, choices=Kind)
    reference = models.CharField(
        max_length=200, help_text="What it stands for: an invoice number, a payment reference."
    )
    currency = models.CharField(max_length=3)
    description = models.CharField(max_length=300)
    occurred_at = models.DateTimeField(help_text="When the fact happened (UTC).")
    booked_at = models.DateTimeField(
        db_default=models.Value(None, output_field=models.DateTimeField()),
        editable=False,
        help_text="When it counts in the books (UTC): when it happened, or as the first open month begins.",
    )
    recorded_at = models.DateTimeField(db_default=Now(), help_text="When it was written down (UTC).")
    recorded_in = models.BigIntegerField(
        db_default=models.Func(function="txid_current"),
        editable=False,
        help_text="The transaction that wrote it: only that one may add postings.",
    )

    objects = models.Manager["JournalEntry"]()

    class Meta:
        verbose_name_plural = "journal entries"
        constraints = [models.UniqueConstraint(fields=["kind", "reference"], name="journal_entry_is_made_once")]
        indexes = [
            models.Index(fields=["occurred_at"], name="journal_entry_by_time"),
            models.Index(fields=["booked_at"], name="journal_entry_by_booking"),
            models.Index(
                fields=["kind", "reference"],
                condition=models.Q(booked_at__gt=models.F("occurred_at")),
                name="journal_entry_booked_later",
            ),
        ]
        triggers = [
            *append_only(noun="journal entries"),
            Guard(
                name="is_written_in_its_own_transaction",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NEW.recorded_in <> txid_current() THEN
                        RAISE EXCEPTION 'journal entry % % cannot be kept open for another transaction',
                            NEW.kind, NEW.reference USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="is_booked_in_an_open_month",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("opened", "timestamptz"), ("due", "timestamptz")],
                # The first entry of all makes the row; who posts at the same moment waits for it.
                func="""
                    SELECT open_from INTO opened FROM invoicing_books WHERE id = 1 FOR SHARE;
                    IF NOT FOUND THEN
                        INSERT INTO invoicing_books (id) VALUES (1) ON CONFLICT DO NOTHING;
                        SELECT open_from INTO STRICT opened FROM invoicing_books WHERE id = 1 FOR SHARE;
                    END IF;
                    due := greatest(NEW.occurred_at, opened);
                    NEW.booked_at := coalesce(NEW.booked_at, due);
                    IF NEW.booked_at <> due THEN
                        RAISE EXCEPTION 'journal entry % % is booked at %, not at %: the books are open from %', NEW.kind,
                            NEW.reference, due, NEW.booked_at, coalesce(opened::text, 'ever')
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            has_postings(),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"

    @property
    def is_booked_later(self) -> bool:
        """Say whether its month was closed when it was written, so that it counts in a later one."""
        return self.booked_at > self.occurred_at


class Posting(models.Model):
    """One side of a journal entry in the books of a legal entity: a debit is positive, a credit negative."""

    entry = models.ForeignKey(JournalEntry, on_delete=models.PROTECT, related_name="postings")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="postings")
    # Without an index: there are few entities, and whoever asks for one goes by account, entry or span.
    legal_entity = models.ForeignKey(
        LegalEntity,
        to_field="key",
        db_index=False,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="In whose books it stands.",
    )
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="Debit positive, credit negative.")

    objects = models.Manager["Posting"]()

    class Meta:
        constraints = [fits_currency("amount", name="posting_amount_fits_its_currency")]
        triggers = [
            *append_only(noun="postings"),
            Guard(
                name="written_with_its_entry",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                referencing=pgtrigger.Referencing(new="added"),
                declare=[("wrong", "bigint"), ("unbalanced", "record")],
                # S0-118, asked as the statement ends: a check that somebody can have made early (SET CONSTRAINTS ... IMMEDIATE, by a function that
                # the statement calls, too) does not see what comes after it. An array is looked up by the index, however many there are.
                func=f"""
                    SELECT entry_id INTO wrong FROM added WHERE entry_id NOT IN (
                        SELECT id FROM invoicing_journalentry WHERE id = ANY(ARRAY(SELECT DISTINCT entry_id FROM added))
                           AND recorded_in = txid_current()
                    ) LIMIT 1;
                    IF FOUND THEN
                        RAISE EXCEPTION 'journal entry % is closed: reverse it with a new one', wrong
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    SELECT entry_id INTO wrong FROM invoicing_posting
                     WHERE entry_id = ANY(ARRAY(SELECT DISTINCT entry_id FROM added)) AND id NOT IN (SELECT id FROM added) LIMIT 1;
                    IF FOUND THEN
                        RAISE EXCEPTION 'journal entry % has postings already: all of them are written at once', wrong
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    SELECT entry_id INTO wrong FROM added GROUP BY entry_id HAVING count(*) < 2
                    UNION ALL
                    SELECT entry_id FROM added WHERE (entry_id, currency) NOT IN (
                        SELECT id, currency FROM invoicing_journalentry WHERE id = ANY(ARRAY(SELECT DISTINCT entry_id FROM added))
                    ) LIMIT 1;
                    IF FOUND THEN
                        RAISE EXCEPTION 'journal entry % does not balance: it takes two postings or more, in its currency', wrong
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    SELECT entry_id, sum(amount) AS balance INTO unbalanced FROM added
                     WHERE account_id = (SELECT id FROM invoicing_account WHERE code = '{INTERCOMPANY}')
                     GROUP BY entry_id HAVING sum(amount) <> 0 LIMIT 1;
                    IF FOUND THEN
                        RAISE EXCEPTION 'journal entry % leaves % between legal entities', unbalanced.entry_id, unbalanced.balance
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    SELECT entry_id, legal_entity_id, sum(amount) AS balance INTO unbalanced FROM added
                     GROUP BY entry_id, legal_entity_id HAVING sum(amount) <> 0 ORDER BY entry_id, legal_entity_id LIMIT 1;
                    IF FOUND THEN
                        RAISE EXCEPTION 'journal entry % does not balance for legal entity %: sum %', unbalanced.entry_id,
                            unbalanced.legal_entity_id, unbalanced.balance USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} {self.amount}"
