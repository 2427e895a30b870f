#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright The Custody Authors
#
# Runs the orders example with the Dapr CLI against a control plane of custody
# and checks that the guard decides as it does under `custody up`. Prints one
# line for each check; the exit status is 1 if one fails. Start it with
# `make test-cli`, which builds bin/ first. Linux only: it reads /proc.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
custody=$root/bin/custody
server=18711 support=18712 fulfilment=18713 analytics=18714 # not those of `make up`

work=$(mktemp -d "${TMPDIR:-/tmp}/custody-test-cli.XXXXXX")
orders=$work/examples/orders
mark=TEST_CLI_FOLDER=$work # in the environment of whatever is started here
custody_pid='' dapr_pid='' failed=0

# ours lists the processes of this run, however they detached themselves:
# PostgreSQL has an environment of its own, but works in our folder.
ours() {
  local dir
  for dir in /proc/[0-9]*; do
    if grep -qzxF "$mark" "$dir/environ" 2>/dev/null || [[ $(readlink "$dir/cwd" || true) == "$work"/* ]]; then
      echo "${dir#/proc/}"
    fi
  done
}

alive() { [[ -n $1 ]] && kill -0 "$1" 2>/dev/null; }

# await SECONDS PID COMMAND... polls until the command succeeds; it fails when
# the time is over or the process is gone.
await() {
  local end=$((SECONDS + $1)) pid=$2
  shift 2
  until "$@"; do
    if ((SECONDS >= end)) || ! alive "$pid"; then return 1; fi
    sleep 0.1
  done
}

gone() { ! alive "$1"; }
nothing_left() { [[ -z $(ours) ]]; }

# stop PID asks a process to end and fails if it does not, or not well.
stop() {
  alive "$1" || { echo "process $1 had ended already"; return 1; }
  kill -TERM "$1"
  await 30 $$ gone "$1" || { echo "process $1 did not end within 30 s"; return 1; }
  wait "$1"
}

cleanup() {
  local status=$? pid
  trap - EXIT
  for pid in $dapr_pid $custody_pid; do
    if ours | grep -x "$pid" >"$work/ending"; then stop "$pid" || status=1; fi
  done
  for pid in $(ours); do
    kill -KILL "$pid" || true
  done
  rm -rf "$work"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# check NAME COMMAND... prints whether the command succeeded, and what it said
# if it did not.
check() {
  local name=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then
    echo "ok    $name"
  else
    echo "FAIL  $name"
    sed 's/^/      /' "$work/check.log"
    failed=1
  fi
}

# need is a check without which the others mean nothing.
need() {
  check "$@"
  ((failed)) || return 0
  tail -n 20 "$work"/custody.log "$work"/dapr.log "$work"/answer "$orders"/.dapr/logs/*.log 2>/dev/null || true
  exit 1
}

# said FILE PATTERN... wants each pattern in the file, and shows it if one is missing.
said() {
  local file=$1 pattern
  shift
  for pattern in "$@"; do
    grep -qE -- "$pattern" "$file" || { echo "no $pattern in:"; cat "$file"; return 1; }
  done
}

# asked PORT BODY PATTERN... has an agent call a tool.
asked() {
  local port=$1 body=$2
  shift 2
  curl -sS --max-time 30 -H 'Content-Type: application/json' -d "$body" -o "$work/answer" "http://127.0.0.1:$port/call" &&
    said "$work/answer" "$@"
}

agent_listens() { curl -sf --max-time 5 -o "$work/answer" "http://127.0.0.1:$1/healthz"; }
sees_tools() {
  curl -sS --max-time 30 -o "$work/answer" "http://127.0.0.1:$support/tools" &&
    grep -xF '{"ok":true,"tools":["get_order","list_customers"]}' "$work/answer"
}
has_started_all() { (($(grep -c 'Started Dapr with app id' "$work/dapr.log") == 4)); }
has_answered() { said "$work/plane" '^# with the Dapr CLI: ' >"$work/await.log"; }

order='{"tool": "get_order", "arguments": {"order_id": 1001}}'
report='{"tool": "run_report", "arguments": {"report": "top_customers"}'
denied=('"ok":false' 'Denied by policy' '"code":-32013')

# --- the parts -------------------------------------------------------------

version=$(go -C "$here" list -m -f '{{.Version}}' github.com/dapr/cli)
nice go -C "$here" build -ldflags "-X main.version=${version#v}" -o "$root/bin/dapr" github.com/dapr/cli

# PostgreSQL does not run as root: another user has to pass through.
mkdir -p "$orders" "$work/data"
chmod 0711 "$work" "$work/data"
ln -s "$root/bin" "$work/bin"
cp -r "$root"/examples/orders/{config,policies,resources,dapr.yaml} "$orders"
sed -i 's/appPort: 87/appPort: 187/' "$orders/dapr.yaml"

export CUSTODY_HOME=$work/home
env "$mark" "$custody" up --control-plane-only -f "$orders/dapr.yaml" >"$work/plane" 2>"$work/custody.log" &
custody_pid=$!
need 'custody starts the control plane' await 90 "$custody_pid" has_answered
runtime=$(sed -n "s/^# with the Dapr CLI: DAPR_RUNTIME_PATH='\([^']*\)'.*/\1/p" "$work/plane")
(. "$work/plane" && printf '%s\n' "$DAPR_TRUST_ANCHORS" >"$work/ca.pem")

# Without CUSTODY_POSTGRES_URL: the CLI ends apps with SIGKILL, which would leave
# a schema in the user's own server.
(cd "$orders" && exec env -u CUSTODY_POSTGRES_URL "$mark" ORDERS_DATA_DIR="$work/data" DAPR_RUNTIME_PATH="$runtime" \
  "$root/bin/dapr" run -f dapr.yaml) >"$work/dapr.log" 2>&1 &
dapr_pid=$!
for port in $support $fulfilment $analytics; do
  need "dapr run starts the agent on port $port" await 90 "$dapr_pid" agent_listens "$port"
done
need 'dapr run has started all four apps' await 60 "$dapr_pid" has_started_all
need 'support-agent is shown its two tools' await 60 "$dapr_pid" sees_tools

# --- while it runs ---------------------------------------------------------

check 'support-agent may call get_order' asked $support "$order" '"ok":true' '"customer"'
check 'support-agent may not call run_report' asked $support "$report}" "${denied[@]}"
check 'support-agent may not call it in the name of another' \
  asked $support "$report, \"headers\": {\"Dapr-Caller-App-Id\": \"analytics-agent\"}}" "${denied[@]}"
check 'analytics-agent may call run_report' asked $analytics "$report}" '"ok":true'
check 'fulfilment-agent may call get_order' asked $fulfilment "$order" '"ok":true'

policy_in_force() {
  local set
  set=$("$custody" policy lint "$orders/policies" | sed -n 's/.* set \([0-9a-f]\{12\}\)$/\1/p') &&
    "$custody" policy status >"$work/status" && said "$work/status" "^orders-mcp .* ${set:?} .* in force"
}
check 'custody policy status shows this policy in force' policy_in_force

# Each sidecar, the port of which the CLI says, is connected to both services.
connected() {
  local port ports
  ports=$(sed -n 's/.*Started Dapr with app id .* HTTP Port: \([0-9]*\)\..*/\1/p' "$work/dapr.log")
  for port in $ports; do
    curl -sS --max-time 5 -o "$work/answer" "http://127.0.0.1:$port/v1.0/metadata" &&
      said "$work/answer" '"scheduler":\{"connected_addresses":\["127.0.0.1:50006"' 'placement: connected' || return 1
  done
}
check 'the sidecars are connected to Placement and Scheduler' connected

# Every socket that listens is on 127.0.0.1 (0100007F in /proc/net/tcp).
only_loopback() {
  local pid
  for pid in $(ours); do
    find "/proc/$pid/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n'
  done >"$work/sockets"
  awk 'NR == FNR { mine[$1]; next }
    $4 == "0A" && $10 in mine { listen++; if ($2 !~ /^0100007F:/) { print "listens on " $2; bad = 1 } }
    END { if (listen < 20) { print listen " listeners seen"; bad = 1 } exit bad }' "$work/sockets" /proc/net/tcp /proc/net/tcp6
}
check 'whatever listens does so on 127.0.0.1' only_loopback

stranger_refused() {
  if "$runtime/.dapr/bin/daprd" --app-id stranger >"$work/answer" 2>&1; then return 1; fi
  said "$work/answer" "no app 'stranger' in .* it has no identity here"
}
check 'an app that the run file does not name gets no identity' stranger_refused

# --- the end, and what is left ---------------------------------------------

check 'dapr run ends' stop "$dapr_pid"
check 'custody ends' stop "$custody_pid"
list_left() { await 10 $$ nothing_left || { for pid in $(ours); do tr '\0' ' ' <"/proc/$pid/cmdline"; echo; done; return 1; }; }
check 'no process is left' list_left
no_run_left() { [[ -z $(find "$CUSTODY_HOME/runs" -mindepth 1) ]]; }
check 'no folder of the run is left' no_run_left

verify() { "$custody" receipts verify --trust-bundle "$1" --trust-domain custody.local --journal "$orders/journal"; }
check 'the receipts verify offline with the printed trust bundle' verify "$work/ca.pem"
unverified() { ! verify "$root/tests/vectors/other-bundle.pem"; }
check 'they do not verify with that of another trust domain' unverified
listed() {
  "$custody" receipts list --journal "$orders/journal" >"$work/list" &&
    said "$work/list" 'support-agent .*get_order .*allow' 'support-agent .*run_report .*deny' 'analytics-agent .*run_report .*allow'
}
check 'they tell who was allowed and who was denied' listed

exit "$failed"
