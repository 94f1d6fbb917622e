"""Compare carved rows as text, so that no decimal is cut off a quantity."""

import billing_site.kernel.guard
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('metering', '0017_let_the_application_make_no_temporary_tables'),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='deadletter',
            name='carved_in_stone',
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='deadletter',
            trigger=pgtrigger.compiler.Trigger(name='carved_in_stone', sql=billing_site.kernel.guard.GuardSql(func="\n                IF (FALSE) THEN\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                END IF;\n                IF TG_OP = 'DELETE' THEN\n                    RAISE EXCEPTION 'dead letter % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                -- As text: 12.30 and 12.300 are equal numbers, and two texts to whoever has sealed one of them.\n                IF (to_jsonb(OLD) - ARRAY['outcome', 'settled_at', 'settled_by', 'settlement_reason', 'corrected', 'customer_id', 'idempotency_key']::text[])::text <> (to_jsonb(NEW) - ARRAY['outcome', 'settled_at', 'settled_by', 'settlement_reason', 'corrected', 'customer_id', 'idempotency_key']::text[])::text THEN\n                    RAISE EXCEPTION 'dead letter % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                RETURN NEW;\n            ", hash='995839d09b6c8adbc94651a6e2784a752a4b601e', operation='UPDATE OR DELETE', pgid='pgtrigger_carved_in_stone_d20c9', table='metering_deadletter', when='BEFORE')),
        ),
    ]
