//! The only home of unsafe code: one small file per facility, each block with its proof.

pub(crate) mod address;
pub(crate) mod control;
pub(crate) mod mmsg;
pub(crate) mod sockopt;
