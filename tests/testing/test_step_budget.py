"""`@pytest.mark.step_budget(...)`: a test that spends more than it may fails, and says what spent it."""

from __future__ import annotations

import pytest

import otel_harn_steps
from otel_harn_steps.testing._step_budget import budget_of_mark, held_to
from tests.provider import provider
from tests.testing.plugged import Project, project_in

pytest_plugins = ["pytester"]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project_in(pytester, monkeypatch)


def test_a_test_within_its_budget_passes_and_one_over_it_fails_with_the_steps_and_calls_that_spent_it(project):
    project.write(
        test_budget="""
        import pytest, agent

        @pytest.mark.step_budget(max_calls=4, max_usd=0.01, max_tokens=10_000)
        def test_within():
            agent.plan(3)

        @pytest.mark.step_budget(max_usd=0.002)
        def test_over():
            agent.plan(3)
        """
    )
    ran = project.run()
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(
        [
            "E *StepBudgetExceeded: test `test_budget.py::test_over` exceeded max_usd budget ($0.002900 > $0.002000)",
            "E *by step:",
            "E *  plan  2 calls  2,000 in  40 out  $0.0029",
            "E *calls, as they were sent:",
            "E *  plan  openai gpt-5  1,000 in  20 out  $0.0015",
        ]
    )


def test_a_budget_error_that_the_code_swallows_fails_the_test_all_the_same(project):
    project.write(
        test_budget="""
        import pytest, agent

        @pytest.mark.step_budget(max_calls=2)
        def test_swallowed():
            for _ in range(5):
                try:
                    agent.plan()
                except Exception as error:
                    error.accept()

        @pytest.mark.step_budget(max_calls=2)
        def test_that_fails_for_another_reason():
            with pytest.raises(Exception):
                agent.plan(3)
            assert agent.plan == "something else"
        """
    )
    ran = project.run()
    ran.assert_outcomes(failed=2)
    ran.stdout.fnmatch_lines(
        [
            "test `test_budget.py::test_swallowed` exceeded max_calls budget (3 > 2)",
            "  plan         5 calls  5,000 in  100 out   $0.0073",
            "  plan/search   1 call    100 in    5 out  <$0.0001",
            "calls, as they were sent:",
            "  plan         openai gpt-5       1,000 in  20 out   $0.0015",
            "  plan/search  openai gpt-5-mini    100 in   5 out  <$0.0001",
            "E *AssertionError: *",
            "E *test `*::test_that_fails_for_another_reason` exceeded max_calls budget (3 > 2)",
        ]
    )


def test_calls_of_no_step_and_of_a_step_around_the_test_count(project):
    project.write(
        test_budget="""
        import pytest, agent
        from otel_harn_steps import record_llm_usage, step

        @pytest.fixture
        def around():
            with step("around"):
                yield

        @pytest.mark.step_budget(max_tokens=5)
        def test_no_step():
            record_llm_usage("gpt-5", 4, 2)

        @pytest.mark.step_budget(max_calls=1)
        def test_around(steps, around):
            record_llm_usage("gpt-5", 4, 2)
            record_llm_usage("gpt-5", 4, 2)
        """
    )
    ran = project.run()
    ran.assert_outcomes(failed=2)
    ran.stdout.fnmatch_lines(
        ["E *(no step)  1 call  4 in  2 out *", "*::test_around` exceeded max_calls budget (2 > 1)"]
    )


def test_async_tests_threads_and_classes_are_held_too_and_the_nearest_mark_counts(project):
    pytest.importorskip("pytest_asyncio")
    project.write(
        test_budget="""
        import asyncio, pytest, agent
        from threading import Thread

        pytestmark = pytest.mark.step_budget(max_calls=1)

        async def test_async():
            await asyncio.sleep(0)
            agent.search()
            agent.search()

        def test_thread():
            thread = Thread(target=agent.plan)
            thread.start()
            thread.join()

        class TestOfAClass:
            @pytest.mark.step_budget(max_calls=2)
            def test_nearest(self):
                agent.plan()
        """
    )
    ran = project.run("-p", "no:threadexception")
    ran.assert_outcomes(passed=1, failed=2)


def test_a_skipped_test_and_one_that_is_expected_to_fail_stay_what_they_are(project):
    project.write(
        test_budget="""
        import pytest, agent

        @pytest.mark.step_budget(max_calls=1)
        def test_skipped():
            try:
                agent.plan()
            except Exception:
                pass
            pytest.skip("not today")

        @pytest.mark.xfail(strict=True)
        @pytest.mark.step_budget(max_calls=1)
        def test_expected():
            agent.plan()
        """
    )
    project.run().assert_outcomes(skipped=1, xfailed=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "step_budget needs a limit: max_tokens, max_usd, *"),
        ("0.01", "step_budget takes limits by their names, as in max_usd=0.01, not 0.01 alone"),
        ("max_usd='1'", "step_budget: max_usd must be a number, 0 or more, not '1'"),
        ("max_calls=0", "step_budget: max_calls must be a finite number above 0, not 0"),
        ("max_call=1", "step_budget: *not 'max_call'; did you mean 'max_calls'[?]"),
    ],
)
def test_wrong_arguments_are_an_error_of_that_test_before_it_runs(project, arguments, message):
    project.write(
        test_budget=f"""
        import pytest

        @pytest.mark.step_budget({arguments})
        def test_never_runs():
            raise AssertionError

        def test_of_others():
            pass
        """
    )
    ran = project.run()
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.fnmatch_lines([message])


def test_a_call_of_a_real_client_that_has_no_room_is_not_sent_and_is_named(replay):
    with provider(replay) as llm, held_to("test_ask", budget_of_mark((), {"max_calls": 1})) as held:
        llm.ask()
        with pytest.raises(otel_harn_steps.StepBudgetExceeded), otel_harn_steps.step("ask"):
            llm.ask()
    assert llm.handed_out.calls == 1
    failure = held.failure()
    assert failure is not None
    assert failure.startswith("test `test_ask` exceeded max_calls budget (2 > 1)\nby step:\n  (no step)  1 call")
    assert "calls, as they were sent (1 more refused):" in failure


def test_many_calls_are_cut_to_the_first_twenty(project):
    project.write(
        test_budget="""
        import pytest, agent

        @pytest.mark.step_budget(max_usd=0.03)
        def test_many():
            agent.plan(30)
        """
    )
    assert "  and 1 more" in project.fails()
