//! The seam between a datagram state machine and whatever moves its bytes.
//!
//! It is a batch, not an item: the driver hands over all that one turn received and offers slots
//! for all that one turn sends, so that the machine is entered twice a turn and the kernel is too.
//! The driver owns the memory; a machine encodes into a slot and reads from one, and keeps neither.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// Bytes that a transmit slot holds: an Ethernet frame's UDP payload over IPv4.
pub const TX_SLOT_BYTES: usize = 1472;
/// Bytes that a receive slot holds: the largest UDP payload.
pub const RX_SLOT_BYTES: usize = 65_535;

/// Who a received datagram came from and what befell it.
#[derive(Clone, Copy, Debug)]
pub struct RxMeta {
    /// The sender.
    pub from: SocketAddr,
    /// The local address it was sent to, where the socket reports it.
    pub to: Option<IpAddr>,
    /// Which of the driver's sockets received it.
    pub socket: u16,
    /// Its length in the slot.
    pub len: usize,
}

/// The datagrams that one turn received.
pub struct RxBatch {
    bytes: Vec<u8>,
    metas: Vec<RxMeta>,
    slots: usize,
    slot_bytes: usize,
}

impl std::fmt::Debug for RxBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RxBatch({} of {})", self.metas.len(), self.slots)
    }
}

impl RxBatch {
    /// Room for `slots` datagrams of any UDP size. The memory is zeroed lazily by the kernel, so
    /// slots that only ever see small datagrams cost one page each.
    pub fn new(slots: usize) -> Self {
        Self::with_slot_bytes(slots, RX_SLOT_BYTES)
    }

    /// Room for `slots` datagrams of at most `slot_bytes`.
    pub fn with_slot_bytes(slots: usize, slot_bytes: usize) -> Self {
        let bytes = vec![0; slots * slot_bytes];
        Self {
            bytes,
            metas: Vec::with_capacity(slots),
            slots,
            slot_bytes,
        }
    }

    /// How many datagrams it can hold.
    pub fn capacity(&self) -> usize {
        self.slots
    }

    /// How many datagrams it holds.
    pub fn len(&self) -> usize {
        self.metas.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    /// Forgets all datagrams.
    pub fn clear(&mut self) {
        self.metas.clear();
    }

    /// The datagrams in the order of their arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&RxMeta, &[u8])> {
        let slot = self.slot_bytes;
        let at = move |i: usize, meta: &RxMeta| i * slot..i * slot + meta.len;
        self.metas
            .iter()
            .enumerate()
            .map(move |(i, meta)| (meta, &self.bytes[at(i, meta)]))
    }

    /// The memory of the free slots, one slice each, for a driver that receives into them.
    pub fn free_slots(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.bytes
            .chunks_exact_mut(self.slot_bytes)
            .skip(self.metas.len())
    }

    /// Declares the next free slot filled, as the driver did through [`Self::free_slots`].
    ///
    /// # Panics
    /// When no slot is free or `meta.len` exceeds a slot: the driver's own mistake.
    pub fn commit(&mut self, meta: RxMeta) {
        assert!(self.metas.len() < self.slots && meta.len <= self.slot_bytes);
        self.metas.push(meta);
    }

    /// Copies a datagram into the next free slot; false when there is none or it is too long.
    pub fn push(&mut self, from: SocketAddr, to: Option<IpAddr>, socket: u16, data: &[u8]) -> bool {
        if self.metas.len() == self.slots || data.len() > self.slot_bytes {
            return false;
        }
        let start = self.metas.len() * self.slot_bytes;
        self.bytes[start..start + data.len()].copy_from_slice(data);
        self.metas.push(RxMeta {
            from,
            to,
            socket,
            len: data.len(),
        });
        true
    }
}

/// Where a datagram goes and which bytes of its slot it is.
#[derive(Clone, Debug)]
pub struct TxMeta {
    /// The receiver.
    pub to: SocketAddr,
    /// The local address to send from, where it matters (a simulated fleet).
    pub from: Option<IpAddr>,
    /// Which of the driver's sockets sends it.
    pub socket: u16,
    /// The bytes of the slot; encoders that write backwards leave a gap in front.
    pub range: Range<usize>,
    /// The machine's name for this datagram, given back when it could not be sent.
    pub token: u64,
}

