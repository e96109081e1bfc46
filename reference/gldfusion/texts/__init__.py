"""Training texts, read and encoded for the pivot.

The texts of a small data file are encoded in each process. Those of large files are encoded once, by several worker
processes, and kept in the user's cache as an Arrow file. All processes of a training map this file into their memory,
so they share one copy of it, and later trainings on the same data with the same tokenizer find it there.

- `columns`: the columns of encoded texts, and `Texts`, which reads them
- `store`: the file: its name says what it holds, and a checksum says whether it is intact
- `workers`: encodes texts in several processes
"""

from gldfusion.texts.columns import Texts, encode_texts
from gldfusion.texts.store import load_texts
from gldfusion.texts.workers import Encoding, encoding_of

__all__ = ["Encoding", "Texts", "encode_texts", "encoding_of", "load_texts"]
