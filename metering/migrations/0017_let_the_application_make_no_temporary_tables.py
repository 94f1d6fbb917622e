"""Make the one temporary table that the worker needs by a function of the owner: who makes any stands them in the place of ours before the guards."""

from django.db import migrations

FUNCTION = """
    CREATE FUNCTION metering_make_contribution() RETURNS void AS $$
    BEGIN
        DROP TABLE IF EXISTS pg_temp.metering_contribution;
        CREATE TEMPORARY TABLE metering_contribution (
            meter_id bigint, customer_id text, start timestamptz, grouping text, value numeric, event_count bigint
        ) ON COMMIT DROP;
        -- Nobody else sees the temporary tables of a session.
        GRANT SELECT, INSERT ON pg_temp.metering_contribution TO PUBLIC;
    END;
    $$ LANGUAGE plpgsql SECURITY DEFINER SET client_min_messages = 'warning';

    DO $$
    BEGIN
        EXECUTE format('ALTER FUNCTION metering_make_contribution() SET search_path = %I, pg_temp', current_schema());
    END;
    $$;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('metering', '0016_find_events_in_no_window_by_time'),
    ]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION metering_make_contribution()"),
    ]
