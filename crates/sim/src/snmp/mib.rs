//! What a model of device knows: rows in the order of their names, encoded before they are asked.
//!
//! The problem: the simulator shares a machine with the client that it loads, so it must spend far
//! less on a row than the client does. The rule: a fixed row is its encoded binding, and rows that
//! follow each other lie next to each other, so that a bulk answer is one copy. A row that is
//! asked by its exact name (a get, or the next step of a walk) is found by hash, everything else
//! by binary search.
//!
//! Edge cases: live rows have no bytes here and are encoded when asked; Counter64 rows are marked,
//! because a v1 agent must not show them (RFC 3584 section 4.2.2.1); objects (a column or a scalar
//! without its instance) are kept, because noSuchInstance is only right below one.

use std::collections::BTreeMap;
use std::fmt;

use trunkline_engine::rng::mix64;
use trunkline_wire_snmp::{Oid, OidBuf, OwnedValue, PduKind, Version, decode, encode, varbind_len};

use super::source::{NAME_PREFIX_MAX, Source, tag};

/// Rows of one MIB at most.
pub const ROWS_MAX: usize = 4_000_000;
/// Encoded bytes of one MIB at most.
pub const MIB_BYTES_MAX: usize = 1 << 30;

/// Why a MIB was not built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MibError {
    /// More than [`ROWS_MAX`] rows.
    #[error("{0} rows are more than the {ROWS_MAX} that a MIB may have")]
    TooManyRows(usize),
    /// More than [`MIB_BYTES_MAX`] bytes.
    #[error("the rows take more than {MIB_BYTES_MAX} bytes")]
    TooManyBytes,
    /// A value that has no encoding.
    #[error("{oid} has a value that cannot be encoded: {reason}")]
    Value {
        /// The row.
        oid: OidBuf,
        /// What the encoder said.
        reason: String,
    },
    /// A [`Source::Name`] with too long a prefix.
    #[error("{oid} has a name prefix of more than {NAME_PREFIX_MAX} bytes")]
    NamePrefix {
        /// The row.
        oid: OidBuf,
    },
}

/// Collects the rows of a MIB in any order; a later row replaces an earlier one of its name.
#[derive(Clone, Debug, Default)]
pub struct MibBuilder {
    rows: BTreeMap<OidBuf, (Source, bool)>,
    objects: BTreeMap<OidBuf, bool>,
}

impl MibBuilder {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row that can only be read.
    pub fn row(&mut self, oid: OidBuf, source: Source) -> &mut Self {
        self.rows.insert(oid, (source, false));
        self
    }

    /// Adds a row of a fixed value that can only be read.
    pub fn fixed(&mut self, oid: OidBuf, value: OwnedValue) -> &mut Self {
        self.row(oid, Source::Fixed(value))
    }

    /// Adds a row that can be written with values of its own type.
    pub fn writable(&mut self, oid: OidBuf, source: Source) -> &mut Self {
        self.rows.insert(oid, (source, true));
        self
    }

