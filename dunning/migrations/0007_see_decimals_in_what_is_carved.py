"""Compare carved rows as text, so that no decimal is cut off an amount."""

import billing_site.kernel.guard
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('dunning', '0006_what_paying_late_costs_and_who_is_asked'),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='blockedaddress',
            name='carved_in_stone',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='notice',
            name='carved_in_stone',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='templateversion',
            name='carved_in_stone',
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='blockedaddress',
            trigger=pgtrigger.compiler.Trigger(name='carved_in_stone', sql=billing_site.kernel.guard.GuardSql(func="\n                IF (OLD.lifted_at IS NULL) THEN\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                END IF;\n                IF TG_OP = 'DELETE' THEN\n                    RAISE EXCEPTION 'lifted block % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                -- As text: 12.30 and 12.300 are equal numbers, and two texts to whoever has sealed one of them.\n                IF (to_jsonb(OLD) - ARRAY['']::text[])::text <> (to_jsonb(NEW) - ARRAY['']::text[])::text THEN\n                    RAISE EXCEPTION 'lifted block % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                RETURN NEW;\n            ", hash='43ca98a200112fbf2a34c65867f12bb98539d5b6', operation='UPDATE OR DELETE', pgid='pgtrigger_carved_in_stone_a97fa', table='dunning_blockedaddress', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='notice',
            trigger=pgtrigger.compiler.Trigger(name='carved_in_stone', sql=billing_site.kernel.guard.GuardSql(func="\n                IF (OLD.state NOT IN ('sent', 'not_needed')) THEN\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                END IF;\n                IF TG_OP = 'DELETE' THEN\n                    RAISE EXCEPTION 'notice % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                -- As text: 12.30 and 12.300 are equal numbers, and two texts to whoever has sealed one of them.\n                IF (to_jsonb(OLD) - ARRAY['']::text[])::text <> (to_jsonb(NEW) - ARRAY['']::text[])::text THEN\n                    RAISE EXCEPTION 'notice % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                RETURN NEW;\n            ", hash='100a68751a3f1171d8b0eda800f02eba55e939c9', operation='UPDATE OR DELETE', pgid='pgtrigger_carved_in_stone_62ee2', table='dunning_notice', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='templateversion',
            trigger=pgtrigger.compiler.Trigger(name='carved_in_stone', sql=billing_site.kernel.guard.GuardSql(func="\n                IF (OLD.state IN ('draft', 'asked')) THEN\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                END IF;\n                IF TG_OP = 'DELETE' THEN\n                    RAISE EXCEPTION 'decided template version % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                -- As text: 12.30 and 12.300 are equal numbers, and two texts to whoever has sealed one of them.\n                IF (to_jsonb(OLD) - ARRAY['']::text[])::text <> (to_jsonb(NEW) - ARRAY['']::text[])::text THEN\n                    RAISE EXCEPTION 'decided template version % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                RETURN NEW;\n            ", hash='9d5c3af734eb5be1d6c7473b281f5d3b239ac48e', operation='UPDATE OR DELETE', pgid='pgtrigger_carved_in_stone_01181', table='dunning_templateversion', when='BEFORE')),
        ),
    ]
