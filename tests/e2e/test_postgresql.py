"""The platform with its relational data in PostgreSQL."""

from pathlib import Path

import psycopg
import pytest

from tests.support.platform import running_platform
from tests.support.postgres import database, running_postgres
from tests.support.sink import running_sink

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_mail_is_sent_once_by_keys_that_postgresql_holds(tmp_path: Path):
    with (
        running_postgres() as server,
        database(server) as url,
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data",
            {"DATABASE_URL": url, "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}"},
        ) as platform,
    ):
        mail = {"from": "a@acme.test", "to": "ada@d.sink.test", "subject": "Hi", "text": "Hello"}
        answers = []
        for _ in range(2):
            answer = platform.api.post("/v1/emails", json=mail, headers={"Idempotency-Key": "one"})
            assert answer.status_code == 202, answer.text
            answers.append(answer.json()["id"])
            platform.wait_for_step(answers[0], "delivered")
        assert answers[0] == answers[1]
        assert [entry["id"] for entry in sink.index()] == [answers[0]]
        assert not (platform.data_dir / "sealwax.db").exists()
        with psycopg.connect(url) as connection:
            claims = connection.execute("SELECT claim FROM claims ORDER BY claim").fetchall()
        assert claims == [(f"id:{answers[0]}",), ("idem:default:one",)]
