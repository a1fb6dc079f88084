"""Ten runs of an agent at the same time, as in openai-agents' pattern for parallelization."""

import asyncio

from agents import Runner
from agents_report import writer


async def write_all() -> None:
    runs = [Runner.run(writer, f"Write report {number} about the rivers of Europe.") for number in range(10)]
    for result in await asyncio.gather(*runs, return_exceptions=True):
        print(result)


def main() -> None:
    asyncio.run(write_all())


if __name__ == "__main__":
    main()
