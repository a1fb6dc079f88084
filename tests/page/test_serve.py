"""`otel-harn-steps serve`: where it listens, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from otel_harn_steps.cli._command import main


def test_another_address_than_a_loopback_one_needs_a_token(records, capsys):
    assert main(["serve", "--records", str(records), "--host", "0.0.0.0"]) == 2
    assert "--token" in capsys.readouterr().err


def test_a_port_that_is_taken_is_a_usage_error(records, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", "--records", str(records), "--port", str(port)]) == 2
    assert f"--port {port}" in capsys.readouterr().err


@contextmanager
def serving(records, *options):
    """The server, and the address that it prints."""
    command = [sys.executable, "-m", "otel_harn_steps.cli", "serve", "--records", str(records), "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield server, re.search(r"http://\S+", server.stdout.readline())[0]
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends_when_it_is_asked_to(records, how):
    with serving(records) as (server, address):
        with urllib.request.urlopen(f"{address}api/report?by=program", timeout=30) as answer:
            assert json.load(answer)["by"] == "program"
        with urllib.request.urlopen(f"{address}events", timeout=30) as listening:
            assert listening.readline().startswith(b"retry")
            server.send_signal(how)
            assert server.wait(timeout=30) in {0, -signal.SIGTERM}
        assert server.stderr.read() == ""


def test_the_address_that_it_prints_has_the_token(records):
    with serving(records, "--token", "open & shut", "--host", "0.0.0.0") as (_server, address):
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(address.replace("0.0.0.0", "127.0.0.1"), timeout=30) as page:
            assert b"<title>harn steps</title>" in page.read()
