"""The lines about a stand-in in a prediction's logs."""

from __future__ import annotations

import pytest

from replicate_job.wire.stand_in import notice, notices, stand_in

FLUX = notice("acme/flux", "A stand-in, not FLUX: it takes FLUX's inputs. A painter paints.")


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        (None, ""),
        ("Using seed: 7\n", ""),
        ("I am a stand-in for nobody\n", ""),
        (f"{FLUX}\nUsing seed: 7\n", "not FLUX"),
        (
            f"preparing\n{FLUX}\nStand-in: without effect here: go_fast\nPainted: sea\nStand-in: not painted: car",
            "not FLUX; without effect here: go_fast; not painted: car",
        ),
        ("me/model is a stand-in that repeats.\n", "that repeats"),
        ("me/model is a stand-in.\n", ""),
        ("Stand-in: not heard: music\n", "not the model itself; not heard: music"),
    ],
)
def test_the_description_of_a_stand_in_model_is_read_from_the_logs(logs: str | None, said: str) -> None:
    assert stand_in(logs) == said


def test_the_notice_of_a_stand_in_model_is_recognized_in_logs() -> None:
    assert FLUX == "acme/flux is a stand-in, not FLUX: it takes FLUX's inputs. A painter paints."
    assert notices(f"preparing acme/flux\n{FLUX}\nStand-in: not painted: car\n") == [FLUX]
