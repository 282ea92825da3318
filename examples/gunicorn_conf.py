# gunicorn_conf.py
"""Two processes with eight threads each. The app is imported once, before the fork."""

import web

preload_app = True
workers = 2
threads = 8
timeout = 300  # seconds without a sign of life, after which a worker is killed


def post_fork(server: object, worker: object) -> None:
    web.open_client()


def worker_exit(server: object, worker: object) -> None:
    web.client.close()
