#!/bin/bash
# Compares the rate of recorded actions without and with an archive, in turn:
#   tools/archive_cost.sh WORLD [WRITERS] [ACTIONS]
# WORLD has a catalog and profiles; its pins have the ids from 0 to 99,999, as those of
# `pinnersage simulate --pins 100000`. Each round is a new server with empty directories. A file
# a second is sixty times as many as by default. Needs the release build of the binary and of
# the example load.
set -euo pipefail
world=$1 writers=${2:-4} actions=${3:-1000}
bin=${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/.." && pwd)/target}/release
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
server=http://127.0.0.1:51051
for round in 1 2 3; do
    for archive in "" "$scratch/archive"; do
        rm -rf "$scratch/data" "$scratch/archive"
        PINNERSAGE__ACTIONS__ARCHIVE=$archive PINNERSAGE__ACTIONS__ARCHIVE_EVERY=1s \
            "$bin/pinnersage" serve --catalog "$world/catalog" --profiles "$world/profiles" \
            --data "$scratch/data" --listen 127.0.0.1:51051 --ops-listen 127.0.0.1:51064 2>"$scratch/log" &
        pid=$!
        until "$bin/pinnersage" health --server $server >/dev/null 2>&1; do sleep 0.1; done
        echo "round $round, archive $([ -n "$archive" ] && echo on || echo off)"
        "$bin/examples/load" --server $server --callers 0 --writers "$writers" --actions "$actions"
        kill $pid
        wait $pid
    done
done
