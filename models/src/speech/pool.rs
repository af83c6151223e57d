//! Stub.
/// Stub.
pub struct InferencePool;
/// Stub.
pub struct PoolConfig;
