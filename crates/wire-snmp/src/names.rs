//! The small closed sets of the protocol: versions, PDU kinds, error codes.
//!
//! The rule: names are those of the RFCs, so that they can be searched for.

use std::fmt;

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// SNMPv1 (RFC 1157), 0 on the wire.
    V1,
    /// Community-based SNMPv2 (RFC 1901), 1 on the wire.
    V2c,
}

impl Version {
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::V1 => 0,
            Self::V2c => 1,
        }
    }

    pub(crate) const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::V1),
            1 => Some(Self::V2c),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1",
            Self::V2c => "2c",
        })
    }
}

/// What a PDU asks or tells (RFC 1157 section 4.1, RFC 3416 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PduKind {
    /// GetRequest-PDU.
    Get,
    /// GetNextRequest-PDU.
    GetNext,
    /// Response-PDU (GetResponse-PDU in v1).
    Response,
    /// SetRequest-PDU.
    Set,
    /// Trap-PDU of v1, which has a header of its own.
    TrapV1,
    /// GetBulkRequest-PDU.
    GetBulk,
    /// InformRequest-PDU.
    Inform,
    /// SNMPv2-Trap-PDU.
    TrapV2,
    /// Report-PDU.
    Report,
}

impl PduKind {
    /// Every kind, in the order of their tags from 0xa0.
    pub const ALL: [Self; 9] = [
        Self::Get,
        Self::GetNext,
        Self::Response,
        Self::Set,
        Self::TrapV1,
        Self::GetBulk,
        Self::Inform,
        Self::TrapV2,
        Self::Report,
    ];

    /// The name that the RFCs give it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GetRequest-PDU",
            Self::GetNext => "GetNextRequest-PDU",
            Self::Response => "Response-PDU",
            Self::Set => "SetRequest-PDU",
            Self::TrapV1 => "Trap-PDU",
            Self::GetBulk => "GetBulkRequest-PDU",
            Self::Inform => "InformRequest-PDU",
            Self::TrapV2 => "SNMPv2-Trap-PDU",
            Self::Report => "Report-PDU",
        }
    }

    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Get => 0xa0,
            Self::GetNext => 0xa1,
            Self::Response => 0xa2,
            Self::Set => 0xa3,
            Self::TrapV1 => 0xa4,
            Self::GetBulk => 0xa5,
            Self::Inform => 0xa6,
            Self::TrapV2 => 0xa7,
            Self::Report => 0xa8,
        }
    }

    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.get(usize::from(tag.checked_sub(0xa0)?)).copied()
    }
}

impl fmt::Display for PduKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! error_status {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The error codes of a response (RFC 3416 section 3; v1 knows the first six).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorStatus {
            $($(#[$doc])* $name = $code,)*
        }

        impl ErrorStatus {
            /// Every code, in the order of their numbers from 0.
            pub const ALL: [Self; 19] = [$(Self::$name,)*];

            /// The name that RFC 3416 gives it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The number on the wire.
            pub const fn as_i32(self) -> i32 {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

error_status! {
    /// The request was carried out.
    NoError = 0, "noError";
    /// The response would not fit a message.
    TooBig = 1, "tooBig";
    /// v1: there is no such variable.
    NoSuchName = 2, "noSuchName";
    /// v1: the value does not suit the variable.
    BadValue = 3, "badValue";
    /// v1: the variable cannot be written.
    ReadOnly = 4, "readOnly";
    /// The agent failed for another reason.
    GenErr = 5, "genErr";
    /// The variable is not accessible.
    NoAccess = 6, "noAccess";
    /// A set with a value of the wrong type.
    WrongType = 7, "wrongType";
    /// A set with a value of the wrong length.
    WrongLength = 8, "wrongLength";
    /// A set with a value that was wrongly encoded.
    WrongEncoding = 9, "wrongEncoding";
    /// A set with a value that the variable can never have.
    WrongValue = 10, "wrongValue";
    /// The variable does not exist and cannot be created.
    NoCreation = 11, "noCreation";
    /// A set with a value that the variable cannot have now.
    InconsistentValue = 12, "inconsistentValue";
    /// A set that needs a resource that is not available.
    ResourceUnavailable = 13, "resourceUnavailable";
    /// A set that failed half-way.
    CommitFailed = 14, "commitFailed";
    /// A set that failed half-way and could not be undone.
    UndoFailed = 15, "undoFailed";
    /// The community or user may not do this.
    AuthorizationError = 16, "authorizationError";
    /// The variable can never be written.
    NotWritable = 17, "notWritable";
    /// The variable cannot be created now.
    InconsistentName = 18, "inconsistentName";
}

impl ErrorStatus {
    /// The code with this number on the wire; `None` for a number that RFC 3416 does not know.
    pub fn from_i32(code: i32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

impl fmt::Display for ErrorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_and_numbers_are_one_to_one() {
        for (number, status) in (0..).zip(ErrorStatus::ALL) {
            assert_eq!(status.as_i32(), number);
            assert_eq!(ErrorStatus::from_i32(number), Some(status));
        }
        for unknown in [-1, 19, i32::MIN, i32::MAX] {
            assert_eq!(ErrorStatus::from_i32(unknown), None);
        }
        assert_eq!(
            ErrorStatus::InconsistentName.to_string(),
            "inconsistentName"
        );
        assert_eq!(ErrorStatus::TooBig.to_string(), "tooBig");
    }

    #[test]
    fn pdu_kinds_and_tags_are_one_to_one() {
        for kind in PduKind::ALL {
            assert_eq!(PduKind::from_tag(kind.tag()), Some(kind));
        }
        for unknown in [0x00, 0x30, 0x9f, 0xa9, 0xff] {
            assert_eq!(PduKind::from_tag(unknown), None);
        }
        assert_eq!(PduKind::GetBulk.to_string(), "GetBulkRequest-PDU");
    }

    #[test]
    fn versions_and_numbers_are_one_to_one() {
        for version in [Version::V1, Version::V2c] {
            assert_eq!(Version::from_number(version.number()), Some(version));
        }
        assert_eq!(Version::from_number(3), None);
        assert_eq!(Version::V2c.to_string(), "2c");
    }
}
