//! Which member of a set takes the next piece of work.
//!
//! A router knows members (replicas, worker processes, shards), chooses among them by one of eight
//! strategies, watches how they do, and keeps what a person decided about them. The choice reads
//! an immutable snapshot that is swapped atomically; everything that changes with each request
//! (work in flight, latency, replies) lives outside of it in a slab of atomics, so a swap of the
//! strategy, of a weight or of the members loses no count and no request.
//!
//! Three rules hold for every strategy. A member that was removed before the call is never
//! offered, and an id is never mistaken for the member that later took its slot. A draining member
//! takes nothing new and finishes what it has. A mark that a person set is undone by no timer.

mod candidates;
mod health;
mod member;
mod policy;
mod roster;
mod snapshot;
mod sticky;
mod view;

pub use candidates::Candidates;
pub use health::{Change, HealthEvent, Why};
pub use member::{MEMBERS_MAX, Mark, MemberId, MemberSpec};
pub use policy::{RouterPolicy, Strategy, UnknownStrategy};
pub use roster::Router;
pub use view::{Ejection, MemberError, MemberView, RouterStats};
