# web.py
"""A picture for ``/?a-fox``: ``gunicorn --preload --workers 2 --threads 8 web:app``."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from replicate_job import Client, ReplicateJobError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

client = Client(save_to="outputs")  # its first call opens it: in a worker, after the fork


def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    prompt = unquote_plus(environ["QUERY_STRING"])
    try:
        result = client.run("black-forest-labs/flux-schnell", {"prompt": prompt}, key=f"picture of {prompt}")
        status, text = "200 OK", result.status
    except ReplicateJobError as error:
        status, text = "502 Bad Gateway", str(error)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]
