//! What answers now: live models, traffic split, micro-batches, observe.
