"""Commands for who writes a client: ``recsvc protocol``."""

from __future__ import annotations

import json
from typing import Annotated

from ..exit_codes import EXIT_USAGE
from .app import Json, Option, app, fail, one_line


@app.command()
def protocol(
    schema: Annotated[bool, Option("--schema", help="Print all messages as JSON Schema.")] = False,
    check: Annotated[
        str | None, Option(metavar="SERVICE", help="Try every case of the protocol with a service.")
    ] = None,
    only: Annotated[str, Option(metavar="WORDS", help="With --check: only the cases with this in their name.")] = "",
    peer: Annotated[
        str | None, Option(metavar="ENDPOINT", help="Play a service there, that says what a client does wrong.")
    ] = None,
    script: Annotated[str, Option(metavar="NAME", help="With --peer: what happens. One of the names below.")] = "",
    as_json: Json = False,
) -> None:
    """Help with writing a client, or a service, by docs/protocol.md.

    SERVICE is an endpoint or the path of a connection file. The exit code is 1 when a case fails, or when the client of
    the peer did something wrong, or did not record.

    What the peer does with --script: delay (replies come late), small-credits, lost-events, refuse (a frame), busy,
    redirect (to another endpoint), restart (the service knows nothing any more). It needs free ports behind that of a
    tcp ENDPOINT: four. It ends after the client's bye, or when nothing came for ten seconds (sixty for the first).
    """
    with one_line():
        if schema:
            from ...protocol.tables import schema_text

            print(schema_text(), end="")
        elif check is not None:
            _check(check, only, as_json)
        elif peer is not None:
            _play(peer, script)
        else:
            fail("name one of --schema, --check, --peer (see recsvc protocol --help)", EXIT_USAGE)


def _check(service: str, only: str, as_json: bool) -> None:
    from ...process.services import address_of
    from ...protocol.check import check

    outcomes = []
    for one in check(address_of(service), only):
        outcomes.append(one)
        if not as_json:
            mark = "FAIL" if one.problem else "skip" if one.skipped else "ok"
            print(f"{mark:<4}  {one.name}{f': {one.skipped}' if one.skipped else ''}", flush=True)
            if one.problem:
                print(f"      {one.expected}\n      {one.problem}", flush=True)
    failed = [one for one in outcomes if one.problem]
    if as_json:
        print(json.dumps([one._asdict() for one in outcomes]))
    if failed or not outcomes:
        fail(f"{len(failed)} of {len(outcomes)} cases failed" if outcomes else f"no case has {only!r} in its name")
    if not as_json:
        print(f"{sum(not one.skipped for one in outcomes)} cases passed")


def _play(endpoint: str, script: str) -> None:
    from ...process.services import address_of
    from ...protocol.peer import SCRIPTS, Peer

    if script not in SCRIPTS:
        fail(f"no script {script!r}: one of {', '.join(filter(None, SCRIPTS))}", EXIT_USAGE)
    player = Peer(address_of(endpoint).endpoint, script, lambda line: print(line, flush=True))
    try:
        print(f"serving at {player.endpoint}: {SCRIPTS[script] or 'nothing special happens'}", flush=True)
        player.run()
    finally:
        player.end()
    if player.problems:
        fail(f"the client did {len(player.problems)} things wrong; the first: {player.problems[0]}")
    print("the client did everything right")
