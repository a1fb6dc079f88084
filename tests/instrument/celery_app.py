"""A Celery app whose worker's processes are forked: `celery -A tests.instrument.celery_app worker`."""

from __future__ import annotations

import os

from celery import Celery

from tests.instrument import worker_app

folder = os.environ["CELERY_FOLDER"]
app = Celery("tests", broker="filesystem://", backend=f"file://{folder}/results", set_as_current=False)
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{folder}/tasks",
        "data_folder_out": f"{folder}/tasks",
        "control_folder": f"{folder}/control",
    },
    broker_connection_retry_on_startup=True,
)


@app.task
def work(number: int) -> int:
    return worker_app.work(number)
