//! The configuration file: value types, shared blocks, layering, diagnostics and schema.
//!
//! One TOML file, overridden by environment variables, overridden by flags. The crate is generic
//! over the root type ([`Root`]) and knows no system. Its rule is that *all* problems are reported
//! at once and where they stand, so reading takes four steps over one tree of spans:
//!
//! 1. the file is parsed and overrides are put in ([`load`], `overrides`);
//! 2. the tree is held against the JSON schema of the root: unknown keys, types, ranges (`walk`);
//! 3. serde builds the typed value; what it refuses is reported, cut out, and it is asked again;
//! 4. [`Check`] looks at meaning, pointing with key paths ([`At`]) instead of spanned fields.
//!
//! A value that was refused is replaced by its default for the later steps only, and later problems
//! that may merely follow from that are left out; a configuration with an error never loads.

mod audit;
mod block;
mod diagnostic;
mod diff;
mod explain;
mod find;
mod load;
mod nearest;
mod overrides;
mod render;
mod schema;
mod show;
mod source;
mod tree;
mod value;
mod walk;

pub use audit::audit;
pub use block::{
    BreakerBlock, CurveChoice, LimitsBlock, OnFullChoice, QueueBlock, RateRuleBlock, RetryBlock,
};
pub use diagnostic::{At, Check, Diagnostic, Problems, Severity};
pub use diff::{Change, diff};
pub use explain::{EXPLANATIONS, Explanation, codes, explanation};
pub use find::FileChoice;
pub use load::{ENV_PREFIX, LoadOptions, Loaded, Override, Root, load};
pub use nearest::nearest;
pub use schema::schema;
pub use show::show;
pub use source::Origin;
pub use value::{
    ByteSize, Duration, Fraction, Name, Secret, SecretFile, SecretFileError, Unsealed, ValueError,
};