/// The datagrams that one turn wants to send.
pub struct TxBatch {
    bytes: Vec<u8>,
    metas: Vec<TxMeta>,
    slots: usize,
    slot_bytes: usize,
}

impl std::fmt::Debug for TxBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TxBatch({} of {})", self.metas.len(), self.slots)
    }
}

impl TxBatch {
    /// Room for `slots` datagrams of [`TX_SLOT_BYTES`].
    pub fn new(slots: usize) -> Self {
        Self::with_slot_bytes(slots, TX_SLOT_BYTES)
    }

    /// Room for `slots` datagrams of at most `slot_bytes`.
    pub fn with_slot_bytes(slots: usize, slot_bytes: usize) -> Self {
        let bytes = vec![0; slots * slot_bytes];
        Self {
            bytes,
            metas: Vec::with_capacity(slots),
            slots,
            slot_bytes,
        }
    }

    /// How many datagrams it can hold.
    pub fn capacity(&self) -> usize {
        self.slots
    }

    /// How many datagrams it holds.
    pub fn len(&self) -> usize {
        self.metas.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    /// Whether no slot is free.
    pub fn is_full(&self) -> bool {
        self.metas.len() == self.slots
    }

    /// Forgets all datagrams.
    pub fn clear(&mut self) {
        self.metas.clear();
    }

    /// The next free slot's memory; `None` when the batch is full. Encode into it, then
    /// [`Self::commit`]; without a commit the slot stays free.
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        let start = self.metas.len() * self.slot_bytes;
        Some(&mut self.bytes[start..start + self.slot_bytes])
    }

    /// Declares the next free slot filled.
    ///
    /// # Panics
    /// When no slot is free or the range exceeds a slot: the machine's own mistake.
    pub fn commit(&mut self, meta: TxMeta) {
        assert!(self.metas.len() < self.slots && meta.range.end <= self.slot_bytes);
        self.metas.push(meta);
    }

    /// Copies a datagram into the next free slot; false when there is none or it is too long.
    pub fn push(&mut self, to: SocketAddr, from: Option<IpAddr>, socket: u16, data: &[u8]) -> bool {
        let Some(slot) = self.slot() else {
            return false;
        };
        let Some(space) = slot.get_mut(..data.len()) else {
            return false;
        };
        space.copy_from_slice(data);
        self.commit(TxMeta {
            to,
            from,
            socket,
            range: 0..data.len(),
            token: 0,
        });
        true
    }

    /// The datagrams in the order of their commits.
    pub fn iter(&self) -> impl Iterator<Item = (&TxMeta, &[u8])> {
        let slot = self.slot_bytes;
        let at = move |i: usize, m: &TxMeta| i * slot + m.range.start..i * slot + m.range.end;
        self.metas
            .iter()
            .enumerate()
            .map(move |(i, meta)| (meta, &self.bytes[at(i, meta)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        "127.0.0.1:161".parse().unwrap()
    }

    #[test]
    fn a_full_batch_refuses_and_keeps_what_it_has() {
        let mut rx = RxBatch::with_slot_bytes(2, 4);
        assert!(rx.push(peer(), None, 0, b"abcd") && rx.push(peer(), None, 0, b"e"));
        assert!(!rx.push(peer(), None, 0, b"f"));
        let seen: Vec<&[u8]> = rx.iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(seen, [b"abcd".as_slice(), b"e"]);
        rx.clear();
        assert!(rx.is_empty() && !rx.push(peer(), None, 0, b"too long"));
    }

    #[test]
    fn an_uncommitted_slot_stays_free() {
        let mut tx = TxBatch::with_slot_bytes(1, 8);
        tx.slot().unwrap()[7] = 9;
        assert!(tx.is_empty());
        tx.commit(TxMeta {
            to: peer(),
            from: None,
            socket: 3,
            range: 7..8,
            token: 5,
        });
        let (meta, bytes) = tx.iter().next().unwrap();
        assert_eq!((meta.socket, meta.token, bytes), (3, 5, [9].as_slice()));
        assert!(tx.slot().is_none());
    }
}
