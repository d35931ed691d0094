"""The in-process peers that search under a filter, and the exact scans of what it selects.

`select` makes whatever a library can make once of a filter, as if it were cached. usearch
and VSAG are not here: their Python packages take no filter.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import attributes
from engines import CONSTRUCTION, Faiss, Hnswlib

QDRANT_BATCH = 1000
QDRANT_FULL_SCAN_KB = 10_000


@dataclass(frozen=True)
class Selection:
    """The pins whose `attribute` is below `bound`, which is also their share."""

    attribute: str
    bound: float


class FilteredHnswlib(Hnswlib):
    """Its filter is a function of Python, called for every point that a search looks at."""

    def select(self, selection, mask):
        self.allows = mask.tolist().__getitem__

    def search(self, query, k):
        try:
            return self.index.knn_query(query, k, num_threads=1, filter=self.allows)[0][0]
        except RuntimeError:  # fewer than k found
            return np.empty(0, np.int64)


class FilteredFaiss(Faiss):
    def select(self, selection, mask):
        import faiss

        self.selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))

    def set_width(self, width):
        import faiss

        self.parameters = faiss.SearchParametersHNSW(sel=self.selector, efSearch=width)

    def search(self, query, k):
        return self.index.search(query[None], k, params=self.parameters)[1][0]


class FaissFlat(FilteredFaiss):
    has_widths = False
    index_name = "faiss Flat"

    def build(self, vectors, path):
        import faiss

        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        faiss.write_index(index, path)

    def set_width(self, width):
        import faiss

        self.parameters = faiss.SearchParameters(sel=self.selector)


class NumpyScan:
    """The matches' vectors times the query; they are gathered anew, or once for a filter."""

    has_widths = False
    index_name = "no index"

    def __init__(self, copied):
        self.copied = copied

    def build(self, vectors, path):
        pass

    def load(self, path, vector_file):
        self.vectors = np.load(vector_file)

    def select(self, selection, mask):
        self.rows = np.flatnonzero(mask)
        self.copy = self.vectors[self.rows] if self.copied else None

    def set_width(self, width):
        pass

    def search(self, query, k):
        vectors = self.copy if self.copied else self.vectors[self.rows]
        return self.rows[best_first(vectors @ query, k)]


class Qdrant:
    """qdrant-edge: one segment, payload indexes on both attributes, filters evaluated by call."""

    index_name = "qdrant-edge"

    def __init__(self, acorn):
        self.acorn = acorn

    def build(self, vectors, path):
        import qdrant_edge as q

        Path(path).mkdir()
        graph = q.HnswIndexConfig(16, CONSTRUCTION, QDRANT_FULL_SCAN_KB)
        config = q.EdgeConfig(
            vectors=q.EdgeVectorParams(vectors.shape[1], q.Distance.Dot),
            hnsw_config=graph,
            optimizers=q.EdgeOptimizersConfig(default_segment_number=1, max_segment_size=10**9),
            max_search_threads=1,
        )
        shard = q.EdgeShard.create(path, config)
        columns = attributes(vectors)
        for name in columns:
            shard.update(q.UpdateOperation.create_field_index(name, q.PayloadSchemaType.Float))
        for rows in np.split(np.arange(len(vectors)), range(QDRANT_BATCH, len(vectors), QDRANT_BATCH)):
            points = [
                q.Point(row, vectors[row].tolist(), {name: column[row].item() for name, column in columns.items()})
                for row in rows.tolist()
            ]
            shard.update(q.UpdateOperation.upsert_points(points))
        while shard.optimize():
            pass
        shard.flush()
        shard.close()

    def load(self, path, vector_file):
        import qdrant_edge as q

        self.shard = q.EdgeShard.load(path)

    def select(self, selection, mask):
        import qdrant_edge as q

        below = q.RangeFloat(lt=selection.bound)
        self.filter = q.Filter(must=[q.FieldCondition(selection.attribute, range=below)])

    def set_width(self, width):
        import qdrant_edge as q

        acorn = q.AcornSearchParams(enable=True, max_selectivity=1.0) if self.acorn else None
        self.parameters = q.SearchParams(hnsw_ef=width, acorn=acorn)

    def search(self, query, k):
        import qdrant_edge as q

        nearest = q.Query.Nearest(query.tolist())
        request = q.SearchRequest(nearest, k, filter=self.filter, params=self.parameters)
        return np.array([point.id for point in self.shard.search(request)])


class Turbovec:
    """Scans codes of 4 bits under a mask; `width` candidates are ranked again by float32."""

    def build(self, vectors, path):
        from turbovec import TurboQuantIndex

        index = TurboQuantIndex(dim=vectors.shape[1], bit_width=4)
        index.add(vectors)
        index.write(path)

    def load(self, path, vector_file):
        from turbovec import TurboQuantIndex

        self.index = TurboQuantIndex.load(path)
        self.vectors = np.load(vector_file)

    def select(self, selection, mask):
        self.mask = mask

    def set_width(self, width):
        self.width = width

    def search(self, query, k):
        rows = self.index.search(query[None], self.width, mask=self.mask)[1][0].astype(np.int64)
        return rows[best_first(self.vectors[rows] @ query, k)]


def best_first(scores, k):
    """Where the `k` highest scores are."""
    if k < len(scores):
        best = np.argpartition(scores, -k)[-k:]
        return best[np.argsort(-scores[best])]
    return np.argsort(-scores)


FILTERED = {
    "faiss HNSW16": FilteredFaiss("HNSW16,Flat"),
    "faiss HNSW16 SQ8": FilteredFaiss("HNSW16,SQ8"),
    "hnswlib M16": FilteredHnswlib(16),
    "qdrant-edge": Qdrant(acorn=False),
    "qdrant-edge ACORN": Qdrant(acorn=True),
    "turbovec 4-bit": Turbovec(),
    "scan: faiss flat": FaissFlat("Flat"),
    "scan: numpy": NumpyScan(copied=False),
    "scan: numpy, copied": NumpyScan(copied=True),
}
