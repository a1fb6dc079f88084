"""`otel-harn-steps run --max-...` over programs that call a model, and know nothing of us."""

from __future__ import annotations

import pytest

pytest.importorskip("openai")

STUBBORN = """
    from agent import plan

    def ask():
        return plan("x")

    def insist(times):
        answered = 0
        for _ in range(times):
            try:
                ask()
                answered += 1
            except Exception as error:
                print(type(error).__name__)
        return answered
"""


@pytest.fixture
def stubborn(app, ask):
    ask()
    app.write("stubborn.py", STUBBORN)
    return app


def test_a_loop_that_tries_again_is_over_after_the_hard_stop(stubborn, provider):
    stubborn.write("main.py", "from stubborn import insist\nprint(insist(1000))\n")

    done = stubborn.run("python", "main.py", options=("--max-calls", "2", "--json", "run.json"))

    assert done.returncode == 75
    assert done.stdout == "StepBudgetExceeded\n" * 3
    assert "StepBudgetStop: run `main.py` exceeded max_calls budget (3 > 2)" in done.stderr
    assert "ended by its budget: max_calls" in done.stderr
    assert len(provider.received) == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_all_processes_share_the_budget(method, stubborn, provider):
    stubborn.write(
        "main.py",
        f"""
        import multiprocessing
        from stubborn import insist

        def work(answered):
            answered.put(insist(3))

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            answered = context.Queue()
            workers = [context.Process(target=work, args=(answered,)) for _ in range(4)]
            for each in workers:
                each.start()
            print(sum(answered.get() for _ in workers))
            for each in workers:
                each.join()
        """,
    )

    done = stubborn.run("python", "main.py", options=("--max-calls", "10"))

    assert done.stdout.splitlines()[-1] == "10", done.stderr
    assert (done.returncode, len(provider.received)) == (75, 10)


def test_dollars_are_shared_to_the_last_that_fits(stubborn, provider):
    # 27 millionths of a dollar a call, and four of them fit
    stubborn.write("main.py", "from stubborn import insist\nprint(insist(6))\n")

    done = stubborn.run("python", "main.py", options=("--max-usd", "0.000120", "--json", "run.json"))

    assert done.returncode == 75
    assert len(provider.received) in (4, 5)
    assert stubborn.result()["total"]["cost_usd"] == pytest.approx(len(provider.received) * 0.000027)
    assert len(provider.received) * 0.000027 <= 0.000120


def test_a_program_within_its_budget_is_as_without_one(stubborn, provider):
    stubborn.write("main.py", "from stubborn import insist\nprint(insist(3))\nraise SystemExit(3)\n")

    done = stubborn.run("python", "main.py", options=("--max-usd", "1"))

    assert (done.returncode, done.stdout, len(provider.received)) == (3, "3\n", 3)
