//! The ringfence server.
