"""An agent that knows nothing of otel_harn_steps, and is never content: it asks for another joke, and another."""

from openai import OpenAI

client = OpenAI()
QUESTION = "Tell me a joke about opentelemetry"


def funniest(most: int) -> str:
    """The longest joke of up to `most`."""
    jokes: list[str] = []
    for _ in range(most):
        try:
            answer = client.chat.completions.create(
                model="gpt-5-nano", messages=[{"role": "user", "content": QUESTION}], max_completion_tokens=1000
            )
        except Exception as error:  # noqa: BLE001 -- as agents do
            print(f"I stop after {len(jokes)} jokes:\n  {error}")
            break
        jokes.append(answer.choices[0].message.content or "")
    return max(jokes, key=len, default="No joke today.")


if __name__ == "__main__":
    funniest(50)
