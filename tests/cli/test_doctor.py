"""`otel-harn-steps doctor`: what a run would find."""

from __future__ import annotations

import sys

import pytest

from otel_harn_steps._guard import RAISE_FAULTS
from tests.cli.stores import Written

AGENT = """
    from functools import partial
    from json import dumps

    print("imported!")

    def plan(x): return x
    async def search(x): return x
    def _private(): pass
    made = partial(plan, 1)

    if True:
        def late(): pass

    class Agent:
        def run(self): pass
        @classmethod
        def make(cls): pass

    class Loud(Agent):
        pass
"""


@pytest.fixture
def doctor(app):
    app.write("shop/__init__.py", "print('imported!')")
    app.write("shop/agent.py", AGENT)

    def doctor(*targets, options=()):
        app.write("harn-steps.toml", "\n".join(f'[[steps]]\ntarget = "{each}"' for each in targets))
        return app.call(sys.executable, "-m", "otel_harn_steps.cli", "doctor", *options)

    return doctor


IN_THE_SOURCE = {
    "shop.agent:plan": "ok      shop.agent:plan: ",
    "shop.agent:late": "ok      shop.agent:late: ",
    "shop.agent:Agent.make": "ok      shop.agent:Agent.make: ",
    "shop.agent:*": "ok      shop.agent:*: plan, search, late",
    "shop.agent:Agent.*": "ok      shop.agent:Agent.*: Agent.run, Agent.make",
    "shop.agent:made": "unknown shop.agent:made: made is made or imported in ",
    "shop.agent:Loud.run": "unknown shop.agent:Loud.run: Loud may inherit run; --import shows whether it does",
    "__main__:main": "unknown __main__:main: is in the program itself",
    "shop.agent:paln": "did you mean 'plan'?",
    "shop.agent:Agent": "MISSING shop.agent:Agent: Agent is a class; name the method that does the work",
    "shop.agent:Agent.rnu": "did you mean 'Agent.run'?",
    "shop.agent:zzz*": "fits 'zzz*'",
    "shop.agnet:plan": "MISSING shop.agnet:plan: there is no module shop.agnet",
    "shop.agent.deeper:plan": "shop.agent is a module and no package",
    "nowhere:plan": "MISSING nowhere:plan: there is no module nowhere",
}
IMPORTED = {
    "shop.agent:made": "ok      shop.agent:made: made",
    "shop.agent:Loud.run": "ok      shop.agent:Loud.run: Loud.run",
    "shop.agent:dumps": "ok      shop.agent:dumps: dumps",
    "shop.agent:Agent.rnu": "shop.agent.Agent has no 'rnu'; did you mean 'run'?",
    "nowhere:plan": "importing nowhere failed: ModuleNotFoundError: No module named 'nowhere'",
}


def test_targets_are_looked_for_in_the_source_and_nothing_is_imported(doctor):
    done = doctor(*IN_THE_SOURCE)

    for target, line in IN_THE_SOURCE.items():
        assert line in next(each for each in done.stdout.splitlines() if f" {target}: " in each)
    assert "imported!" not in done.stdout
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_targets_are_imported_if_that_is_asked_for(doctor):
    done = doctor(*IMPORTED, options=("--import",))

    for target, line in IMPORTED.items():
        assert line in next(each for each in done.stdout.splitlines() if f" {target}: " in each)


def test_all_is_well_where_every_target_is_there(doctor):
    assert doctor("shop.agent:plan", "shop.agent:made", "__main__:main").returncode == 0


def test_mistakes_in_the_file_are_told(doctor):
    done = doctor("shop.agent.plan")

    assert done.returncode == 1
    assert 'MISTAKE harn-steps.toml:2: steps[0].target = "shop.agent.plan": must be' in done.stdout


def test_installed_clients_are_told_with_their_versions(doctor):
    openai = pytest.importorskip("openai")

    done = doctor("shop.agent:plan")

    assert f"ok      openai {openai.__version__}: patched" in done.stdout


