//! Dead letters: work that could not be delivered, kept so that a person can decide.
//!
//! A [`Letter`] says what it was, why it died, what was tried and who touched it since. The
//! [`LetterBox`] holds the letters within bounds and decides what may be done with them; a
//! [`Redrive`] sends them again at a limited rate. None of it does I/O: every change comes back as
//! a [`Change`] that the caller appends to its log, encoded by [`encode_letter`] and
//! [`encode_event`]; at start the log's [`Record`]s go through [`LetterBox::restore`].
//!
//! Redriving is at least once: an acknowledgement that a crash swallowed means that the letter
//! waits again. What must not happen twice must not be redriven.

mod codec;
mod filter;
mod id;
mod letter;
mod letter_box;
mod policy;
mod redrive;

pub use codec::{DecodeError, Record, decode, encode_event, encode_letter};
pub use filter::{Filter, LetterState, Listed, Page};
pub use id::{LetterId, ParseIdError};
pub use letter::{Attempt, AuditEvent, AuditKind, Draft, Letter, Payload, Reason};
pub use letter_box::{Change, Inserted, LetterBox, LetterCounts, LetterError, Refused, RefusedWhy};
pub use policy::{LetterPolicy, OnFull, PolicyError};
pub use redrive::{Redrive, RedriveError, RedrivePlan, RedriveProgress, Settled};
