#!/usr/bin/env python3
"""Makes pins.parquet and actions.parquet of MovieLens-100k.

    python3 examples/movielens/import.py --out DIR [--split 0.8] [--min-rating 4]

The data come out of a package on PyPI. Embeddings are made from ratings before --split
only, so judge recommendations on later days. The seed is fixed. Needs pip, numpy, scipy and
pyarrow.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import dataset  # noqa: E402

PACKAGE = "recbole==1.2.1"
TABLES = [f"recbole/dataset_example/ml-100k/ml-100k.{name}" for name in ("item", "inter")]
SECOND = 10**6
# What genres weigh beside who liked a film. Half brings films that one user likes nearest,
# judged by ratings from 0.6 to 0.8 of the time with vectors of those before.
GENRES = 0.5


def read_tables():
    """Films by their id, and ratings; both with columns named as before the colon."""
    tables = []
    for text in dataset.read_package(PACKAGE, TABLES):
        options = csv.ParseOptions(delimiter="\t", quote_char=False)
        table = csv.read_csv(pa.BufferReader(text), parse_options=options)
        tables.append(table.rename_columns([n.split(":")[0] for n in table.column_names]))
    films, ratings = tables
    films = {film["item_id"]: film for film in films.to_pylist()}
    return films, {name: np.array(ratings[name]) for name in ratings.column_names}


def genres(film):
    """The genres of a film; none where the data say that they are unknown."""
    return [genre for genre in (film["class"] or "").split() if genre != "unknown"]


def embed(films, saves, ids, dimension):
    """Vectors of `ids`: who liked them, and their genres; zero without either."""
    row = np.searchsorted(ids, saves["item_id"])
    own = dataset.factors(dataset.positive_pmi(saves["user_id"], row, len(ids)), dimension)
    kinds = [genres(films[pin]) for pin in ids.tolist()]
    return dataset.unit(own + GENRES * dataset.means_of_kinds(own, kinds))


def title(film):
    """Name and year, with the genres in parentheses."""
    name = ", ".join(str(part) for part in (film["movie_title"], film["release_year"]) if part)
    return f"{name} ({', '.join(genres(film))})" if genres(film) else name


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path, help="directory to write to")
    parser.add_argument(
        "--split", default="0.8", help="end of the training part: a date, or a quantile of time"
    )
    parser.add_argument("--min-rating", type=float, default=4.0, help="least rating of a save")
    parser.add_argument("--dimension", type=int, default=64)
    args = parser.parse_args()

    films, ratings = read_tables()
    saves = {name: ratings[name][ratings["rating"] >= args.min_rating] for name in ratings}
    time = saves["timestamp"].astype(np.int64) * SECOND
    split = dataset.split_at(args.split, time)
    ids = np.array(sorted(films))
    training = {name: column[time < split] for name, column in saves.items()}
    embedding = embed(films, training, ids, args.dimension)
    known = np.any(embedding, axis=1)
    of_pins = np.isin(saves["item_id"], ids[known])
    pins = {
        "pin_id": ids[known],
        "embedding": embedding[known],
        "title": [title(films[pin]) for pin in ids[known].tolist()],
    }
    actions = {
        "user_id": saves["user_id"][of_pins],
        "pin_id": saves["item_id"][of_pins],
        "time": time[of_pins],
    }
    dataset.write(args.out, pins, actions)
    users = len(np.unique(actions["user_id"]))
    print(f"{known.sum()} pins, {of_pins.sum()} actions of {users} users in {args.out}")
    print(f"left out: {(~known).sum()} films with neither a save before the split nor a genre")
    print(f"embeddings know the time before {dataset.date_of(split)}")


if __name__ == "__main__":
    main()
