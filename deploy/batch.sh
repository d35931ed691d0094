#!/bin/sh
# The daily batch: a catalogue from /input/pins*.parquet, profiles from
# /input/actions*.parquet, both under /data, where running servers find them.
# AS_OF ends the window of the profiles; unset, it is the midnight that was last.
# ATTRIBUTES names the columns of pins that become attributes, as NAME:TYPE,... or auto; unset,
# there are none.
set -eu
input=${INPUT:-/input} data=${DATA:-/data}
as_of=${AS_OF:-$(date -u +%Y-%m-%d)}

# Nobody else deletes old versions. Those of two weeks stay, to roll back to; and as
# this comes first, the version that is served now outlives its successor by a day.
for dir in catalog profiles; do
    if [ -f "$data/$dir/CURRENT" ]; then
        current=$(cat "$data/$dir/CURRENT")
        find "$data/$dir" -mindepth 1 -maxdepth 1 -type d -mtime +14 \
            ! -name neighbors ! -name "$current" -exec rm -r {} +
    fi
done
# Neighbour lists go with their catalogue.
for lists in "$data"/catalog/neighbors/*; do
    if [ ! -d "$data/catalog/${lists##*/}" ]; then rm -rf "$lists"; fi
done

pinnersage catalog build --pins "$input"/pins*.parquet --out "$data/catalog" \
    --embedding-version "${EMBEDDING_VERSION:-default}" ${ATTRIBUTES:+--attributes "$ATTRIBUTES"}
pinnersage profiles build --actions "$input"/actions*.parquet --catalog "$data/catalog" \
    --out "$data/profiles" --as-of "$as_of"
