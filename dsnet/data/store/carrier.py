"""A Parquet file without rows that carries bytes between its first mark and its footer.

Whatever reads a store's folder as one table (pandas, polars, DuckDB's `*.parquet`, pyarrow) finds
nothing but Parquet of the shards' columns, and passes over bytes that no footer points to.
"""

from __future__ import annotations

from functools import lru_cache

from dsnet.data.store.columns import table_of
from dsnet.data.store.record import usual_score_columns

MAGIC = b"PAR1"


@lru_cache(maxsize=1)
def footer() -> bytes:
    """What makes a file of any bytes that begins with `MAGIC` one without rows, when it ends so."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table_of({}, 0, usual_score_columns(), {}), sink, store_schema=False)
    return sink.getvalue().to_pybytes()[len(MAGIC) :]