    /// Declares an object type: a scalar's or column's name without the instance. An instance of
    /// it that does not exist is noSuchInstance instead of noSuchObject. Objects of declared rows
    /// with a single index arc need no declaration.
    pub fn object(&mut self, oid: OidBuf) -> &mut Self {
        self.objects.entry(oid).or_default();
        self
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Encodes the rows.
    ///
    /// # Errors
    /// When there are too many, or one has a value that cannot be encoded.
    pub fn build(mut self) -> Result<Mib, MibError> {
        if self.rows.len() > ROWS_MAX {
            return Err(MibError::TooManyRows(self.rows.len()));
        }
        self.derive_objects();
        let mut mib = Mib {
            rows: Vec::with_capacity(self.rows.len() + 1),
            names: Vec::with_capacity(self.rows.len()),
            encoded: Vec::new(),
            live: Vec::new(),
            index: Index::with_room_for(self.rows.len()),
            objects: self.objects.into_iter().collect(),
        };
        for (oid, (source, writable)) in self.rows {
            mib.push(oid, source, writable)?;
        }
        mib.finish();
        Ok(mib)
    }

    /// Every row's parent is an object unless an ancestor of the row was declared as one.
    fn derive_objects(&mut self) {
        for (oid, (_, writable)) in &self.rows {
            let declared = object_above(self.objects.range(..=oid.clone()).next_back(), oid);
            let object = declared.or_else(|| oid.as_oid().parent().map(Oid::to_owned));
            if let Some(object) = object {
                *self.objects.entry(object).or_default() |= writable;
            }
        }
    }
}

fn object_above(candidate: Option<(&OidBuf, &bool)>, oid: &OidBuf) -> Option<OidBuf> {
    let (object, _) = candidate?;
    oid.as_oid().starts_with(object).then(|| object.clone())
}

/// What a model of device knows; immutable, shared by all its devices.
pub struct Mib {
    rows: Vec<Row>,
    names: Vec<OidBuf>,
    encoded: Vec<u8>,
    live: Vec<Live>,
    index: Index,
    objects: Vec<(OidBuf, bool)>,
}

/// A live row.
pub(super) struct Live {
    pub(super) source: Source,
    /// Its encoded binding up to the value, with the length octet of the whole left 0.
    pub(super) stem: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// Where its binding starts in `encoded`; it ends where the next row's starts.
    at: u32,
    /// The first row from here on that is live: up to there one copy will do.
    fixed_until: u32,
    /// Its place in `live`, or [`FIXED`].
    live: u32,
    tag: u8,
    writable: bool,
}

const FIXED: u32 = u32::MAX;

impl fmt::Debug for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Mib({} rows, {} of them live)",
            self.len(),
            self.live.len()
        )
    }
}

impl Mib {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names of all rows in order.
    pub fn names(&self) -> &[OidBuf] {
        &self.names
    }

    /// The row of this name.
    pub fn find(&self, oid: Oid<'_>) -> Option<usize> {
        self.index.find(oid, &self.names)
    }

    /// The first row behind this name; [`Self::len`] when there is none.
    pub fn first_behind(&self, oid: Oid<'_>) -> usize {
        match self.find(oid) {
            Some(row) => row + 1,
            None => self.names.partition_point(|name| name.as_oid() <= oid),
        }
    }

    /// How to make a live row; `None` when the row is fixed.
    pub(super) fn live(&self, row: usize) -> Option<&Live> {
        self.live.get(self.rows[row].live as usize)
    }

    /// The encoded binding of a fixed row; empty for a live one.
    pub(super) fn binding(&self, row: usize) -> &[u8] {
        &self.encoded[self.rows[row].at as usize..self.rows[row + 1].at as usize]
    }

    /// The encoded bindings of the fixed rows from `first` on, as many whole ones as `count` and
    /// `space` bytes allow, and how many those are; 0 when `first` is live or does not fit.
    pub(super) fn run(&self, first: usize, count: usize, space: usize) -> (usize, &[u8]) {
        let start = self.rows[first];
        let until = (start.fixed_until as usize).min(first.saturating_add(count));
        let room = (start.at as usize).saturating_add(space);
        let within = |row: &Row| row.at as usize <= room;
        // Mostly everything fits; only a full page has to be searched for its last row.
        let until = match self.rows.get(until) {
            Some(end) if within(end) => until,
            _ => first + self.rows[first + 1..=until.max(first)].partition_point(within),
        };
        let end = self.rows[until].at as usize;
        (until - first, &self.encoded[start.at as usize..end])
    }

    /// The first octet of a row's value.
    pub(super) fn tag(&self, row: usize) -> u8 {
        self.rows[row].tag
    }

    pub(super) fn is_writable(&self, row: usize) -> bool {
        self.rows[row].writable
    }

    /// The object type that `oid` is or is an instance of, and whether any of its instances can
    /// be written.
    pub(super) fn object(&self, oid: Oid<'_>) -> Option<bool> {
        let behind = self
            .objects
            .partition_point(|(object, _)| object.as_oid() <= oid);
        let (object, writable) = self.objects.get(behind.checked_sub(1)?)?;
        oid.starts_with(object).then_some(*writable)
    }

