"""The store of source logits on disk. For every position it keeps the largest logit and the float16 gaps to the others.

A cache is a folder for one source: one checkpoint, dtype, max_length and k. Its format is 2:

    meta.json                               what made the logits, and which columns are stored
    tokenizer.zip                           if ids are stored: the source's tokenizer, as `save_pretrained` writes it
    shard-<sha256 of the file, first 16 digits>.safetensors
    manifest.json                           size and SHA-256 of each of these files (`gldfusion.manifest`)
    .manifest.lock                          an empty file; who changes the manifest locks it
    .claims                                 an empty file; processes that fill the cache lock bytes of it

meta.json holds `format`; a hash of the whole `checkpoint`, and separate hashes of its `model`, `tokenizer` and chat
`template`; `dtype`, `max_length`, `k`, `vocabulary`, `vocabulary_hash` and `columns` (the optional ones); and
`content`, one hash of model, tokenizer, template, dtype and max_length together. If the source ran elsewhere,
`answered_by` is its name, which belongs to `content` too, and the values are log probabilities (`cache.answers`).

A shard holds R texts with P positions in all, one text after the other:

    keys       u8   [R, 16]    sha256(content + key of the text), first 16 bytes (`store.row_key`)
    positions  u32  [R + 1]    text i has the positions from positions[i] to positions[i + 1]
    bytes      u32  [R + 1]    text i has the bytes from bytes[i] to bytes[i + 1] of `starts`
    top        f16  [P]        largest logit
    gaps       f16  [P, k-1]   top - (2nd to k-th largest logit)
    starts     u8   [about P/2] byte of the response at which each label starts, half a byte each (`pack_starts`)
    ids        u8   [w, P, k]  optional: vocabulary ids, byte by byte; w = 2, 3 or 4, by the size of the vocabulary
    lse        f16  [P]        optional: log-sum-exp of all logits - top
    mean       f16  [P]        optional: top - mean of all logits
    std        f16  [P]        optional: standard deviation of all logits
    nll        f32  [P]        optional: negative log-likelihood of the label

The key of a row depends on the source and the text, never on the row's place in a file. So data may be reordered,
extended or shared between runs, and the rows of a shard that was copied from another source's cache are never found.
Gaps are stored because they are more exact: float16 gaps change the softmax of logits near 28 by 0.00016 in total
variation, raw float16 logits by 0.0075.
"""

from __future__ import annotations

from gldfusion.cache.build import build_cache
from gldfusion.cache.inspect import cache_stat, verify_cache
from gldfusion.cache.integrity import Broken
from gldfusion.cache.store import SourceCache
from gldfusion.cache.workers import build_with_workers

__all__ = ["Broken", "SourceCache", "build_cache", "build_with_workers", "cache_stat", "verify_cache"]
