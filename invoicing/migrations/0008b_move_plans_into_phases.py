"""What every subscription was on, becomes its one phase."""

from django.db import migrations

FORWARDS = """
    INSERT INTO invoicing_subscriptionphase (subscription_id, plan_version_id, kind, quantity, starts_at, ends_at)
    SELECT id, plan_version_id, 'active', 1, started_at, ended_at FROM invoicing_subscription ORDER BY id;
    INSERT INTO invoicing_historicalsubscriptionphase (id, subscription_id, plan_version_id, kind, quantity, starts_at,
        ends_at, history_date, history_change_reason, history_type, history_user_id)
    SELECT phase.id, phase.subscription_id, phase.plan_version_id, phase.kind, phase.quantity, phase.starts_at,
           started.ended_at, started.history_date, started.history_change_reason, '+', started.history_user_id
      FROM invoicing_subscriptionphase phase
      JOIN invoicing_historicalsubscription started ON started.id = phase.subscription_id AND started.history_type = '+'
"""
BACKWARDS = """
    DO $$ BEGIN
        IF EXISTS (SELECT 1 FROM invoicing_subscriptionphase GROUP BY subscription_id
                   HAVING count(*) > 1 OR max(quantity) > 1 OR max(kind) <> 'active') THEN
            RAISE EXCEPTION 'a subscription has more than one plain phase: that cannot be said in one column';
        END IF;
    END $$;
    UPDATE invoicing_subscription SET plan_version_id = phase.plan_version_id
      FROM invoicing_subscriptionphase phase WHERE phase.subscription_id = invoicing_subscription.id;
    DELETE FROM invoicing_subscriptionphase
"""


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0008_give_subscriptions_phases"),
    ]

    operations = [
        migrations.RunSQL(FORWARDS, BACKWARDS, elidable=True),
    ]