def test_a_client_that_has_none_of_its_places_is_a_mistake(app):
    app.write("groq/__init__.py", "")
    app.write("groq/_base_client.py", "class SyncAPIClient: pass\nclass AsyncAPIClient: pass\nclass BaseClient: pass\n")
    app.write("together/__init__.py", "")
    app.write("together/_base_client.py", "raise ImportError('no httpx')\n")

    done = app.call(sys.executable, "-m", "otel_harn_steps.cli", "doctor", env={RAISE_FAULTS: ""})

    assert done.returncode == 1
    assert "groq._base_client.SyncAPIClient.request is not there: its calls are not billed" in done.stdout
    assert "together._base_client cannot be imported: no httpx" in done.stdout


def test_a_file_that_cannot_be_read_without_pydantic_is_said_before_anything_runs(app):
    app.write("harn-steps.toml", "metrics = true\n")
    app.write("pydantic/__init__.py", "raise ModuleNotFoundError(\"No module named 'pydantic'\", name='pydantic')\n")
    need = "pip install 'otel-harn-steps[config]'"

    done = app.call(sys.executable, "-m", "otel_harn_steps.cli", "doctor")
    assert done.returncode == 1
    assert f"harn-steps.toml needs pydantic: {need}" in done.stdout

    ran = app.run("python", "-c", "print('hello')")
    assert (ran.returncode, ran.stdout, need in ran.stderr) == (2, "", True)


def test_no_configuration_is_no_mistake(app):
    done = app.call(sys.executable, "-m", "otel_harn_steps.cli", "doctor")

    assert done.returncode == 0
    assert "none: no harn-steps.toml" in done.stdout


def test_the_steps_of_frameworks_are_told_and_which_frameworks_are_there(app):
    app.write("harn-steps.toml", 'frameworks = ["crewai"]\n[[steps]]\nname = "Planner"\n')

    done = app.call(sys.executable, "-m", "otel_harn_steps.cli", "doctor", "--import")

    assert done.returncode == 0
    assert "unknown 'Planner': is a framework's step, which only a run has" in done.stdout
    assert "-       framework crewai: not installed" in done.stdout


def test_a_reader_that_closes_the_pipe_is_no_error(app):
    app.write("harn-steps.toml", "metrics = true\n")
    command = (sys.executable, "-u", "-m", "otel_harn_steps.cli", "doctor")
    with app.start(*command) as doctor:
        doctor.stdout.close()
        complaints = doctor.stderr.read()

    assert (doctor.returncode, complaints) == (141, "")


# -- records -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def records_of(app, tmp_path):
    """What the doctor says of the records, without the rest."""
    folder = tmp_path / "met"

    def records_of(*options):
        done = app.call(sys.executable, "-m", "otel_harn_steps.cli", "doctor", "--records", str(folder), *options)
        return done.returncode, done.stdout.partition("\nrecords\n")[2].splitlines()

    return folder, records_of


def test_models_without_a_price_and_hosts_that_nobody_saw_are_named_once(records_of):
    pytest.importorskip("msgspec", reason="the store needs the extra `cli`")
    folder, say = records_of
    for n in range(2):
        run = Written(folder, run_id=f"{n}" * 16)
        run.call("", model="odd-model\x1b", cost_picousd=None)
        run.call("")
        for _ in range(3):
            run.journal.note("unseen_call", host="api.example.com", library="httpx")
        run.finish()

    assert say() == (
        0,
        [
            f"  ok      {folder}: 2 runs",
            r"  UNKNOWN the price of odd-model\x1b: 2 calls",
            "  UNSEEN  6 requests to api.example.com by httpx, from no client that is known here",
        ],
    )


def test_many_of_them_are_cut(records_of):
    pytest.importorskip("msgspec", reason="the store needs the extra `cli`")
    folder, say = records_of
    run = Written(folder)
    for n in range(12):
        run.call("", model=f"model-{n}", cost_picousd=None)
        run.journal.note("unseen_call", host=f"{n}.example.com")
    run.finish()

    _, lines = say()

    assert "          and of 2 more models: otel-harn-steps report --by model --all" in lines
    assert lines[-1] == "          and to 2 more hosts"


def test_no_records_and_records_of_a_newer_version_are_told_apart(records_of):
    pytest.importorskip("msgspec", reason="the store needs the extra `cli`")
    folder, say = records_of
    assert say() == (0, [f"  none yet, in {folder}"])
    folder.mkdir()
    (folder / "x.run.json").write_text('{"version": 99}')
    code, (line,) = say()
    assert code == 1
    assert line.startswith("  BROKEN  ")
    assert "of version 99" in line
