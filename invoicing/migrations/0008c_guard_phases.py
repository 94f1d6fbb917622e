"""Plans stand in phases only, which cover their subscription and keep what is invoiced."""

import billing_site.kernel.guard
import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0008b_move_plans_into_phases"),
    ]

    operations = [
        migrations.RemoveField(
            model_name='historicalsubscription',
            name='plan_version',
        ),
        migrations.RemoveField(
            model_name='subscription',
            name='plan_version',
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='subscription',
            trigger=pgtrigger.compiler.Trigger(name='stays_what_it_is', sql=billing_site.kernel.guard.GuardSql(func="\n            IF (OLD.id, OLD.key, OLD.customer_id, OLD.anchor, OLD.started_at) IS DISTINCT FROM (NEW.id, NEW.key, NEW.customer_id, NEW.anchor, NEW.started_at) THEN\n                RAISE EXCEPTION 'key, customer_id, anchor, started_at of subscription % cannot be changed', OLD.id\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n            RETURN NEW;\n        ", hash='428dfeea6a365df38a76b901c9744cca10252f39', operation='UPDATE', pgid='pgtrigger_stays_what_it_is_2fd47', table='invoicing_subscription', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='subscription',
            trigger=pgtrigger.compiler.Trigger(name='phases_cover_the_subscription', sql=billing_site.kernel.guard.GuardSql(constraint='CONSTRAINT', declare='DECLARE subject bigint; whole record; covered record;', func="\n            subject := NEW.id;\n            SELECT started_at, ended_at INTO whole FROM invoicing_subscription WHERE id = subject;\n            IF NOT FOUND THEN RETURN NULL; END IF;\n            SELECT min(starts_at) AS starts_at,\n                   nullif(max(coalesce(ends_at, 'infinity')), 'infinity') AS ends_at,\n                   count(*) FILTER (WHERE before IS NOT NULL AND before <> starts_at) AS gaps\n              INTO covered\n              FROM (SELECT starts_at, ends_at, lag(coalesce(ends_at, 'infinity')) OVER (ORDER BY starts_at) AS before\n                      FROM invoicing_subscriptionphase WHERE subscription_id = subject) phases;\n            IF covered.gaps <> 0 OR (covered.starts_at, covered.ends_at)\n               IS DISTINCT FROM (whole.started_at, whole.ended_at)\n            THEN\n                RAISE EXCEPTION 'the phases of subscription % do not cover it', subject\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n            RETURN NULL;\n        ", hash='c55f403be752b75d85c9ffa4c17c80765b4f95a2', operation='INSERT OR UPDATE', pgid='pgtrigger_phases_cover_the_subscription_c9d72', table='invoicing_subscription', timing='DEFERRABLE INITIALLY DEFERRED', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='subscriptionphase',
            trigger=pgtrigger.compiler.Trigger(name='stays_what_it_is', sql=billing_site.kernel.guard.GuardSql(func="\n            IF (OLD.id, OLD.subscription_id, OLD.starts_at) IS DISTINCT FROM (NEW.id, NEW.subscription_id, NEW.starts_at) THEN\n                RAISE EXCEPTION 'subscription_id, starts_at of phase % cannot be changed', OLD.id\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n            RETURN NEW;\n        ", hash='0378d472e53075f3904d161641e871e744391773', operation='UPDATE', pgid='pgtrigger_stays_what_it_is_3f690', table='invoicing_subscriptionphase', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='subscriptionphase',
            trigger=pgtrigger.compiler.Trigger(name='phases_cover_the_subscription', sql=billing_site.kernel.guard.GuardSql(constraint='CONSTRAINT', declare='DECLARE subject bigint; whole record; covered record;', func="\n            subject := CASE TG_OP WHEN 'DELETE' THEN OLD.subscription_id ELSE NEW.subscription_id END;\n            SELECT started_at, ended_at INTO whole FROM invoicing_subscription WHERE id = subject;\n            IF NOT FOUND THEN RETURN NULL; END IF;\n            SELECT min(starts_at) AS starts_at,\n                   nullif(max(coalesce(ends_at, 'infinity')), 'infinity') AS ends_at,\n                   count(*) FILTER (WHERE before IS NOT NULL AND before <> starts_at) AS gaps\n              INTO covered\n              FROM (SELECT starts_at, ends_at, lag(coalesce(ends_at, 'infinity')) OVER (ORDER BY starts_at) AS before\n                      FROM invoicing_subscriptionphase WHERE subscription_id = subject) phases;\n            IF covered.gaps <> 0 OR (covered.starts_at, covered.ends_at)\n               IS DISTINCT FROM (whole.started_at, whole.ended_at)\n            THEN\n                RAISE EXCEPTION 'the phases of subscription % do not cover it', subject\n                    USING ERRCODE = 'integrity_constraint_violation';\n            END IF;\n            RETURN NULL;\n        ", hash='63a08ca1defbd87169ae68192d6c8d18ebb0a28b', operation='INSERT OR UPDATE OR DELETE', pgid='pgtrigger_phases_cover_the_subscription_6a72c', table='invoicing_subscriptionphase', timing='DEFERRABLE INITIALLY DEFERRED', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='subscriptionphase',
            trigger=pgtrigger.compiler.Trigger(name='keeps_what_is_invoiced', sql=billing_site.kernel.guard.GuardSql(declare='DECLARE phase invoicing_subscriptionphase%ROWTYPE; until timestamptz;', func="\n                    IF TG_OP = 'INSERT' THEN phase := NEW; ELSE phase := OLD; END IF;\n                    PERFORM 1 FROM invoicing_subscription WHERE id = phase.subscription_id FOR NO KEY UPDATE;\n                    SELECT max(line.service_end) INTO until FROM invoicing_invoiceline line\n                      JOIN invoicing_invoice invoice ON invoice.id = line.invoice_id\n                     WHERE line.subscription_id = phase.subscription_id AND invoice.status NOT IN ('draft', 'void');\n                    IF until IS NULL OR phase.starts_at >= until THEN\n                        NULL;\n                    ELSIF TG_OP = 'UPDATE' AND to_jsonb(OLD) - 'ends_at' = to_jsonb(NEW) - 'ends_at'\n                          AND (OLD.ends_at IS NOT DISTINCT FROM NEW.ends_at\n                               OR least(coalesce(OLD.ends_at, 'infinity'), coalesce(NEW.ends_at, 'infinity')) >= until)\n                    THEN\n                        NULL;\n                    ELSE\n                        RAISE EXCEPTION 'phases of subscription % are invoiced until %', phase.subscription_id, until\n                            USING ERRCODE = 'integrity_constraint_violation';\n                    END IF;\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                ", hash='a6672ddc761f7d714b397fd8b9fd4b42e77e9222', operation='INSERT OR UPDATE OR DELETE', pgid='pgtrigger_keeps_what_is_invoiced_83cbc', table='invoicing_subscriptionphase', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='subscriptionphase',
            trigger=pgtrigger.compiler.Trigger(name='never_truncated', sql=billing_site.kernel.guard.GuardSql(func="RAISE EXCEPTION 'phases of subscriptions cannot be truncated' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;", hash='d00ef0eb2de83f3dfa149d479212639b4c696393', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_never_truncated_511bf', table='invoicing_subscriptionphase', when='BEFORE')),
        ),
    ]
