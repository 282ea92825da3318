"""An account at Replicate: the truth about its predictions, and what the API shows of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import msgspec

from replicate_job.serving.resource import deployment_body, model_body, page_body, prediction_body, version_body

from .clocks import EPOCH

OWNER, NAME, VERSION = "acme", "painter", "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
SLUG = f"{OWNER}/{NAME}"
REDACTED = "This value was redacted after being sent to the model."
FILES = "https://api.test/v1/files/"
KEPT = 3600.0
"""Seconds after its end for which a prediction's data are there."""
BEHIND, ALONE = 10.0, 60.0
"""Seconds that the list may lag: behind a newer prediction that it shows, and in all."""
SCHEMA = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "properties": {
                    "n": {"type": "integer"},
                    "key": {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
                    "image": {"type": "string", "format": "uri"},
                    "steps": {"type": "integer", "default": 4},
                },
            },
            "Output": {"type": "string"},
        }
    }
}


class Nature(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """How this account's API behaves.

    ``official``: the model is created by name, otherwise by its version. ``echoes_default``: inputs come back with a
    default added. ``readable``: the files listed for data URLs can be read. ``lags`` are the seconds until the list
    shows a prediction, one for each in order of creation; the last one holds for all later ones. ``order`` is the order
    of a page's items, ``per_page`` their number. ``filters``: ``created_after`` and ``created_before`` work.
    ``missing``: seconds for which a new prediction is not found by its id.
    """

    official: bool = True
    echoes_default: bool = False
    readable: bool = True
    duration: float = 1.0
    end: str = "succeeded"
    lags: tuple[float, ...] = (0.0,)
    order: str = "newest"
    per_page: int = 100
    filters: bool = True
    missing: float = 0.0


class Made(msgspec.Struct):
    """A prediction. All times are Unix times.

    The list shows it from ``shown`` on, and it is found by its id from ``found`` on. It ``ends`` by itself or by a
    cancel. ``job`` is the key of the job whose request made it, empty for another program's. ``maker`` is the number of
    the process, and ``told`` says that this process got the answer with the id. ``overslept``: the process was stopped
    after its last look at its claim, for so long that another process may have taken over.
    """

    id: str
    input: dict[str, Any]
    created: float
    shown: float
    found: float
    ends: float
    job: str = ""
    maker: int = -1
    canceled: bool = False
    cancel_asked: bool = False
    told: bool = False
    overslept: bool = False
    deployment: str = ""


class Account:
    def __init__(self, now: Callable[[], float], nature: Nature, *, seed: int, name: str = "mine") -> None:
        self.name, self.nature, self.made = name, nature, list[Made]()
        self._now, self._random = now, random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._prefix = name[0]
        self._by_id: dict[str, Made] = {}
        self._pages: dict[str, list[Made]] = {}
        self._bodies: dict[tuple[str, bool, bool], msgspec.Raw] = {}

    @property
    def time(self) -> float:
        """Unix time by the API's own clock, which is always right."""
        return EPOCH + self._now()

    def create(self, given: dict[str, Any], *, job: str = "", maker: int = -1, deployment: str = "") -> Made:
        number = len(self.made)
        lags = self.nature.lags
        lag = min(ALONE, lags[min(number, len(lags) - 1)])
        now = self.time
        made = Made(
            id=f"{self._prefix}{number}",
            input=given,
            created=now,
            shown=now + lag,
            found=now + self.nature.missing,
            ends=now + self.nature.duration,
            job=job,
            maker=maker,
            deployment=deployment,
        )
        self.made.append(made)
        self._by_id[made.id] = made
        return made

    def find(self, prediction_id: str) -> Made | None:
        return self._by_id.get(prediction_id)

    def cancel(self, made: Made) -> None:
        made.cancel_asked = True
        if self.time < made.ends:
            made.ends, made.canceled = self.time, True

    def body(self, made: Made) -> msgspec.Raw:
        """The prediction as JSON from the API."""
        stage = made.id, self.time >= made.ends, self.has_removed(made)
        if stage not in self._bodies:
            self._bodies[stage] = msgspec.Raw(msgspec.json.encode(self._body(made)))
        return self._bodies[stage]

    def _body(self, made: Made) -> dict[str, Any]:
        ended = self.time >= made.ends
        end = "canceled" if made.canceled else self.nature.end
        return prediction_body(
            id=made.id,
            model=SLUG,
            version="hidden" if self.nature.official else VERSION,
            input=self.shown(made.input),
            status=end if ended else "processing",
            created_at=made.created,
            urls={"get": f"https://api.test/v1/predictions/{made.id}"},
            output=f"output of {made.id}" if ended and end == "succeeded" else None,
            error="it failed" if ended and end == "failed" else None,
            completed_at=made.ends if ended else None,
            deployment=made.deployment,
            data_removed=self.has_removed(made),
        )

    def has_removed(self, made: Made) -> bool:
        return self.time >= made.ends + KEPT

    def shown(self, given: dict[str, Any]) -> dict[str, Any]:
        """An input as the API returns it."""
        shown = dict(given)
        if "key" in shown:
            shown["key"] = REDACTED
        if str(shown.get("image", "")).startswith("data:"):
            shown["image"] = file_url(shown["image"])
        return self.meant(shown)

    def meant(self, given: dict[str, Any]) -> dict[str, Any]:
        """An input with the API's default."""
        return {"steps": 4} | given if self.nature.echoes_default else given

    def listed(self) -> list[Made]:
        """The predictions that the list shows now, oldest first."""
        now = self.time
        newest = max((made.created for made in self.made if made.shown <= now), default=0.0)
        return [made for made in self.made if made.shown <= now or made.created <= newest - BEHIND]

    def page(self, after: float, before: float, cursor: str) -> dict[str, Any]:
        """One page. The first page of a reading fixes what its later pages hold."""
        if cursor:
            items = self._pages[cursor]
        else:
            items = [made for made in self.listed() if not self.nature.filters or after <= made.created < before]
            items.reverse()
            if self.nature.order == "odd":
                self._random.shuffle(items)
            elif self.nature.order == "oldest":
                items.reverse()
        shown, rest = items[: self.nature.per_page], items[self.nature.per_page :]
        following = None
        if rest:
            number = f"page{len(self._pages)}"
            self._pages[number] = rest
            following = f"https://api.test/v1/predictions?cursor={number}"
        return page_body([self.body(made) for made in shown], next=following)

    def version(self) -> dict[str, Any]:
        return version_body(VERSION, created_at=EPOCH, cog_version="0.16", openapi_schema=SCHEMA)

    def model(self) -> dict[str, Any]:
        official = self.nature.official
        return model_body(SLUG, web="https://test", latest_version=self.version(), is_official=official)

    def deployment(self) -> dict[str, Any]:
        return deployment_body(f"{OWNER}/dep", model=SLUG, version=VERSION, created_at=EPOCH, created_by={})


def file_url(data_url: str) -> str:
    """The URL that the API lists in place of a data URL."""
    return FILES + hashlib.sha256(data_url.encode()).hexdigest()[:16]
