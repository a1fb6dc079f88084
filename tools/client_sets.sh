#!/usr/bin/env bash
# Runs the tests over recorded traffic with the older majors of the clients, each set in a venv of its own.
#   tools/client_sets.sh [NAME ...]      all sets without a name; venvs in ~/.cache/otel-harn-steps/clients
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${OTEL_HARN_STEPS_CACHE:-$HOME/.cache/otel-harn-steps}/clients
python=${PYTHON:-python3}

declare -A sets=(
  [before]="openai>=2.54,<3 anthropic>=1.17,<2"
  [oldest]="openai>=1.109,<2 anthropic>=0.125,<1"
)
names=("$@")
[[ ${#names[@]} -gt 0 ]] || names=("${!sets[@]}")

for name in "${names[@]}"; do
  venv=$cache/$name
  stamp=$venv/.installed
  if [[ ! -f $stamp || pyproject.toml -nt $stamp ]]; then
    "$python" -m venv --clear "$venv"
    # shellcheck disable=SC2086 -- the requirements are words
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check ${sets[$name]} \
      pytest pytest-asyncio pytest-xdist hypothesis opentelemetry-sdk opentelemetry-instrumentation wrapt "genai-prices>=0.2.3,<0.3"
    touch "$stamp"
  fi
  echo "== clients $name: ${sets[$name]}"
  PYTHONPATH=. "$venv/bin/python" -m pytest -q -n "$(nproc)" -p no:cacheprovider \
    tests/test_clients_traffic.py tests/test_clients_exceptions.py tests/test_clients_stream_usage.py tests/test_clients_lazy_streams.py
done
