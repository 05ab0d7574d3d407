//! Records in a segment file.
//!
//! A segment is a header (eight bytes that name the format, the segment's number) and frames:
//! length (4 bytes, little-endian), CRC-32 of length and payload (4), payload. Reading stops at the
//! first frame that is short, too long, empty or has a wrong sum: what follows it cannot be trusted
//! to begin where it seems to.

use std::ops::Range;

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: usize = 16;
/// The largest payload; a letter's own cap is half of it.
pub(super) const PAYLOAD_MAX: usize = 32 << 20;

const MAGIC: [u8; 8] = *b"TKLETTR1";
const FRAME_BYTES: usize = 8;

/// The header of segment `number`.
pub(super) fn header(number: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Appends a frame around `payload`, which is 1 to [`PAYLOAD_MAX`] bytes long.
pub(super) fn put(out: &mut Vec<u8>, payload: &[u8]) {
    debug_assert!((1..=PAYLOAD_MAX).contains(&payload.len()));
    let length = (payload.len() as u32).to_le_bytes(); // far below u32::MAX
    out.extend(length);
    out.extend(sum(length, payload).to_le_bytes());
    out.extend(payload);
}

/// Bytes of the frame around a payload of this length.
pub(super) fn size(payload: usize) -> usize {
    FRAME_BYTES + payload
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where the payloads are.
    pub(super) payloads: Vec<Range<usize>>,
    /// The bytes that are whole; the rest is not. 0 when the header is not this segment's.
    pub(super) whole: usize,
}

/// Reads the bytes of segment `number`.
pub(super) fn scan(number: u64, bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    if !bytes.starts_with(&header(number)) {
        return scan;
    }
    scan.whole = HEADER_BYTES;
    while let Some(payload) = frame_at(bytes, scan.whole) {
        scan.whole = payload.end;
        scan.payloads.push(payload);
    }
    scan
}

fn frame_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let (expected, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if !(1..=PAYLOAD_MAX).contains(&size) {
        return None;
    }
    let payload = rest.get(..size)?;
    let start = at + FRAME_BYTES;
    (sum(*length, payload) == u32::from_le_bytes(*expected)).then_some(start..start + size)
}

fn sum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(payloads: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = header(7).to_vec();
        let mut ends = Vec::new();
        for payload in payloads {
            put(&mut bytes, payload);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn cut_anywhere_every_whole_record_before_the_cut_is_read() {
        let (bytes, ends) = segment(&[b"a", b"second", &[0; 40], b"last"]);
        for cut in 0..=bytes.len() {
            let scan = scan(7, &bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(scan.payloads.len(), whole, "cut at {cut}");
            assert!(scan.whole <= cut);
        }
    }

    #[test]
    fn spoilt_anywhere_every_record_before_that_byte_is_read_and_none_from_it_on() {
        let (bytes, ends) = segment(&[b"a", b"second", &[0; 40], b"last"]);
        for at in 0..bytes.len() {
            for flip in [1u8, 0x80, 0xff] {
                let mut spoilt = bytes.clone();
                spoilt[at] ^= flip;
                let scan = scan(7, &spoilt);
                let before = ends.iter().filter(|end| **end <= at).count();
                let expected = if at < HEADER_BYTES { 0 } else { before };
                assert_eq!(scan.payloads.len(), expected, "byte {at} ^ {flip:x}");
            }
        }
    }

    #[test]
    fn zeroes_and_lying_lengths_are_not_frames() {
        let (mut bytes, _) = segment(&[]);
        let end = bytes.len();
        bytes.extend([0; 64]);
        assert_eq!(scan(7, &bytes).whole, end);
        bytes[end..end + 4].fill(0xff);
        assert_eq!(scan(7, &bytes).whole, end);
        assert_eq!(scan(8, &bytes), Scan::default(), "another segment's bytes");
    }
}
