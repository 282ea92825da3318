"""The commands with a journal in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest

from replicate_job import AsyncClient
from replicate_job.journal.postgres_schema import MIGRATIONS
from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command
    from tests.postgres import Postgres

PASSWORD = "s3cret/of: nobody"  # noqa: S105 - of nobody
MODEL = "black-forest-labs/flux-schnell"


@pytest.fixture
def name(postgres: Postgres) -> Iterator[str]:
    name = postgres.empty()
    yield name
    postgres.drop(name)


@pytest.fixture
def url(postgres: Postgres, name: str) -> str:
    folder = postgres.execute("SHOW unix_socket_directories")[0]["unix_socket_directories"]
    return f"postgresql://postgres:{quote(PASSWORD, safe='')}@/{name}?host={quote(folder, safe='')}"


@pytest.fixture
def command(command: Command, url: str, api: ScriptedAPI) -> Command:
    command.environment["REPLICATE_JOB_JOURNAL"] = url
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=0.3, output="done"))
    return command


def rows(postgres: Postgres, name: str) -> list[dict[str, Any]]:
    return postgres.execute("SELECT * FROM replicate_job.jobs ORDER BY seq", database=name)


def test_a_job_in_a_postgresql_journal_is_run_and_shown_and_listed(
    command: Command, postgres: Postgres, name: str, url: str
) -> None:
    said = []
    refused = command("run", MODEL, "prompt=x", "--no-save")
    said.append(refused.error)
    assert refused.code == 3
    assert "has no tables yet: run `replicate-job migrate`" in refused.error
    migrated = command("migrate")
    said.append(migrated.error)
    assert f"version {len(MIGRATIONS)} of the tables, it was 0" in migrated.error
    assert "as before" in command("migrate").error
    done = command("run", MODEL, "prompt=x", "--no-save", "--key", "order-1", "-v")
    assert (done.code, done.response["output"]) == (0, "done")
    shown = command("show", "order-1", "-v")
    assert shown.response["prediction_id"] == done.response["prediction_id"]
    listed = command("list", "--json", "--journal", url)
    assert [job["prediction_id"] for job in listed.json] == [done.response["prediction_id"]]
    again = command("run", MODEL, "prompt=x", "--no-save", "--key", "order-1")
    assert again.response["prediction_id"] == done.response["prediction_id"]
    checked = command("check")
    assert f"journal  postgresql://postgres:***@/{name}?host=" in checked.out.decode()
    assert command("delete", "order-1", "--journal", url).code == 0
    said += [outcome.out.decode() + outcome.err for outcome in (migrated, done, shown, listed, again, checked)]
    assert all("s3cret" not in text for text in said)
    assert "s3cret" not in str(rows(postgres, name))
    assert not list(command.folder.rglob("journal.db"))


@pytest.mark.long
def test_a_batch_of_chains_whose_process_was_killed_creates_every_step_once(
    command: Command, postgres: Postgres, name: str, api: ScriptedAPI
) -> None:
    command("migrate")
    steps = f"""
        [[step]]
        name = "one"
        model = "{MODEL}"
        input = {{ prompt = "{{prompt}}" }}
        [[step]]
        name = "two"
        model = "replicate/hello-world"
        input = {{ text = "{{one.output[0]}}, {{prompt}}" }}
    """
    made = openapi_schema({"prompt": {"type": "string"}}, {"type": "array", "items": {"type": "string"}})
    script = Script(duration=0.2, output=["done"])
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=script, schema=made)
    (command.folder / "chain.toml").write_text(steps)
    (command.folder / "rows.csv").write_text("prompt\n" + "".join(f"picture {line}\n" for line in range(12)))
    words = ["batch", "chain.toml", "rows.csv", "--results", "results.jsonl", "--concurrency", "4"]
    process = command.start(*words)
    api.wait_until(lambda: api.created >= 12)
    process.kill()
    assert command(*words).code == 0
    assert sorted(str(prediction.output) for prediction in api.predictions if prediction.model != MODEL) == sorted(
        f"hello done, picture {line}" for line in range(12)
    )
    assert api.created == 24
    assert Counter(row["chain_step"] for row in rows(postgres, name)) == {"one": 12, "two": 12}


def test_a_job_whose_process_was_killed_is_taken_over(
    command: Command, postgres: Postgres, name: str, api: ScriptedAPI
) -> None:
    """Only the lease shows that the process is gone, as it would be seen from another machine."""
    command("migrate")
    job = ["run", MODEL, "prompt=x", "--no-save", "--key", "order-1"]
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(duration=2, output="done"))
    first = command.start(*job)
    api.wait_until(lambda: bool(api.predictions))
    first.kill()
    second = command.start("resume")
    assert "is being run by process" in second.line()
    postgres.execute("UPDATE replicate_job.holders SET lease_until = 0", database=name)  # its 15 s go by
    assert second.end().code == 0
    assert command(*job).response["output"] == "done"
    assert len(api.predictions) == 1


def test_a_batch_stores_its_command_without_the_password(
    command: Command, postgres: Postgres, name: str, url: str
) -> None:
    command("migrate")
    (command.folder / "rows.csv").write_text("prompt\na\nb\n", encoding="utf-8")
    done = command("batch", MODEL, "rows.csv", "--no-save", "--results", "rows.jsonl", "--journal", url)
    assert done.code == 0, done.err
    stored = postgres.execute("SELECT command FROM replicate_job.batches", database=name)[0]["command"]
    assert "***" in stored
    assert "s3cret" not in stored + done.err + done.out.decode()
    assert all("s3cret" not in path.read_text(errors="replace") for path in command.folder.glob("rows*"))


def test_the_databases_address_is_read_from_a_file_and_its_password_from_libpqs_password_file(
    command: Command, url: str
) -> None:
    secret, passwords = command.folder / "journal-url", command.folder / "pgpass"
    secret.write_text(f"{url}\n", encoding="utf-8")
    passwords.write_text(f"*:*:*:*:{PASSWORD.replace(':', chr(92) + ':')}\n", encoding="utf-8")
    passwords.chmod(0o600)
    environment = {"REPLICATE_JOB_JOURNAL": "", "REPLICATE_JOB_JOURNAL_FILE": str(secret), "PGPASSFILE": str(passwords)}
    assert command("migrate", env=environment).code == 0
    assert "no jobs yet" in command("list", env=environment).err


async def test_clients_of_several_processes_share_their_keys(
    command: Command, postgres: Postgres, name: str, url: str, api: ScriptedAPI
) -> None:
    command("migrate")
    options: Any = {"token": api.token, "base_url": api.base_url, "journal": url}
    async with AsyncClient(**options) as one, AsyncClient(**options) as other:
        calls = [client.run(MODEL, {"prompt": "x"}, key=f"order-{n}") for n in range(5) for client in (one, other)]
        results = await asyncio.gather(*calls)
    assert len({result.prediction_id for result in results}) == len(api.predictions) == 5
    assert postgres.execute("SELECT * FROM replicate_job.holders", database=name) == []


@pytest.mark.replicate_api(faults="create:drop-after=0.2", list_lag=0.3)
def test_the_prediction_of_each_list_element_is_created_once(
    api: ScriptedAPI, command: Command, postgres: Postgres, name: str
) -> None:
    command("migrate")
    words = openapi_schema({"n": {"type": "integer"}}, {"type": "array", "items": {"type": "string"}})
    script = Script(duration=0.1, output=["a", "b", "c"])
    api.models["acme/words"] = ScriptedModel(name="acme/words", script=script, schema=words)
    hello = 'name = "greet"\nmodel = "replicate/hello-world"\nfor_each = "{name.output}"\ninput = { text = "{each}" }\n'
    steps = f'[[step]]\nname = "name"\nmodel = "acme/words"\ninput = {{ n = "{{n}}" }}\n[[step]]\n{hello}'
    (command.folder / "chain.toml").write_text(steps)
    (command.folder / "rows.csv").write_text("n\n" + "".join(f"{number}\n" for number in range(5)))
    own = ["batch", "chain.toml", "rows.csv", "--results", "results.jsonl"]
    process = command.start(*own)
    api.wait_until(lambda: api.created >= 8, seconds=60)
    process.kill()
    assert command(*own).code == 0
    assert api.created == 5 * 4
    calls = ("name", "greet[0]", "greet[1]", "greet[2]")
    assert Counter(row["chain_step"] for row in rows(postgres, name)) == dict.fromkeys(calls, 5)
