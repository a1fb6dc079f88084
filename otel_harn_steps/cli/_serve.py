"""`otel-harn-steps serve`: the page about all recorded runs, live."""

from __future__ import annotations

import argparse
import socket
import webbrowser
from contextlib import suppress
from typing import Final
from urllib.parse import quote

from otel_harn_steps.cli._command import complain
from otel_harn_steps.cli._reading_options import add_records, open_store

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PORT: Final = 8765
_LAST_ANSWERS_S: Final = 3
"""How long answers that are under way may take when the server is asked to end."""

_DESCRIPTION: Final = """
Show what was recorded on a page that follows running programs live. It is served to this machine alone; on another
address than a loopback one, a token is needed.
"""


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("serve", help="show what was recorded on a page, live", description=_DESCRIPTION)
    add_records(parser)
    parser.add_argument("--port", type=int, default=_PORT, help=f"default: {_PORT}; 0: any that is free")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen; default: 127.0.0.1")
    parser.add_argument("--token", metavar="TEXT", help="what a reader must have")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def serve(arguments: argparse.Namespace) -> int:
    """Serve the page until the process is asked to end. Returns the exit code."""
    if arguments.host not in _LOOPBACK and not arguments.token:
        complain(f"--host {arguments.host} lets other machines in: say with --token what a reader must have")
        return 2
    try:
        import uvicorn  # noqa: PLC0415 -- an extra

        from otel_harn_steps.page._server import page_app  # noqa: PLC0415 -- as above
    except ModuleNotFoundError as error:
        complain(f"serve needs {error.name}: pip install 'otel-harn-steps[serve]'")
        return 2
    try:
        listening = _listen(arguments.host, arguments.port)
    except (OSError, OverflowError) as error:
        complain(f"--port {arguments.port}: {error}")
        return 2
    with listening, open_store(arguments) as store:
        address = _address(arguments.host, listening.getsockname()[1], arguments.token)
        print(f"{store.folder} on {address}", flush=True)
        if arguments.open:
            webbrowser.open(address)
        server: uvicorn.Server
        app = page_app(store, token=arguments.token or None, is_stopping=lambda: server.should_exit)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=_LAST_ANSWERS_S,
            )
        )
        with suppress(KeyboardInterrupt):  # uvicorn ends in order, then raises what it has caught
            server.run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: there is no such address, or another program has the port.
        OverflowError: there is no such port.
    """
    family, kind, protocol, _name, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen()  # who reads the address may come before the server has started
    except BaseException:
        listening.close()
        raise
    return listening


def _address(host: str, port: int, token: str | None) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={quote(token)}" if token else "")
