//! Why a datagram was refused, and at which byte.
//!
//! The rule: the offset is that of the byte that breaks the rule: the tag when the tag is wrong,
//! the first length octet when the length is, the first content octet when a number does not fit,
//! the first octet of the sub-identifier within an OID, and the place of the missing byte when
//! bytes run out. It counts from the start of what was given to the decoder.

/// A refused datagram or variable binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{kind} (byte {offset})")]
#[non_exhaustive]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Where, in bytes from the start of the datagram; for
    /// [`VarBinds::from_raw`](crate::VarBinds::from_raw) and
    /// [`Oid::from_ber`](crate::Oid::from_ber), from the start of the given bytes.
    pub offset: usize,
}

impl DecodeError {
    pub(crate) const fn new(kind: DecodeErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes end where a tag or a length octet is due.
    #[error("the bytes end where a tag or a length is due")]
    Truncated,
    /// A length reaches beyond the element that encloses it, or beyond the datagram.
    #[error("a length of {declared} where only {available} bytes are left")]
    LengthOverrun {
        /// The length as sent.
        declared: u64,
        /// How many bytes there are.
        available: usize,
    },
    /// The indefinite form, which SNMP forbids (RFC 3417 section 8).
    #[error("a length in the indefinite form, which SNMP forbids")]
    IndefiniteLength,
    /// More than eight length octets.
    #[error("a length of {octets} octets, where 8 are the most")]
    LengthTooLong {
        /// How many length octets were announced.
        octets: u8,
    },
    /// A tag number above 30, which needs more than one octet and which SNMP never uses.
    #[error("a tag of more than one octet, which SNMP never uses")]
    HighTag,
    /// Another tag than the one that must stand here.
    #[error("tag {found:#04x} where {expected:#04x} is due")]
    UnexpectedTag {
        /// The tag that must stand here.
        expected: u8,
        /// The tag that does.
        found: u8,
    },
    /// A PDU tag that neither RFC 1157 nor RFC 3416 defines.
    #[error("unknown PDU tag {0:#04x}")]
    UnknownPdu(u8),
    /// A message version other than 0 (v1) and 1 (v2c).
    #[error("unsupported SNMP version {0}")]
    UnsupportedVersion(i32),
    /// An INTEGER that does not fit 32 bits.
    #[error("an INTEGER beyond 32 bits")]
    IntegerRange,
    /// A Counter32, Gauge32, TimeTicks or UInteger32 that does not fit 32 bits.
    #[error("an unsigned number beyond 32 bits")]
    UnsignedRange,
    /// A Counter64 that does not fit 64 bits.
    #[error("a Counter64 beyond 64 bits")]
    Counter64Range,
    /// An OID whose last sub-identifier is cut.
    #[error("an OID that ends within a sub-identifier")]
    OidUnterminated,
    /// A sub-identifier that starts with the filler octet 0x80 (X.690 section 8.19.2). It is
    /// refused so that an OID has one form in bytes, and equal bytes mean equal OIDs.
    #[error("an OID sub-identifier with a filler octet")]
    OidArcPadded,
    /// A sub-identifier of more than ten octets.
    #[error("an OID sub-identifier of more than 10 octets")]
    OidArcTooLong,
    /// The agent address of a v1 trap is not four bytes long.
    #[error("an agent address of {0} bytes, where 4 are due")]
    AgentAddressLength(usize),
}

impl DecodeErrorKind {
    /// A short constant name, for counting bad datagrams by reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::LengthOverrun { .. } => "length_overrun",
            Self::IndefiniteLength => "indefinite_length",
            Self::LengthTooLong { .. } => "length_too_long",
            Self::HighTag => "high_tag",
            Self::UnexpectedTag { .. } => "unexpected_tag",
            Self::UnknownPdu(_) => "unknown_pdu",
            Self::UnsupportedVersion(_) => "unsupported_version",
            Self::IntegerRange => "integer_range",
            Self::UnsignedRange => "unsigned_range",
            Self::Counter64Range => "counter64_range",
            Self::OidUnterminated => "oid_unterminated",
            Self::OidArcPadded => "oid_arc_padded",
            Self::OidArcTooLong => "oid_arc_too_long",
            Self::AgentAddressLength(_) => "agent_address_length",
        }
    }
}
