from django.db import migrations

# See console/switches.py for why this is a function, and why it is VOLATILE: only so does each of its
# statements see the database as it is then, and the second one runs after the lock was granted.
CREATE = """
CREATE FUNCTION console_gate() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1380014168, 1);
    RETURN (
        SELECT coalesce(jsonb_object_agg(name, jsonb_build_object('reason', reason, 'since', changed_at)), '{}')
        FROM console_switches WHERE is_on
    );
END
$$;

INSERT INTO console_switches (name, is_on, reason, changed_by) VALUES
    ('MBT_TRADING_DISABLED', false, '', 'system:release'),
    ('MBT_NEW_ORDERS_DISABLED', false, '', 'system:release');
"""

DROP = """
DROP FUNCTION console_gate();
DELETE FROM console_switches;
"""


class Migration(migrations.Migration):
    dependencies = [("console", "0001_initial")]

    operations = [migrations.RunSQL(CREATE, DROP)]