    fn push(&mut self, oid: OidBuf, source: Source, writable: bool) -> Result<(), MibError> {
        let at = self.offset()?;
        let tag = source.tag();
        let mut live = FIXED;
        match source {
            Source::Fixed(value) => self.encoded.extend(encode_binding(&oid, &value)?),
            Source::Name { prefix } if prefix.len() > NAME_PREFIX_MAX => {
                return Err(MibError::NamePrefix { oid });
            }
            source => {
                live = u32::try_from(self.live.len()).unwrap_or(FIXED);
                let stem = stem_of(&oid)?;
                self.live.push(Live { source, stem });
            }
        }
        self.index.insert(oid.as_oid(), self.names.len());
        self.names.push(oid);
        self.rows.push(Row {
            at,
            fixed_until: 0,
            live,
            tag,
            writable,
        });
        Ok(())
    }

    fn finish(&mut self) {
        let end = self.rows.len();
        let mut fixed_until = end as u32;
        for (row, entry) in self.rows.iter_mut().enumerate().rev() {
            if entry.live != FIXED {
                fixed_until = row as u32;
            }
            entry.fixed_until = fixed_until;
        }
        // One more entry, so that the last row's end is where a next one would start.
        self.rows.push(Row {
            at: self.encoded.len() as u32,
            fixed_until: end as u32,
            live: FIXED,
            tag: 0,
            writable: false,
        });
    }

    fn offset(&self) -> Result<u32, MibError> {
        if self.encoded.len() > MIB_BYTES_MAX {
            return Err(MibError::TooManyBytes);
        }
        u32::try_from(self.encoded.len()).map_err(|_| MibError::TooManyBytes)
    }
}

/// One binding in its encoding.
pub(super) fn encode_binding(oid: &OidBuf, value: &OwnedValue) -> Result<Vec<u8>, MibError> {
    let value = value.as_value();
    let mut slot = vec![0; varbind_len(oid.as_oid(), &value) + 64];
    let refuse = |reason: String| MibError::Value {
        oid: oid.clone(),
        reason,
    };
    let (version, kind) = (Version::V2c, PduKind::Response);
    let range = encode(
        &mut slot,
        version,
        b"",
        kind,
        0,
        0,
        0,
        [(oid.as_oid(), value)],
    )
    .map_err(|error| refuse(error.to_string()))?;
    let message = decode(&slot[range]).map_err(|error| refuse(error.to_string()))?;
    Ok(message.pdu.varbinds.raw().to_vec())
}

fn stem_of(oid: &OidBuf) -> Result<Box<[u8]>, MibError> {
    let mut binding = encode_binding(oid, &OwnedValue::Null)?;
    binding.truncate(binding.len() - 2);
    // A name of more than 120 octets takes another form, which the page writes piece by piece.
    if binding.len() == oid.as_ber().len() + 4 {
        binding[1] = 0;
    } else {
        binding.clear();
    }
    Ok(binding.into())
}

/// An open-addressing table from names to rows, at most half full.
struct Index {
    /// Row numbers plus one; 0 is empty. Their count is a power of two.
    slots: Box<[u32]>,
}

impl Index {
    fn with_room_for(rows: usize) -> Self {
        let slots = (rows * 2).next_power_of_two().max(2);
        Self {
            slots: vec![0; slots].into(),
        }
    }

    fn insert(&mut self, oid: Oid<'_>, row: usize) {
        let mask = self.slots.len() - 1;
        let mut slot = hash(oid) & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = row as u32 + 1;
    }

    fn find(&self, oid: Oid<'_>, names: &[OidBuf]) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(oid) & mask;
        loop {
            let row = self.slots[slot].checked_sub(1)? as usize;
            if names[row].as_ber() == oid.as_ber() {
                return Some(row);
            }
            slot = (slot + 1) & mask;
        }
    }
}

fn hash(oid: Oid<'_>) -> usize {
    let (words, tail) = oid.as_ber().as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    let state = words.iter().fold(tail.len() as u64, |state, word| {
        (state ^ u64::from_le_bytes(*word))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    });
    mix64(state ^ u64::from_le_bytes(last)) as usize
}

