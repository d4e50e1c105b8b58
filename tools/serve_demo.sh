#!/bin/sh
# Shows a service at work: starts one in a temporary place, records with the clients in Node.js and C at the same time,
# lists, fetches over ZeroMQ and HTTP, shows its status, ends it. The two recordings stay here.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
recsvc=$root/.venv/bin/recsvc
python=$root/.venv/bin/python
place=$(mktemp -d)
daemon=

say() { printf '\nrecsvc: %s\n' "$*"; }
end() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon"; } || true
    [ $status = 0 ] || { echo "recsvc: error: the demo failed (lines above); the log of the service:" && cat "$place/log"; } >&2
    rm -rf "$place"
    exit $status
}
trap end EXIT
trap 'exit 1' INT TERM

service=$place/run/service.json
port=$("$python" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
say "starting a service: recsvc serve --http-port $port"
"$recsvc" serve --config /dev/null --directory "$place/run" --spool "$place/recordings" --http-port "$port" \
    --log-format json 2>"$place/log" &
daemon=$!
until [ -e "$service" ]; do
    kill -0 "$daemon" 2>/dev/null || { daemon= && false; }
    sleep 0.02
done

# going_on N: so many recordings go on at once.
going_on() {
    "$recsvc" list --service "$service" --json |
        "$python" -c 'import json, sys; sys.exit(sum(not one["ended"] for one in json.load(sys.stdin)) != int(sys.argv[1]))' "$1"
}

say "recording with the client in Node.js, and with the one in C, at the same time"
make -s -C "$root/examples/c" record
node "$root/examples/node/record.js" "$service" -o demo-node.webm --seconds 5 >"$place/node" 2>&1 &
node=$!
until going_on 1; do kill -0 $node; done
"$root/examples/c/record" demo-c.webm "$service" >"$place/c" 2>&1 &
c=$!
until going_on 2; do kill -0 $c; done
say "meanwhile: recsvc status"
"$recsvc" status --once --service "$service"
wait $node || { cat "$place/node" >&2 && false; }
wait $c || { cat "$place/c" >&2 && false; }
sed 's/^/  Node.js: /' "$place/node"
sed 's/^/  C:       /' "$place/c"
ls -l demo-node.webm demo-c.webm

say "what the service keeps: recsvc list"
"$recsvc" list --service "$service"

say "fetching each over ZeroMQ (recsvc get) and over HTTP, and comparing them with what the clients saved"
"$recsvc" list --service "$service" --json |
    "$python" -c 'import json, sys; print("\n".join(one["recording"] for one in json.load(sys.stdin)))' >"$place/ids"
while read -r id; do
    "$recsvc" get "$id" --service "$service" -o "$place/zeromq.webm" >/dev/null
    "$python" -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
        "http://127.0.0.1:$port/recordings/$id/file" "$place/http.webm"
    cmp "$place/zeromq.webm" "$place/http.webm"
    case $id in
    node-*) cmp "$place/http.webm" demo-node.webm ;;
    *) cmp "$place/http.webm" demo-c.webm ;;
    esac
    echo "  $id: the same $(wc -c <"$place/http.webm") bytes by both ways"
    rm "$place/zeromq.webm" "$place/http.webm"
done <"$place/ids"
[ "$(wc -l <"$place/ids")" = 2 ]

say "its status over HTTP (/readyz)"
"$python" -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode().strip())' \
    "http://127.0.0.1:$port/readyz"

say "ending it: SIGTERM"
kill "$daemon"
wait "$daemon"
daemon=
"$python" -c 'import json, sys; [print(" ", json.loads(line)["event"]) for line in sys.stdin]' <"$place/log"
say "demo-node.webm and demo-c.webm are what was recorded"
