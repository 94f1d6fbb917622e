"""What was booked before books were kept for each legal entity is given to the seller of its document's customer, whole; the rest is the first entity's.

Whole, so that each entry still balances: what cash of it another company held, nobody wrote down. A column that no digest of evidence covers yet
is all that changes; with one entity nothing does.
"""

from django.db import migrations

# Kind and reference of each entry that is about a customer.
DOCUMENTS = """
    SELECT 'issue' AS kind, number AS reference, customer_id FROM invoicing_invoice WHERE number IS NOT NULL
    UNION ALL SELECT 'reversal', number, customer_id FROM invoicing_invoice WHERE status = 'void'
    UNION ALL SELECT 'payment', channel || ':' || reference, customer_id FROM invoicing_payment
    UNION ALL SELECT 'payment_reversal', channel || ':' || reference, customer_id FROM invoicing_payment
    UNION ALL SELECT 'credit_note', number, customer_id FROM invoicing_creditnote
    UNION ALL SELECT 'refund', refund.channel || ':' || refund.reference, note.customer_id
                FROM invoicing_refund refund JOIN invoicing_creditnote note ON note.id = refund.note_id
    UNION ALL SELECT 'write_off', given_up.reference, invoice.customer_id
                FROM invoicing_writeoff given_up JOIN invoicing_invoice invoice ON invoice.id = given_up.invoice_id
    UNION ALL SELECT 'recovery', recovery.reference, invoice.customer_id
                FROM invoicing_recovery recovery JOIN invoicing_writeoff given_up ON given_up.id = recovery.write_off_id
                JOIN invoicing_invoice invoice ON invoice.id = given_up.invoice_id
    UNION ALL SELECT 'credit_sale', key, customer_id FROM invoicing_creditgrant
    UNION ALL SELECT 'breakage', credit.key || '/' || entry.sequence, credit.customer_id
                FROM invoicing_creditentry entry JOIN invoicing_creditgrant credit ON credit.id = entry.grant_id WHERE entry.kind = 'expire'
    UNION ALL SELECT CASE movement.kind WHEN 'withdrawn' THEN 'dispute' WHEN 'returned' THEN 'dispute_return' ELSE 'dispute_loss' END,
                     movement.reference, payment.customer_id
                FROM invoicing_disputemovement movement JOIN invoicing_dispute dispute ON dispute.id = movement.dispute_id
                JOIN invoicing_payment payment ON payment.id = dispute.payment_id
               WHERE movement.kind IN ('withdrawn', 'returned', 'lost')
    UNION ALL SELECT told.kind, lot.reference, lot.customer_id FROM invoicing_bankallocation lot, (VALUES ('bank_allocation'), ('bank_reversal')) told (kind)
               WHERE lot.kind = 'on_account'
    UNION ALL SELECT 'paid_back', used.reference, lot.customer_id
                FROM invoicing_accountuse used JOIN invoicing_bankallocation lot ON lot.id = used.allocation_id
"""
GIVEN = f"""
    ALTER TABLE invoicing_posting DISABLE TRIGGER USER;
    UPDATE invoicing_posting posting SET legal_entity_id = customer.legal_entity_id
      FROM ({DOCUMENTS}) document
      JOIN invoicing_customer customer ON customer.id = document.customer_id AND customer.legal_entity_id <> 'main'
      JOIN invoicing_journalentry entry ON entry.kind = document.kind AND entry.reference = document.reference
     WHERE posting.entry_id = entry.id;
    SET CONSTRAINTS ALL IMMEDIATE;
    ALTER TABLE invoicing_posting ENABLE TRIGGER USER;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0092_each_entity_has_its_books"),
    ]

    operations = [
        migrations.RunSQL(GIVEN, migrations.RunSQL.noop, elidable=True),
    ]
