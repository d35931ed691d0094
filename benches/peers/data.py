"""The pins every engine is measured on, with the exact answers, made once and cached.

A data set is a directory of three files: `pins.parquet` (what pinnersage reads),
`vectors.npy` (the same vectors for the Python peers) and `nearest.npy` (for each query
the row numbers of its 400 nearest other pins, by exact float32 scores).

For filters every pin has two attributes, which follow from the vectors.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DIMENSION = 256
QUERIES = 1000
NEAREST = 400
QUICK_PINS = 10_000
CLUSTERED = {"clustered": 200_000, "clustered_100k": 100_000, "clustered_1m": 1_000_000}
HARD_PINS = 80_000
ATTRIBUTES = ("random", "correlated")


@dataclass
class DataSet:
    name: str
    directory: Path

    @property
    def parquet(self):
        return self.directory / "pins.parquet"

    @property
    def vector_file(self):
        return self.directory / "vectors.npy"

    def pins(self):
        return len(np.load(self.vector_file, mmap_mode="r"))

    def vectors(self):
        return np.load(self.vector_file)

    def nearest(self):
        return np.load(self.directory / "nearest.npy")


def prepare(name, cache, quick):
    """The data set of that name, made if it is not there yet."""
    data = DataSet(name, cache / (f"{name}_quick" if quick else name))
    if (data.directory / "nearest.npy").exists():
        return data
    data.directory.mkdir(parents=True, exist_ok=True)
    if name in CLUSTERED:
        vectors, titles = clustered(QUICK_PINS if quick else CLUSTERED[name])
    elif name == "hard":
        vectors, titles = hard(QUICK_PINS if quick else HARD_PINS)
    else:
        vectors, titles = wordnet(cache, QUICK_PINS if quick else None)
    write_parquet(data.parquet, vectors, titles)
    np.save(data.vector_file, vectors)
    np.save(data.directory / "nearest.npy", exact_nearest(vectors))
    return data


def clustered(pins):
    """Points around centers, as uneven as item embeddings are.

    - One center for every 100 pins, uniform on the sphere of a latent space of 48
      dimensions, so that beyond its own cluster a point still has meaningful neighbors.
    - Cluster sizes are lognormal (sigma 1) clipped to 10 .. 2,000.
    - A point is its center plus Gaussian noise of a length drawn for the cluster
      (lognormal, median 0.5, sigma 0.4): tight and loose clusters.
    - The latent space is turned into 256 dimensions and Gaussian noise of length 0.3 is
      added in all of them; then the point is scaled to length one. Order is shuffled.
    """
    latent, random = 48, np.random.default_rng(20200703)
    centers = rows_of_length_one(random.standard_normal((pins // 100, latent)))
    sizes = np.clip(random.lognormal(0.0, 1.0, len(centers)) * 60, 10, 2000)
    radius = random.lognormal(np.log(0.5), 0.4, len(centers))
    cluster = random.choice(len(centers), pins, p=sizes / sizes.sum())
    rotation, _ = np.linalg.qr(random.standard_normal((DIMENSION, latent)))

    vectors = np.empty((pins, DIMENSION), np.float32)
    for rows in np.array_split(np.arange(pins), max(1, pins // 50_000)):
        of = cluster[rows]
        noise = random.standard_normal((len(rows), latent)) / np.sqrt(latent)
        points = (centers[of] + radius[of, None] * noise) @ rotation.T
        points += 0.3 / np.sqrt(DIMENSION) * random.standard_normal(points.shape)
        vectors[rows] = rows_of_length_one(points)
    return vectors, [f"cluster {number}" for number in cluster]


def hard(pins):
    """Points on which a graph of too little quality loses recall.

    - One topic for every 67 pins, their sizes falling as rank to the power -0.6.
    - A quarter of a point, on average, is the way from its topic to another.
    - Around the topic it lies in a ball of 12 dimensions of the topic's own.
    - Little noise in all 256 dimensions; then the point is scaled to length one.
    """
    topics, ball, random = pins // 67, 12, np.random.default_rng(1)
    centers = 0.8 / np.sqrt(DIMENSION) * random.standard_normal((topics, DIMENSION))
    share = 1 / np.arange(1, topics + 1) ** 0.6
    first, second = random.choice(topics, (2, pins), p=share / share.sum())
    way = random.beta(1, 3, (pins, 1))
    points = (1 - way) * centers[first] + way * centers[second]
    lengths = 0.5 / 1.7 / np.sqrt(np.arange(1, ball + 1))
    for topic in range(topics):
        rows = np.flatnonzero(first == topic)
        basis, _ = np.linalg.qr(random.standard_normal((DIMENSION, ball)))
        points[rows] += (random.standard_normal((len(rows), ball)) * lengths) @ basis.T
    points += 0.2 / np.sqrt(DIMENSION) * random.standard_normal(points.shape)
    return rows_of_length_one(points).astype(np.float32), [f"topic {topic}" for topic in first]


def wordnet(cache, pins):
    """Definitions of WordNet as all-MiniLM-L6-v2 sees them, on 256 principal components."""
    import wordnet as text

    texts, titles = text.definitions()
    embedded = cache / "wordnet-minilm.npy"
    if not embedded.exists():
        text.embedding(texts, embedded)
    vectors = text.principal_components(np.load(embedded), DIMENSION)
    step = len(vectors) // pins if pins else 1
    return np.ascontiguousarray(vectors[::step][:pins]), titles[::step][:pins]


def rows_of_length_one(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def attributes(vectors):
    """What filters go by, one number in [0, 1) a pin each.

    `random` has nothing to do with the vector. `correlated` is the rank of the inner product
    with one direction, so that a range of it is a half of the space or a slice.
    """
    pins, random = len(vectors), np.random.default_rng(16)
    ranks = np.argsort(np.argsort(vectors @ random.standard_normal(DIMENSION)))
    return dict(zip(ATTRIBUTES, (random.random(pins), ranks / pins)))


def write_parquet(path, vectors, titles, **columns):
    """`pin_id` is the row number."""
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    table = pa.table({
        "pin_id": np.arange(len(vectors), dtype=np.int64),
        "embedding": pa.ListArray.from_arrays(offsets, vectors.reshape(-1)),
        "title": titles,
        **columns,
    })
    pq.write_table(table, path, row_group_size=50_000)


def query_rows(pins):
    """The pins that are asked about: evenly spaced ones."""
    return np.arange(QUERIES) * pins // QUERIES


def exact_nearest(vectors):
    """For each query the rows of its nearest pins, nearest first, the query left out."""
    queries = query_rows(len(vectors))
    nearest = []
    for some in np.array_split(queries, 10):
        scores = vectors[some] @ vectors.T
        scores[np.arange(len(some)), some] = -np.inf
        best = np.argpartition(-scores, NEAREST, axis=1)[:, :NEAREST]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        nearest.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(nearest).astype(np.int32)
