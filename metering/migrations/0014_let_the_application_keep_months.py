"""Let a role that owns no table make the months of events and drop those that are archived, through functions of the owner."""

from django.db import migrations

# A definer's function looks names up where its owner says, temporary tables of the caller's last.
FUNCTIONS = """
    CREATE FUNCTION metering_lock_events() RETURNS void AS $$
    BEGIN
        LOCK TABLE ONLY metering_usageevent IN ACCESS EXCLUSIVE MODE;
    END;
    $$ LANGUAGE plpgsql SECURITY DEFINER;

    -- Drop the month of a partition that is closed, whose keys are remembered and whose events lie in archives.
    CREATE FUNCTION metering_drop_month(leaf text) RETURNS void AS $$
    DECLARE
        month timestamptz := to_timestamp(substring(leaf FROM '^metering_usageevent_y(\\d{4}m\\d{2})$') || ' +00', 'YYYY"m"MM TZH');
        held bigint[];
        archived bigint[];
    BEGIN
        IF month IS NULL OR NOT EXISTS (
            SELECT FROM pg_inherits WHERE inhrelid = to_regclass(leaf) AND inhparent = 'metering_usageevent'::regclass
        ) THEN
            RAISE EXCEPTION '% is no month of usage events', leaf USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF NOT EXISTS (SELECT FROM metering_keyhorizon WHERE consolidated_before >= month + interval '1 month') THEN
            RAISE EXCEPTION '% is not closed', leaf USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        EXECUTE format('SELECT ARRAY[min(id), max(id)] FROM %I', leaf) INTO held;
        SELECT ARRAY[min(first_number), max(last_number)] INTO archived FROM metering_eventarchive
         WHERE day >= (month AT TIME ZONE 'UTC')::date AND day < ((month + interval '1 month') AT TIME ZONE 'UTC')::date;
        IF held IS DISTINCT FROM archived THEN
            RAISE EXCEPTION '% is not archived as a whole', leaf USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        EXECUTE format('ALTER TABLE metering_usageevent DETACH PARTITION %I', leaf);
        EXECUTE format('DROP TABLE %I', leaf);
    END;
    $$ LANGUAGE plpgsql SECURITY DEFINER SET timezone = 'UTC';

    ALTER FUNCTION metering_make_month(timestamptz) SECURITY DEFINER;
    REVOKE EXECUTE ON FUNCTION metering_attach_month(timestamptz) FROM PUBLIC;
    DO $$
    DECLARE
        name text;
    BEGIN
        FOREACH name IN ARRAY '{metering_lock_events(),metering_drop_month(text),metering_make_month(timestamptz)}'::text[]
        LOOP
            EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
        END LOOP;
    END;
    $$;
"""

BACK = """
    ALTER FUNCTION metering_make_month(timestamptz) SECURITY INVOKER;
    ALTER FUNCTION metering_make_month(timestamptz) RESET search_path;
    GRANT EXECUTE ON FUNCTION metering_attach_month(timestamptz) TO PUBLIC;
    DROP FUNCTION metering_drop_month(text);
    DROP FUNCTION metering_lock_events();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('metering', '0013_find_windows_by_customer_not_by_meter'),
    ]

    operations = [
        migrations.RunSQL(FUNCTIONS, BACK),
    ]
