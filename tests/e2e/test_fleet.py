"""The commands of a fleet, with workers as processes of their own."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import msgspec
import pytest
from tests.e2e import fleet_chains
from tests.e2e.fleet import FAULTS, SDXL, Fleet, drill, fleet_of
from tests.postgres import start

from replicate_job.journal.postgres_submission import HELD
from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command
    from tests.postgres import Postgres


FLUX = "black-forest-labs/flux-schnell"


@pytest.fixture
def fleet(command: Command, postgres: Postgres, api: ScriptedAPI) -> Iterator[Fleet]:
    with fleet_of(command, postgres, api) as fleet:
        yield fleet


def pictures(number: int) -> list[str]:
    return [f"picture {line}" for line in range(number)]


def test_a_batch_is_submitted_and_run_by_workers_and_its_results_are_read(fleet: Fleet) -> None:
    prompts = pictures(45)
    batch = fleet.submit(prompts, "--rate", "none")
    waiting = fleet.command("status", batch, "--json").json
    assert (waiting["rows"], waiting["waiting"], waiting["workers"]) == (45, 45, [])
    assert fleet.command("worker", "--check").code == 1
    fleet.start(2, "--health-port", "0")
    assert fleet.command("worker", "--check").code == 0
    told = "".join(fleet.workers[0].line() for _ in range(2))
    origin = re.search(r"(http://127.0.0.1:\d+)/healthz", told)
    assert origin, told
    with urlopen(f"{origin[1]}/healthz") as answer:  # noqa: S310 - loopback
        assert answer.status == 200
    fleet.wait(lambda: fleet.states() == {"collected": 45})
    fleet.check(prompts)
    shown = fleet.command("status").out.decode()
    assert "45 rows: 45 succeeded" in shown
    for worker in fleet.workers:
        worker.signal(signal.SIGTERM)
    assert [worker.end().code for worker in fleet.workers] == [0, 0]
    assert fleet.query("SELECT * FROM replicate_job.workers") == []


def test_the_liveness_probe_passes_while_the_database_is_unreachable(fleet: Fleet) -> None:
    """A restart would not help, so a liveness probe must not fail because of the database."""
    fleet.start(1)
    fleet.postgres.execute(f"ALTER DATABASE {fleet.name} ALLOW_CONNECTIONS false")
    fleet.postgres.cut(fleet.name)
    done = fleet.command("worker", "--check")
    assert done.code == 0, done.err
    assert f"process {fleet.workers[0].pid} was seen" in done.err
    assert "workers wait until the database is back" in done.err
    fleet.workers[0].kill()
    fleet.wait(lambda: fleet.command("worker", "--check").code == 3, 60)  # once its last sign is old
    fleet.postgres.execute(f"ALTER DATABASE {fleet.name} ALLOW_CONNECTIONS true")
    assert fleet.command("worker", "--check").code in {0, 1}


def test_a_rate_limit_below_the_configured_rate_of_the_fleet_causes_few_429s(fleet: Fleet, api: ScriptedAPI) -> None:
    api.faults.limit(rate=5, burst=10)
    fleet.start(2)
    prompts = pictures(60)
    fleet.submit(prompts, "--rate", "600/min")
    fleet.wait(lambda: fleet.states() == {"collected": 60})
    fleet.check(prompts)
    assert api.faults.throttled <= 5


def test_a_submit_that_is_killed_halfway_starts_nothing(fleet: Fleet, api: ScriptedAPI) -> None:
    rows = b"".join(b'{"prompt": "picture %d"}\n' % number for number in range(2 * HELD))
    sending = fleet.command.start("batch", SDXL, "-", "--fleet", "--detach", "--rate", "none")
    sending.send(rows)
    fleet.wait(lambda: fleet.query("SELECT 1 AS n FROM replicate_job.batch_rows LIMIT 1"))
    sending.kill()
    fleet.start(1)
    fleet.submit(pictures(3), "--rate", "none")
    fleet.wait(lambda: fleet.states()["collected"] == 3)
    assert api.created == 3
    assert "3 rows: 3 succeeded" in fleet.command("status").out.decode()
    assert fleet.command("list").err.count("batch of") == 1


def test_a_batch_is_followed_to_its_end_and_its_exit_code(fleet: Fleet) -> None:
    (fleet.command.folder / "two.jsonl").write_text('{"prompt": "a"}\n{"prompt": 5}\n', encoding="utf-8")
    following = fleet.command.start("batch", SDXL, "two.jsonl", "--fleet", "--no-save")
    fleet.start(1)
    done = following.end()
    assert done.code == 1
    batch = done.out.decode().strip()
    assert f"2 rows: 1 succeeded, 0 failed, 1 wrong; `replicate-job results {batch}` writes them" in done.err
    told = fleet.command("results", batch, "--follow")
    assert [line.split(b'"status":')[1][:8] for line in told.out.splitlines()] == [b'"succeed', b'"error",']


def test_submitting_a_batch_prints_a_message_if_no_worker_is_alive(fleet: Fleet) -> None:
    (fleet.command.folder / "one.jsonl").write_text('{"prompt": "a"}\n', encoding="utf-8")
    words = ["batch", SDXL, "one.jsonl", "--fleet", "--no-save"]
    waits = "no worker is alive: unfinished rows wait for one, `replicate-job worker`"
    assert fleet.command(*words, "--detach").error == waits
    assert fleet.command(*words, "--detach", "--quiet").err == ""
    following = fleet.command.start(*words)
    lines = iter(following.line, "")
    assert f"{waits}\n" in lines
    fleet.start(1)
    assert following.end().code == 0
    assert fleet.command(*words, "--detach").err == ""


def test_a_batch_that_stops_at_its_limit_suggests_a_larger_one(fleet: Fleet) -> None:
    (fleet.command.folder / "rows.csv").write_text("prompt\na\nb\nc\n", encoding="utf-8")
    words = ["batch", SDXL, "rows.csv", "--fleet", "--no-save", "--price", "0.01/run", "--max-cost"]
    following = fleet.command.start(*words, "0.02")
    fleet.start(1)
    done = following.end()
    assert done.code == 5
    assert "1 still to run: the same command with a larger --max-cost goes on with them" in done.err
    told = fleet.command("results", done.out.decode().strip(), "--follow")
    assert (told.code, told.out.count(b"\n")) == (0, 2)
    assert "1 row of 3 not over yet; the batch is stopped: $0.02 are spent" in told.error
    worker = fleet.workers.pop()
    worker.signal(signal.SIGTERM)
    worker.end()
    assert "0 workers alive\n" in fleet.command("status").out.decode()  # none would create more
    fleet.start(1)
    assert fleet.command(*words, "0.03").code == 0


def test_following_a_batch_ends_when_the_batch_is_canceled(fleet: Fleet) -> None:
    (fleet.command.folder / "rows.csv").write_text("prompt\na\nb\n", encoding="utf-8")
    following = fleet.command.start("batch", SDXL, "rows.csv", "--fleet", "--no-save")
    fleet.wait(lambda: fleet.states() == {"none": 2})
    batch = fleet.query("SELECT id FROM replicate_job.batches")[0]["id"]
    canceled = fleet.command("cancel", batch)
    assert (canceled.code, canceled.error) == (0, "2 rows will not be created")
    assert following.end().code == 4
    wrong = fleet.command("cancel", "no-such", "--running")
    assert (wrong.code, "there is none named 'no-such'" in wrong.error) == (2, True)


def test_the_last_worker_reports_running_predictions_and_the_next_one_collects_them(
    fleet: Fleet, api: ScriptedAPI
) -> None:
    api.models[FLUX] = msgspec.structs.replace(api.models[FLUX], script=Script(duration=3, output="done"))
    (fleet.command.folder / "rows.csv").write_text("prompt\na\nb\nc\n", encoding="utf-8")
    fleet.start(2)
    done = fleet.command("batch", FLUX, "rows.csv", "--fleet", "--detach", "--no-save", "--rate", "none")
    fleet.batch = done.out.decode().strip()
    fleet.wait(lambda: fleet.states() == {"created": 3})
    for worker in fleet.workers:
        worker.signal(signal.SIGTERM)
    told = [worker.end() for worker in fleet.workers]
    assert [outcome.code for outcome in told] == [0, 0]
    left = "3 predictions left to the next worker, as no other is alive: nothing of them is lost\n"
    assert sum(outcome.err.endswith(left) for outcome in told) >= 1
    assert "no worker is alive" in fleet.command("results", fleet.batch).err
    fleet.workers = []
    fleet.start(1)
    fleet.wait(lambda: fleet.states() == {"collected": 3})
    assert [record["output"] for record in fleet.results()] == ["done"] * 3
    assert api.created == 3


def test_canceling_a_batch_that_has_ended_or_is_canceled_reports_that_and_succeeds(fleet: Fleet) -> None:
    batch = fleet.submit(pictures(2))
    assert fleet.command("cancel", batch).error == "2 rows will not be created"
    told = f"the batch {batch} is over: nothing is left to cancel"
    for words in ([], ["--running"]):
        again = fleet.command("cancel", batch, *words)
        assert (again.code, again.error) == (0, told)
    fleet.start(1)
    over = fleet.submit(pictures(1), "--no-save")
    fleet.wait(lambda: fleet.states()["collected"] == 1)
    done = fleet.command("cancel", over)
    assert (done.code, done.error) == (0, f"the batch {over} is over: nothing is left to cancel")
    assert "stopped" not in fleet.command("status", over).out.decode()


def test_without_a_token_status_and_results_still_report_rows_that_wait_for_a_worker(fleet: Fleet) -> None:
    batch = fleet.submit(pictures(3))
    database = fleet.command.environment["REPLICATE_JOB_JOURNAL"]
    fleet.query(f"UPDATE replicate_job.batches SET api = 'https://api.replicate.com/v1' WHERE id = '{batch}'")  # noqa: S608 - ours
    away = {"REPLICATE_API_TOKEN": "", "REPLICATE_BASE_URL": "", "REPLICATE_JOB_JOURNAL": database}
    shown = fleet.command("status", batch, env=away)
    assert "0 workers alive: unfinished rows wait for one, `replicate-job worker`" in shown.out.decode()
    told = fleet.command("results", batch, env=away)
    assert (told.code, told.out) == (0, b"")
    waits = "3 rows of 3 not over yet; no worker is alive: unfinished rows wait for one, `replicate-job worker`"
    assert told.error == waits
    following = fleet.command.start("results", batch, "--follow", env=away)
    assert following.line() == f"{waits}\n"
    following.interrupt()
    following.end()


def test_workers_run_a_grid_without_a_file_and_retry_failed_rows(fleet: Fleet, api: ScriptedAPI) -> None:
    broken = set[str]()

    def once(given: dict[str, Any]) -> Script:
        has_failed = str(given) in broken
        broken.add(str(given))
        return Script(duration=0.01, output="done", end="succeeded" if has_failed else "failed", error="boom")

    api.models[FLUX] = msgspec.structs.replace(api.models[FLUX], script=once)
    words = ["prompt=a fox", "--grid", "seed=1..3", "--retries", "1", "--no-save", "--rate", "none"]
    fleet.start(2)
    done = fleet.command("batch", FLUX, *words, "--fleet")
    assert (done.code, "3 rows: 3 succeeded" in done.err) == (0, True), done.err
    fleet.batch = done.out.decode().strip()
    assert [(row["line"], row["grid"], len(row["earlier"])) for row in fleet.results()] == [
        (1, {"seed": number}, 1) for number in (1, 2, 3)
    ]
    assert api.created == 6


@pytest.mark.long
@pytest.mark.replicate_api(list_lag=1, faults=fleet_chains.FAULTS)
def test_chains_whose_workers_are_killed_create_each_step_once(
    command: Command, postgres: Postgres, api: ScriptedAPI
) -> None:
    fleet_chains.prepare(api)
    with fleet_of(command, postgres, api) as fleet:
        fleet_chains.drill(fleet, 10, workers=3, kills=1, seed=1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--detach", "--results", "a.jsonl"], "--detach is for batches that --fleet submits"),
        ([], "Missing option '--results'"),
        (
            ["--fleet", "--results", "a.jsonl"],
            "--results is not for --fleet: `replicate-job results BATCH` writes them",
        ),
        (["--fleet", "--fail-fast"], "--fail-fast is not for --fleet"),
        (["--fleet", "--local"], "--local is not for --fleet, whose workers are other processes"),
        (["--fleet", "--max-predict-time", "5m"], "--max-predict-time is not for --fleet"),
    ],
)
def test_options_that_exclude_each_other_are_refused(command: Command, words: list[str], told: str) -> None:
    (command.folder / "rows.csv").write_text("prompt\na\n", encoding="utf-8")
    done = command("batch", SDXL, "rows.csv", *words)
    assert (done.code, told in done.err) == (2, True)


def test_a_fleet_refuses_a_journal_that_is_not_in_postgresql(command: Command) -> None:
    (command.folder / "rows.csv").write_text("prompt\na\n", encoding="utf-8")
    submit = ["batch", SDXL, "rows.csv", "--fleet"]
    calls: list[list[Any]] = [["worker"], ["status"], ["results", "b"], submit, [*submit, "--dry-run"]]
    for words in calls:
        done = command(*words)
        assert (done.code, "a fleet has its journal in PostgreSQL" in done.error) == (2, True)


@pytest.mark.long
@pytest.mark.replicate_api(list_lag=1, faults=FAULTS)
def test_whatever_fault_occurs_every_row_is_paid_for_once_and_its_outputs_are_saved(
    command: Command, api: ScriptedAPI, testrun_uid: str, worker_id: str
) -> None:
    """Creates that break, a worker killed, one stopped beyond its lease, connections cut, the database restarted."""
    postgres = start(f"{testrun_uid}-fleet", worker_id)  # of its own, as it is restarted
    try:
        with fleet_of(command, postgres, api) as fleet:
            drill(fleet, pictures(300), workers=3, kills=1, rate="3000/min")
    finally:
        postgres.stop()
