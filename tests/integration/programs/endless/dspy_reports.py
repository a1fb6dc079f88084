"""Ten runs of an agent in threads, as in dspy's page about parallel programs."""

import dspy
from dspy_report import writer


def main() -> None:
    questions = [f"Write report {number} about the rivers of Europe." for number in range(10)]
    parallel = dspy.Parallel(num_threads=10)
    print(parallel([(writer, dspy.Example(question=each).with_inputs("question")) for each in questions]))


if __name__ == "__main__":
    main()
