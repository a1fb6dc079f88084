"""A crew that is started for ten inputs at the same time, as in CrewAI's page about asynchronous kickoff."""

import asyncio

from crewai_report import crew


async def write_all() -> None:
    for result in await crew.kickoff_for_each_async([{"river": f"river {number}"} for number in range(10)]):
        print(result.raw)


def main() -> None:
    asyncio.run(write_all())


if __name__ == "__main__":
    main()
