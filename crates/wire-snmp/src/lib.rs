//! How SNMP v1 and v2c bytes are laid out: a checked view and an encoder, no I/O.
//!
//! The problem: a poller reads hundreds of thousands of replies per second from devices whose
//! encoders differ, and must neither copy them nor trust them.
//!
//! The rule: [`decode`] checks the envelope of one datagram once and borrows everything from it;
//! the variable bindings are decoded one at a time, by whoever iterates [`VarBinds`]. [`encode`]
//! writes backwards into a slot of fixed size, so that every length is known when it is written.
//! What real devices get wrong without being ambiguous is read (padded lengths, over-long and
//! empty integers, an unsigned value sent as a negative one); everything else is an error that
//! names its kind and the offset of the byte.
//!
//! Edge cases: the pairing of version, PDU kind and value type (a `GetBulk` in a v1 message) is
//! meaning, not layout, and is the caller's to judge. Bytes after the message are ignored, as
//! net-snmp does. An [`Oid`] is a small `Copy` view (`Oid<'a>`, not `&'a Oid`): a reference to
//! an unsized wrapper of bytes cannot be made without unsafe code, which this room has none of.
//!
//! ```
//! use trunkline_wire_snmp::{decode, encode, OidBuf, PduKind, Value, Version};
//!
//! let name: OidBuf = "1.3.6.1.2.1.1.1.0".parse()?;
//! let mut slot = [0; 1472];
//! let asked = [(name.as_oid(), Value::Null)];
//! let at = encode(&mut slot, Version::V2c, b"public", PduKind::Get, 7, 0, 0, asked)?;
//!
//! let message = decode(&slot[at])?;
//! assert_eq!(message.pdu.request_id, 7);
//! for varbind in message.pdu.varbinds {
//!     assert_eq!(varbind?.oid.to_string(), "1.3.6.1.2.1.1.1.0");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ber;
mod encode;
mod error;
mod message;
mod names;
mod oid;
mod oid_buf;
mod value;

pub use encode::{
    EncodeError, encode, encode_raw, encode_trap_v1, encode_varbinds, message_overhead, varbind_len,
};
pub use error::{DecodeError, DecodeErrorKind};
pub use message::{Message, Pdu, TrapV1Header, VarBind, VarBinds, decode};
pub use names::{ErrorStatus, PduKind, Version};
pub use oid::{Arcs, Oid};
pub use oid_buf::{OidBuf, OidError};
pub use value::{OwnedValue, Value};