/// Whether a v1 agent hides the row.
pub(super) fn hidden_from_v1(mib: &Mib, row: usize) -> bool {
    mib.tag(row) == tag::COUNTER64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(text: &str) -> OidBuf {
        text.parse().unwrap()
    }

    fn sample() -> Mib {
        let mut builder = MibBuilder::new();
        builder
            .fixed(
                oid("1.3.6.1.2.1.1.1.0"),
                OwnedValue::OctetString((*b"box").into()),
            )
            .row(oid("1.3.6.1.2.1.1.3.0"), Source::Uptime)
            .writable(
                oid("1.3.6.1.2.1.1.5.0"),
                Source::Fixed(OwnedValue::Integer(5)),
            )
            .fixed(oid("1.3.6.1.4.1.16384.1.9.1.2"), OwnedValue::Integer(1))
            .fixed(oid("1.3.6.1.4.1.200.1.0"), OwnedValue::Counter64(u64::MAX))
            .object(oid("1.3.6.1.4.1.16384.1"));
        builder.build().unwrap()
    }

    #[test]
    fn rows_are_in_the_order_of_their_arcs_and_found_by_name() {
        let mib = sample();
        let names: Vec<String> = mib.names().iter().map(|n| n.as_oid().to_string()).collect();
        assert_eq!(
            names[3..],
            ["1.3.6.1.4.1.200.1.0", "1.3.6.1.4.1.16384.1.9.1.2"]
        );
        for (row, name) in mib.names().iter().enumerate() {
            assert_eq!(mib.find(name.as_oid()), Some(row));
            assert_eq!(mib.first_behind(name.as_oid()), row + 1);
        }
        let behind = [
            ("1.3", 0),
            ("1.3.6.1.2.1.1.3", 1),
            ("1.3.6.1.4.1.201", 4),
            ("2.1", 5),
        ];
        for (asked, row) in behind {
            assert_eq!(mib.find(oid(asked).as_oid()), None);
            assert_eq!(mib.first_behind(oid(asked).as_oid()), row, "{asked}");
        }
    }

    #[test]
    fn a_run_ends_at_a_live_row_a_count_and_a_page() {
        let mib = sample();
        let len = |row| mib.binding(row).len();
        assert_eq!(mib.run(0, 9, 999), (1, mib.binding(0)));
        assert_eq!(mib.run(1, 9, 999), (0, [].as_slice()));
        assert_eq!(mib.run(2, 9, 999).0, 3);
        assert_eq!(mib.run(2, 2, 999).0, 2);
        assert_eq!(mib.run(2, 9, len(2) + len(3)).0, 2);
        assert_eq!(mib.run(2, 9, len(2) + len(3) - 1).0, 1);
        assert_eq!(mib.run(2, 9, len(2) - 1).0, 0);
        let all = [mib.binding(2), mib.binding(3), mib.binding(4)].concat();
        assert_eq!(mib.run(2, 3, all.len()), (3, all.as_slice()));
    }

    #[test]
    fn objects_are_declared_or_the_parents_of_rows() {
        let mib = sample();
        let cases = [
            ("1.3.6.1.2.1.1.1", Some(false)),
            ("1.3.6.1.2.1.1.1.7", Some(false)),
            ("1.3.6.1.2.1.1.5.1", Some(true)),
            ("1.3.6.1.2.1.1.2.0", None),
            ("1.3.6.1.4.1.16384.1.5", Some(false)),
            ("1.3.6.1", None),
        ];
        for (asked, wanted) in cases {
            assert_eq!(mib.object(oid(asked).as_oid()), wanted, "{asked}");
        }
    }

    #[test]
    fn an_empty_mib_answers() {
        let mib = MibBuilder::new().build().unwrap();
        assert_eq!(mib.find(oid("1.3").as_oid()), None);
        assert_eq!(mib.first_behind(oid("1.3").as_oid()), 0);
    }

    #[test]
    fn what_cannot_be_encoded_is_refused_by_row() {
        let mut builder = MibBuilder::new();
        let bytes = [].into();
        builder.fixed(oid("1.3.6.1"), OwnedValue::Unknown { tag: 0x1f, bytes });
        assert!(
            matches!(builder.build(), Err(MibError::Value { oid: at, .. }) if at == oid("1.3.6.1"))
        );
        let mut builder = MibBuilder::new();
        let prefix = "x".repeat(NAME_PREFIX_MAX + 1);
        builder.row(oid("1.3.6.1"), Source::Name { prefix });
        assert!(matches!(builder.build(), Err(MibError::NamePrefix { .. })));
    }
}
