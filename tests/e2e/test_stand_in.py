"""Output of a stand-in is marked as such: on every client's terminal, in results and in the report.

The scripted API's logs are those of a local server in another terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.testing import OutputFile, Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

PRIVATE = "acme/private"
NOTICE = "acme/private is a stand-in, not FLUX: it takes FLUX's inputs. A painter paints."


def _logs(given: dict[str, Any]) -> str:
    left_out = "Stand-in: not painted: car\n" if given["prompt"] == "a car" else ""
    return f"{NOTICE}\nUsing seed: 7\n{left_out}"


def paint(api: ScriptedAPI, *, times: int = 1) -> None:
    picture = OutputFile(content=b"x", name="out-0.webp")
    for _ in range(times):
        api.next(Script(output=[picture], logs=_logs, boot=0.05, duration=0.2))


def test_a_command_at_a_local_server_reports_a_stand_in_model_once_on_its_own_terminal(
    api: ScriptedAPI, command: Command
) -> None:
    paint(api)
    told = f"warning: {NOTICE}\nStand-in: not painted: car\n"
    outcome = command("run", PRIVATE, "prompt=a car")
    assert outcome.err == told
    assert outcome.response["status"] == "succeeded"  # stdout has the fields of any response
    paint(api)
    assert command("run", PRIVATE, "prompt=a car", "-q").err == ""


def test_the_summary_and_the_results_and_the_report_of_a_batch_name_the_stand_in_model(
    api: ScriptedAPI, command: Command
) -> None:
    (command.folder / "rows.jsonl").write_text('{"prompt": "a lake"}\n{"prompt": "a car"}\n')
    paint(api, times=2)
    words = ("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl")
    outcome = command(*words)
    assert outcome.err.count("stand-in, not FLUX: ") == 1
    said = "  a stand-in, not FLUX, answered 2 rows\n  and left something out of 1: not painted: car (line 2)\n"
    assert said in outcome.err

    def stand_ins() -> dict[int, str]:
        lines = (command.folder / "results.jsonl").read_bytes().splitlines()
        return {record["line"]: record["stand_in"] for record in map(msgspec.json.decode, lines)}

    assert stand_ins() == {1: "not FLUX", 2: "not FLUX; not painted: car"}
    page = (command.folder / "report.html").read_text()
    assert "A stand-in, not FLUX, answered every row." in page
    assert page.count('<span class="badge">stand-in</span>') == 3  # above all, and with each picture
    assert "not painted: car" in page

    again = command(*words)  # from the journal alone
    assert said in again.err
    assert stand_ins() == {1: "not FLUX", 2: "not FLUX; not painted: car"}


def test_a_batch_of_the_real_model_does_not_mention_stand_in_models(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.jsonl").write_text('{"prompt": "a lake"}\n')
    api.next(Script(output="a", logs="Using seed: 7\n", boot=0.05, duration=0.2))
    outcome = command("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl")
    assert outcome.code == 0
    for text in (outcome.err, *((command.folder / name).read_text() for name in ("results.jsonl", "report.html"))):
        assert "tand-in" not in text
        assert "stand_in" not in text


def test_a_stand_in_model_costs_nothing_unless_the_batch_is_given_a_price(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "prices.toml").write_text(f'[models]\n"{PRIVATE}" = "0.003/image"\n')
    known = {"REPLICATE_JOB_PRICES": str(command.folder / "prices.toml")}
    (command.folder / "rows.jsonl").write_text('{"prompt": "a lake"}\n')
    words = ("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl")

    def cost() -> object:
        return msgspec.json.decode((command.folder / "results.jsonl").read_bytes())["cost"]

    paint(api)
    outcome = command(*words, env=known)
    assert (cost(), "about $" in outcome.err) == (None, False)
    listed = command("list", "--cost", env=known)
    assert (listed.out, listed.err) == (b"", "no predictions, but for 1 that ran on this machine\n")
    outcome = command(*words, "--price", "0.003/image", env=known)
    assert (cost(), "about $0.003" in outcome.err) == (0.003, True)


def test_predictions_of_a_stand_in_model_do_not_count_toward_a_cost_limit_from_the_price_tables(
    api: ScriptedAPI, command: Command
) -> None:
    (command.folder / "prices.toml").write_text(f'[models]\n"{PRIVATE}" = "0.003/image"\n')
    (command.folder / "rows.jsonl").write_text('{"prompt": "a lake"}\n{"prompt": "a car"}\n{"prompt": "a fox"}\n')
    paint(api, times=3)
    words = ("--max-cost", "0.004", "--results", "results.jsonl")
    outcome = command("batch", PRIVATE, "rows.jsonl", *words, env={"REPLICATE_JOB_PRICES": "prices.toml"})
    assert (outcome.code, len(api.predictions)) == (0, 3)
