//! Bytes to frames and messages of the PostgreSQL protocol, and back; knows no SQL, does no I/O.
