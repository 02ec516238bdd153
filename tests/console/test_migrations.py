from django.core.management import call_command
from django.db import connection

from tests.conftest import Database


def test_operators_sessions_of_an_older_release_go_with_their_table(fresh_db: Database) -> None:
    def tables() -> set[str]:
        return set(connection.introspection.table_names())

    assert "django_session" not in tables()
    call_command("migrate", "console", "0012", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE django_session (session_key text)")
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('sessions', '0001_initial', now())"
        )
    call_command("migrate", verbosity=0)
    assert "django_session" not in tables()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations WHERE app = 'sessions'")
        assert cursor.fetchone() == (0,)
