# celeryconfig.py
"""A broker and results in files, to try it without a server. In production: ``broker_url = "redis://..."``."""

from pathlib import Path

queue = Path("queue").absolute()
for folder in ("messages", "control", "results"):
    (queue / folder).mkdir(parents=True, exist_ok=True)

broker_url = "filesystem://"
broker_transport_options = {
    "data_folder_in": str(queue / "messages"),
    "data_folder_out": str(queue / "messages"),
    "control_folder": str(queue / "control"),
    "polling_interval": 0.1,  # seconds
}
result_backend = f"file://{queue / 'results'}"
