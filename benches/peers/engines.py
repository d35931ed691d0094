"""The in-process peers. Each knows how to build, save, load and ask one library.

All rank by inner product, which for vectors of length one is the cosine. A search is one
call with one query; `width` is what the library calls ef: how many candidates it keeps.
"""

import ctypes
import os

import numpy as np

CONSTRUCTION = 200


class Hnswlib:
    def __init__(self, links):
        self.links = links

    def build(self, vectors, path):
        import hnswlib

        index = hnswlib.Index("ip", vectors.shape[1])
        index.init_index(len(vectors), M=self.links, ef_construction=CONSTRUCTION)
        index.add_items(vectors, num_threads=os.cpu_count())
        index.save_index(path)

    def load(self, path, vector_file):
        import hnswlib

        self.index = hnswlib.Index("ip", np.load(vector_file, mmap_mode="r").shape[1])
        self.index.load_index(path)

    def set_width(self, width):
        self.index.set_ef(width)

    def search(self, query, k):
        return self.index.knn_query(query, k, num_threads=1)[0][0]


class Usearch:
    def __init__(self, scalar):
        self.scalar = scalar

    def build(self, vectors, path):
        from usearch.index import Index

        index = Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype=self.scalar,
            connectivity=16,
            expansion_add=CONSTRUCTION,
        )
        index.add(np.arange(len(vectors)), vectors, threads=os.cpu_count())
        index.save(path)

    def load(self, path, vector_file):
        from usearch.index import Index

        self.index = Index.restore(path)

    def set_width(self, width):
        self.index.expansion_search = width

    def search(self, query, k):
        return self.index.search(query, k, threads=1).keys


class Faiss:
    def __init__(self, kind):
        self.kind = kind

    def build(self, vectors, path):
        import faiss

        index = faiss.index_factory(vectors.shape[1], self.kind, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CONSTRUCTION
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, path)

    def load(self, path, vector_file):
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(path)

    def set_width(self, width):
        self.index.hnsw.efSearch = width

    def search(self, query, k):
        return self.index.search(query[None], k)[1][0]


class Voyager:
    def __init__(self, storage):
        self.storage = storage

    def build(self, vectors, path):
        import voyager

        index = voyager.Index(
            voyager.Space.InnerProduct,
            vectors.shape[1],
            M=16,
            ef_construction=CONSTRUCTION,
            max_elements=len(vectors),
            storage_data_type=getattr(voyager.StorageDataType, self.storage),
        )
        index.add_items(vectors, ids=list(range(len(vectors))), num_threads=os.cpu_count())
        index.save(path)

    def load(self, path, vector_file):
        import voyager

        self.index = voyager.Index.load(path)

    def set_width(self, width):
        self.width = width

    def search(self, query, k):
        return self.index.query(query, k, query_ef=self.width)[0]


class Glass:
    """Searches 8-bit codes and ranks the best again by the float32 vectors."""

    def build(self, vectors, path):
        import glass

        graph = glass.Index("HNSW", "IP", "FP32", R=32, L=CONSTRUCTION).build(vectors)
        graph.save(path)

    def load(self, path, vector_file):
        import glass

        glass.set_num_threads(1)
        graph = glass.Graph(path)
        self.index = glass.Searcher(graph, np.load(vector_file), "IP", "SQ8U", "FP32")
        self.index.optimize(1)

    def set_width(self, width):
        self.index.set_ef(width)

    def search(self, query, k):
        return self.index.search(query, k)[0]


class SymphonyQg:
    def build(self, vectors, path):
        import rabitqlib

        index = rabitqlib.SymqgIndex(vectors.shape[1], 32, metric="ip")
        index.build(vectors, CONSTRUCTION, num_threads=os.cpu_count())
        index.save(path)

    def load(self, path, vector_file):
        import rabitqlib

        self.index = rabitqlib.SymqgIndex.load(path)

    def set_width(self, width):
        self.width = width

    def search(self, query, k):
        return self.index.search(query[None], k, self.width)[0][0]


def return_freed_memory():
    """So that what was only needed while loading does not count as the index."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)


PEERS = {
    "hnswlib M16": Hnswlib(16),
    "hnswlib M32": Hnswlib(32),
    "usearch bf16": Usearch("bf16"),
    "usearch i8": Usearch("i8"),
    "faiss HNSW16": Faiss("HNSW16,Flat"),
    "faiss HNSW16 SQ8": Faiss("HNSW16,SQ8"),
    "voyager f32": Voyager("Float32"),
    "voyager E4M3": Voyager("E4M3"),
    "glass SQ8U": Glass(),
    "SymphonyQG": SymphonyQg(),
}
