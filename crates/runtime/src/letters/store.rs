//! Segment files: appending, closing, deleting, and reading them back.
//!
//! A batch is written at the end of the last whole one and then synced. When either fails, the file
//! is cut back to its last whole batch; when a sync failed, or cutting back does too, the file is
//! closed and the next batch begins a new one: after a failed sync the kernel may have dropped the
//! pages, and only what was synced before can be trusted.
//!
//! Segments go from the oldest on only. So an event that says that a letter is gone never goes
//! before the letter itself, and no letter comes back at the next start.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use trunkline_engine::letters::{LetterId, Record, decode};

use super::writer::Life;
use super::{Cut, LogPolicy, OpenLogError, Recovery, frame};

#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    segment_bytes: u64,
    /// Length of every segment, by number; the last may be the active one.
    segments: BTreeMap<u64, u64>,
    active: Option<Active>,
    next_number: u64,
    /// In which segment each letter's newest form is.
    homes: HashMap<LetterId, u64>,
    /// Letters per segment.
    living: HashMap<u64, usize>,
}

#[derive(Debug)]
struct Active {
    file: File,
    number: u64,
    /// Bytes that are whole and synced.
    len: u64,
}

impl Store {
    /// Reads all segments of `dir`, cutting each at its first bad frame.
    pub(super) fn open(
        dir: &Path,
        policy: &LogPolicy,
    ) -> Result<(Self, Vec<Record>, Recovery), OpenLogError> {
        let mut store = Self {
            dir: dir.to_owned(),
            segment_bytes: policy.segment_bytes,
            segments: BTreeMap::new(),
            active: None,
            next_number: 0,
            homes: HashMap::new(),
            living: HashMap::new(),
        };
        let (mut records, mut recovery) = (Vec::new(), Recovery::default());
        for number in store.numbers().map_err(|source| failed(dir, source))? {
            let path = store.path(number);
            store
                .read_segment(number, &mut records, &mut recovery)
                .map_err(|source| failed(&path, source))?;
            store.next_number = number + 1;
        }
        recovery.records = records.len() as u64;
        store
            .continue_last()
            .map_err(|source| failed(dir, source))?;
        store.delete_dead().map_err(|source| failed(dir, source))?;
        Ok((store, records, recovery))
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    /// How many segments there are.
    pub(super) fn count(&self) -> usize {
        self.segments.len()
    }

    /// Whether a form of this letter is in the log.
    pub(super) fn holds(&self, id: LetterId) -> bool {
        self.homes.contains_key(&id)
    }

    /// Appends whole frames and syncs them. All of them are in the log afterwards, or an error.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.len >= self.segment_bytes)
        {
            self.active = None;
        }
        if self.active.is_none() {
            self.active = Some(self.begin()?);
        }
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::Other.into());
        };
        match active.append(frames) {
            Ok(()) => {
                self.segments.insert(active.number, active.len);
                Ok(())
            }
            Err(Broken { error, usable }) => {
                if !usable {
                    self.active = None;
                }
                Err(error)
            }
        }
    }

    /// Notes what an appended record says of a letter's life.
    pub(super) fn note(&mut self, life: Life) {
        let (id, home) = match life {
            Life::Born(id) => (id, self.segments.keys().next_back().copied()),
            Life::Gone(id) => (id, None),
            Life::Noted => return,
        };
        let before = match home {
            Some(home) => {
                *self.living.entry(home).or_default() += 1;
                self.homes.insert(id, home)
            }
            None => self.homes.remove(&id),
        };
        if let Some(living) = before.and_then(|before| self.living.get_mut(&before)) {
            *living -= 1;
        }
    }

    /// Deletes the oldest segments as long as no letter lives there. The active one stays.
    pub(super) fn delete_dead(&mut self) -> io::Result<()> {
        let active = self.active.as_ref().map(|active| active.number);
        while let Some(&oldest) = self.segments.keys().next() {
            if Some(oldest) == active || self.living.get(&oldest).is_some_and(|n| *n > 0) {
                break;
            }
            fs::remove_file(self.path(oldest))?;
            self.segments.remove(&oldest);
            self.living.remove(&oldest);
        }
        Ok(())
    }

    /// The letters that live in the oldest segment, unless it is the active one.
    pub(super) fn pinned(&self) -> Vec<LetterId> {
        let active = self.active.as_ref().map(|active| active.number);
        let Some(&oldest) = self.segments.keys().next().filter(|n| Some(**n) != active) else {
            return Vec::new();
        };
        let here = self.homes.iter().filter(|(_, home)| **home == oldest);
        let mut ids: Vec<LetterId> = here.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    fn read_segment(
        &mut self,
        number: u64,
        records: &mut Vec<Record>,
        recovery: &mut Recovery,
    ) -> io::Result<()> {
        let path = self.path(number);
        let bytes = fs::read(&path)?;
        let scan = frame::scan(number, &bytes);
        recovery.segments += 1;
        if scan.whole < bytes.len() {
            let offset = scan.whole as u64;
            cut(&path, offset)?;
            recovery.cuts.push(Cut {
                file: path.clone(),
                offset,
                bytes: bytes.len() as u64 - offset,
            });
        }
        if scan.payloads.is_empty() {
            // A crash while it was begun, or nothing of it is whole.
            return fs::remove_file(&path);
        }
        self.segments.insert(number, scan.whole as u64);
        for payload in scan.payloads {
            match decode(&bytes[payload]) {
                Ok(record) => {
                    self.note(life(&record));
                    records.push(record);
                }
                Err(_) => recovery.unreadable += 1,
            }
        }
        Ok(())
    }

    /// Goes on in the last segment when it has room: restarts do not each leave a small file.
    fn continue_last(&mut self) -> io::Result<()> {
        let Some((&number, &len)) = self.segments.iter().next_back() else {
            return Ok(());
        };
        if len < self.segment_bytes {
            let file = OpenOptions::new().write(true).open(self.path(number))?;
            self.active = Some(Active { file, number, len });
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<Active> {
        let number = self.next_number;
        let path = self.path(number);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut active = Active {
            file: options.open(&path)?,
            number,
            len: 0,
        };
        let begun = active
            .append(&frame::header(number))
            .map_err(|broken| broken.error);
        // The new name must survive too, or the segment's first letters would not.
        let begun = begun.and_then(|()| File::open(&self.dir)?.sync_all());
        if let Err(error) = begun {
            // An empty or half-begun segment holds nothing; the next try makes it again.
            fs::remove_file(&path).ok();
            return Err(error);
        }
        self.next_number += 1;
        self.segments.insert(number, active.len);
        Ok(active)
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
            numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.log"))
    }
}

/// A batch that is not in the file, and whether the file can take another.
struct Broken {
    error: io::Error,
    usable: bool,
}

impl Active {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if let Err(error) = self.file.write_all_at(bytes, self.len) {
            let usable = self.file.set_len(self.len).is_ok();
            return Err(Broken { error, usable });
        }
        if let Err(error) = self.file.sync_data() {
            // Cut so that a start finds no frame that was refused; it may find it all the same.
            self.file.set_len(self.len).ok();
            return Err(Broken {
                error,
                usable: false,
            });
        }
        self.len += bytes.len() as u64;
        Ok(())
    }
}

fn life(record: &Record) -> Life {
    match record {
        Record::Letter(letter) => Life::Born(letter.id),
        Record::Event { id, event } if event.kind.is_final() => Life::Gone(*id),
        Record::Event { .. } => Life::Noted,
    }
}

fn cut(path: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

fn failed(path: &Path, source: io::Error) -> OpenLogError {
    let path = path.to_owned();
    OpenLogError { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_disk() -> Active {
        Active {
            // Every write to it fails with ENOSPC, and it cannot be cut either.
            file: OpenOptions::new().write(true).open("/dev/full").unwrap(),
            number: 0,
            len: 16,
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_closes_a_file_that_cannot_be_cut() {
        let temp = crate::testing::TempDir::new();
        let (mut store, ..) = Store::open(temp.path(), &LogPolicy::default()).unwrap();
        store.active = Some(full_disk());
        let error = store.append(b"frames").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(store.active.is_none());
        store.append(b"frames").unwrap();
        assert_eq!(store.count(), 1, "the next one began anew");
    }
}
