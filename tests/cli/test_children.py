"""Processes below the program: their records arrive in the one file, none torn, none twice."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import urllib.request
from collections import Counter
from contextlib import contextmanager

import pytest

STEPS = """
    [[steps]]
    target = "work:outer"
    [[steps]]
    target = "work:inner"
"""
WORK = """
    def outer(n):
        return inner(n) + 1

    def inner(n):
        return n * 2
"""
POOL = """
    import multiprocessing, sys
    from work import outer

    def own(n):
        return outer(n)

    if __name__ == "__main__":
        with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
            print(sum(pool.imap_unordered(own, range(200), chunksize=5)))
            pool.close()
            pool.join()
"""


@pytest.fixture
def work(app):
    app.write("work.py", WORK)
    app.write("harn-steps.toml", STEPS)
    return app


def counted(app):
    return Counter(each["path"] for each in app.records())


RESULTS = ("--step-records", "records.jsonl", "--json", "run.json")


def runs_in_journal(app):
    return {step["path"]: step["runs"] for step in app.result()["steps"]}


def runs_of(app):
    return {(each["path"], each["start_time"], each["end_time"]) for each in app.records()}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_record_of_every_worker_arrives_once(work, method):
    work.write("main.py", POOL)

    done = work.run("python", "main.py", method, options=RESULTS)

    assert (done.returncode, done.stdout) == (0, "40000\n")
    assert counted(work) == {"outer": 200, "outer/inner": 200}
    assert len(runs_of(work)) == 400
    assert "has never appeared" not in done.stderr
    assert runs_in_journal(work) == {"outer": 200, "outer/inner": 200}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_the_program_itself_defines_is_a_step_in_its_workers(work, method):
    work.write("main.py", POOL)
    work.write("harn-steps.toml", '[[steps]]\ntarget = "main:own"\n')

    done = work.run("python", "main.py", method, options=("--step-records", "records.jsonl"))

    assert done.stdout == "40000\n"
    assert counted(work) == {"own": 200}


def test_a_program_that_is_started_by_a_program_is_taken_along(work):
    work.write(
        "main.py", "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import work; work.inner(1)'])\n"
    )

    work.run("python", "main.py", options=("--step-records", "records.jsonl"))

    assert counted(work) == {"inner": 1}


def test_a_fork_by_hand_has_its_records_in_the_file_and_in_the_table(work):
    work.write(
        "main.py",
        """
        import os, work
        work.inner(0)
        if os.fork() == 0:
            work.inner(1)
            os._exit(0)
        os.wait()
        work.inner(2)
        """,
    )

    work.run("python", "main.py", options=RESULTS)

    assert counted(work) == {"inner": 3}
    assert runs_in_journal(work) == {"inner": 3}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_killed_worker_loses_its_unfinished_steps_only(work, method):
    work.write(
        "main.py",
        """
        import multiprocessing, os, signal, sys
        import work

        def die(n):
            for each in range(50):
                work.inner(each)
            work.inner.__wrapped__  # it is a step
            os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            process = multiprocessing.get_context(sys.argv[1]).Process(target=die, args=(1,))
            process.start()
            process.join()
            work.inner(0)
            print(process.exitcode)
        """,
    )
    work.write("harn-steps.toml", STEPS + '\n[[steps]]\ntarget = "main:die"\n')

    done = work.run("python", "main.py", method, options=RESULTS)

    assert done.stdout == "-9\n"
    assert counted(work) == {"die/inner": 50, "inner": 1}
    runs = runs_in_journal(work)
    assert (runs["die/inner"], runs["inner"]) == (50, 1)


def test_many_threads_and_processes_write_whole_lines(work):
    work.write(
        "main.py",
        """
        import multiprocessing, threading
        import work

        def busy():
            threads = [threading.Thread(target=lambda: [work.inner(n) for n in range(100)]) for _ in range(4)]
            for each in threads: each.start()
            for each in threads: each.join()

        processes = [multiprocessing.get_context("fork").Process(target=busy) for _ in range(4)]
        for each in processes: each.start()
        for each in processes: each.join()
        """,
    )

    work.run("python", "main.py", options=RESULTS)

    assert counted(work) == {"inner": 1600}
    assert runs_in_journal(work) == {"inner": 1600}


# -- servers -----------------------------------------------------------------------------------------------------------

ASGI = """
    import os
    from work import outer

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        outer(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

    def wsgi(environ, start_response):
        outer(1)
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""


@contextmanager
def serving(app, *command):
    """The server at work, listening on a socket that it is given. Ended by SIGTERM to the command."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        words = [word.format(fd=listener.fileno()) for word in command]
        run = app.run_command(*words, options=("--step-records", "records.jsonl"))
        with (
            (app.folder / "log").open("w") as log,
            app.start(*run, stdout=log, stderr=log, pass_fds=[listener.fileno()]) as process,
        ):
            try:
                # Connections wait in the socket's queue until a worker is there.
                yield f"http://127.0.0.1:{listener.getsockname()[1]}", process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def get(address):
    with urllib.request.urlopen(address, timeout=20) as response:
        return response.read()


SERVERS = {
    "gunicorn": ("gunicorn", "--bind", "fd://{fd}", "--workers", "2", "web:wsgi"),
    "gunicorn, app loaded before the fork": (
        "gunicorn",
        "--bind",
        "fd://{fd}",
        "--workers",
        "2",
        "--preload",
        "web:wsgi",
    ),
    "uvicorn": ("uvicorn", "--fd", "{fd}", "web:app"),
    "uvicorn with workers": ("uvicorn", "--fd", "{fd}", "--workers", "2", "web:app"),
}


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_the_workers_of_a_server_have_steps(work, name):
    command = SERVERS[name]
    if shutil.which(command[0], path=work.environment["PATH"]) is None:
        pytest.skip(f"{command[0]} is not installed")
    work.write("web.py", ASGI)

    with serving(work, *command) as (address, process):
        workers = {get(address) for _ in range(20)}

    log = (work.folder / "log").read_text()
    assert process.returncode in (0, -signal.SIGTERM), log
    assert workers
    assert counted(work) == {"outer": 20, "outer/inner": 20}, log
    assert len(runs_of(work)) == 40
    assert "has never appeared" not in log


def test_a_worker_that_is_killed_under_a_server_leaves_its_records(work):
    if shutil.which("gunicorn", path=work.environment["PATH"]) is None:
        pytest.skip("gunicorn is not installed")
    work.write("web.py", ASGI)

    with serving(work, *SERVERS["gunicorn"]) as (address, _):
        for _ in range(5):
            os.kill(int(get(address)), signal.SIGKILL)

    assert counted(work) == {"outer": 5, "outer/inner": 5}
