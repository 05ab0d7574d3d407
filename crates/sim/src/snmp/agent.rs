//! What one agent answers to one request, by the letter of RFC 1157 and RFC 3416.
//!
//! The rule: an [`Agent`] is a view of everything that an answer depends on (rows, time, fault,
//! values that were set) and changes nothing; a set is first planned here, completely or not at
//! all, and then carried out by the fleet.
//!
//! Edge cases: v1 says noSuchName where v2c has exceptions, and hides Counter64; a bulk answer
//! that outgrows its page stops at the last whole row, and is tooBig only when no row fits; v1
//! knows six error codes, so the others are translated (RFC 3584 section 4.4).

use std::collections::HashMap;
use std::ops::Range;

use trunkline_wire_snmp::{ErrorStatus, Message, Oid, PduKind, Version};

use super::faults::DeviceFault;
use super::mib::{Mib, encode_binding, hidden_from_v1};
use super::page::{Head, Page};
use super::source::{Encoded, Moment, tag, type_tag};

/// Values that were set: encoded bindings by row.
pub(super) type Sets = HashMap<usize, Box<[u8]>>;

/// What a set will do, in the order of its bindings.
pub(super) type Writes = Vec<(usize, Box<[u8]>)>;

/// Everything that an answer depends on.
pub(super) struct Agent<'a> {
    pub(super) mib: &'a Mib,
    pub(super) moment: Moment,
    pub(super) fault: Option<&'a DeviceFault>,
    pub(super) sets: Option<&'a Sets>,
    /// Bytes of a message at most.
    pub(super) limit: usize,
}

/// Why a request ends without its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// With this error at this binding, from 1; 0 when it is none's.
    Error(ErrorStatus, usize),
    /// It would not fit.
    TooBig,
    /// In silence: its bindings are malformed, or not even an error would fit.
    Unanswerable,
}

/// What a walk meets next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Row(usize),
    End,
}

impl Agent<'_> {
    /// Writes the answer to a get, get-next or get-bulk into `slot`.
    pub(super) fn answer(
        &self,
        request: &Message<'_>,
        slot: &mut [u8],
    ) -> Result<Range<usize>, Stop> {
        let mut page = Page::new(slot, self.limit, request.community).ok_or(Stop::Unanswerable)?;
        let filled = self
            .refuse_by_size(request)
            .and_then(|()| match request.pdu.kind {
                PduKind::Get => self.get(request, &mut page),
                PduKind::GetNext => self.get_next(request, &mut page),
                _ => self.get_bulk(request, &mut page),
            });
        self.seal(request, page, filled)
    }

    /// Writes the answer to a set that was `planned`: its own bindings, with or without an error.
    pub(super) fn answer_set(
        &self,
        request: &Message<'_>,
        slot: &mut [u8],
        planned: Result<(), Stop>,
    ) -> Result<Range<usize>, Stop> {
        let mut page = Page::new(slot, self.limit, request.community).ok_or(Stop::Unanswerable)?;
        let filled = planned.and_then(|()| {
            let whole = page.put(request.pdu.varbinds.raw());
            whole.then_some(()).ok_or(Stop::TooBig)
        });
        self.seal(request, page, filled)
    }

    /// Checks a set as a whole and says which rows get which encoded bindings.
    pub(super) fn plan_set(&self, request: &Message<'_>) -> Result<Writes, Stop> {
        let mut plan = Vec::new();
        for (at, binding) in (1..).zip(request.pdu.varbinds.clone()) {
            let binding = binding.map_err(|_| Stop::Unanswerable)?;
            let refuse = |status| Stop::Error(status, at);
            self.check_subtree(binding.oid, at)?;
            let Some(row) = self.mib.find(binding.oid) else {
                // RFC 3416 section 4.2.5: (2) before (7).
                let creatable = self.mib.object(binding.oid) == Some(true);
                return Err(refuse(if creatable {
                    ErrorStatus::NoCreation
                } else {
                    ErrorStatus::NotWritable
                }));
            };
            if !self.mib.is_writable(row) {
                return Err(refuse(ErrorStatus::NotWritable));
            }
            let value = binding.value.to_owned();
            if type_tag(&value) != self.mib.tag(row) {
                return Err(refuse(ErrorStatus::WrongType));
            }
            let encoded = encode_binding(&binding.oid.to_owned(), &value)
                .map_err(|_| refuse(ErrorStatus::WrongEncoding))?;
            plan.push((row, encoded.into()));
        }
        Ok(plan)
    }

    fn seal(
        &self,
        request: &Message<'_>,
        mut page: Page<'_>,
        filled: Result<(), Stop>,
    ) -> Result<Range<usize>, Stop> {
        let (status, index) = match filled {
            Ok(()) => (ErrorStatus::NoError, 0),
            Err(Stop::Error(status, index)) => (status, index),
            Err(Stop::TooBig) => (ErrorStatus::TooBig, 0),
            Err(Stop::Unanswerable) => return Err(Stop::Unanswerable),
        };
        let version = request.version;
        if status != ErrorStatus::NoError {
            page.clear();
            // A v2c tooBig has no bindings (RFC 3416 section 4.2.1); every other error has the
            // request's, and the request's always fit a page of the size that it came in.
            let echo = status != ErrorStatus::TooBig || version == Version::V1;
            if echo && !page.put(request.pdu.varbinds.raw()) {
                return Err(Stop::Unanswerable);
            }
        }
        let wrong_id = matches!(self.fault, Some(DeviceFault::WrongId));
        let request_id = request.pdu.request_id.wrapping_add(i32::from(wrong_id));
        let status = match version {
            Version::V1 => for_v1(status),
            Version::V2c => status,
        };
        Ok(page.seal(&Head {
            version,
            community: request.community,
            request_id,
            status: status.as_i32(),
            index: i32::try_from(index).unwrap_or(i32::MAX),
        }))
    }

    fn get(&self, request: &Message<'_>, page: &mut Page<'_>) -> Result<(), Stop> {
        let v1 = request.version == Version::V1;
        for (at, binding) in (1..).zip(request.pdu.varbinds.clone()) {
            let oid = binding.map_err(|_| Stop::Unanswerable)?.oid;
            self.check_subtree(oid, at)?;
            let row = self.mib.find(oid);
            let fits = match row.filter(|row| !(v1 && hidden_from_v1(self.mib, *row))) {
                Some(row) => self.put_row(row, page),
                None if v1 => return Err(Stop::Error(ErrorStatus::NoSuchName, at)),
                None if self.mib.object(oid).is_some() => {
                    page.put_binding(oid.as_ber(), &[tag::NO_SUCH_INSTANCE, 0])
                }
                None => page.put_binding(oid.as_ber(), &[tag::NO_SUCH_OBJECT, 0]),
            };
            if !fits {
                return Err(Stop::TooBig);
            }
        }
        Ok(())
    }

    fn get_next(&self, request: &Message<'_>, page: &mut Page<'_>) -> Result<(), Stop> {
        let v1 = request.version == Version::V1;
        for (at, binding) in (1..).zip(request.pdu.varbinds.clone()) {
            let oid = binding.map_err(|_| Stop::Unanswerable)?.oid;
            let fits = match self.behind(oid, v1) {
                Next::Row(row) => {
                    self.check_row(row, at)?;
                    self.put_row(row, page)
                }
                Next::End if v1 => return Err(Stop::Error(ErrorStatus::NoSuchName, at)),
                Next::End => page.put_binding(oid.as_ber(), &[tag::END_OF_MIB_VIEW, 0]),
            };
            if !fits {
                return Err(Stop::TooBig);
            }
        }
        Ok(())
    }

    fn get_bulk(&self, request: &Message<'_>, page: &mut Page<'_>) -> Result<(), Stop> {
        if matches!(self.fault, Some(DeviceFault::EmptyBulk)) {
            return Ok(());
        }
        let pdu = &request.pdu;
        let non_repeaters = usize::try_from(pdu.error_status).unwrap_or(0);
        let repetitions = usize::try_from(pdu.error_index).unwrap_or(0);
        let mut columns = Vec::new();
        for (at, binding) in (1..).zip(pdu.varbinds.clone()) {
            let asked = binding.map_err(|_| Stop::Unanswerable)?.oid;
            let mut column = Column {
                asked,
                at,
                last: None,
                ended: false,
            };
            if at > non_repeaters {
                columns.push(column);
            } else if !self.put_next(&mut column, 0, page)? {
                return page_full(page);
            }
        }
        if let [column] = columns.as_mut_slice()
            && self.fault.is_none()
            && self.sets.is_none()
        {
            return self.put_column(column, repetitions, page);
        }
        for repetition in 0..repetitions {
            for column in &mut columns {
                if !self.put_next(column, repetition, page)? {
                    return page_full(page);
                }
            }
            if columns.iter().all(|column| column.ended) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The common walk: one column of an agent without quirks, copied run by run.
    fn put_column(
        &self,
        column: &mut Column<'_>,
        repetitions: usize,
        page: &mut Page<'_>,
    ) -> Result<(), Stop> {
        let mut row = self.mib.first_behind(column.asked);
        let mut left = repetitions;
        while left > 0 {
            if row == self.mib.len() {
                column.last = row.checked_sub(1).filter(|_| left < repetitions);
                let name = column.name(self.mib).as_ber();
                let fits = page.put_binding(name, &[tag::END_OF_MIB_VIEW, 0]);
                return if fits { Ok(()) } else { page_full(page) };
            }
            let (count, bytes) = self.mib.run(row, left, page.space());
            if count > 0 && page.put(bytes) {
                (row, left) = (row + count, left - count);
            } else if self.mib.live(row).is_some() && self.put_row(row, page) {
                (row, left) = (row + 1, left - 1);
            } else {
                return page_full(page);
            }
        }
        Ok(())
    }

    /// Puts the next row of a column; false when the page is full.
    fn put_next(
        &self,
        column: &mut Column<'_>,
        repetition: usize,
        page: &mut Page<'_>,
    ) -> Result<bool, Stop> {
        let mut next = match (column.ended, column.last) {
            (true, _) => Next::End,
            (false, Some(row)) => self.adjust(row + 1, Some(row), false),
            (false, None) => self.behind(column.asked, false),
        };
        if let (Next::Row(row), Some(DeviceFault::SkipRows(n))) = (next, self.fault)
            && repetition > 0
            && repetition.is_multiple_of(*n as usize)
        {
            next = self.adjust(row + 1, Some(row), false);
        }
        match next {
            Next::Row(row) => {
                self.check_row(row, column.at)?;
                column.last = Some(row);
                Ok(self.put_row(row, page))
            }
            Next::End => {
                column.ended = true;
                let name = column.name(self.mib).as_ber();
                Ok(page.put_binding(name, &[tag::END_OF_MIB_VIEW, 0]))
            }
        }
    }

    fn put_row(&self, row: usize, page: &mut Page<'_>) -> bool {
        if let Some(set) = self.sets.and_then(|sets| sets.get(&row)) {
            return page.put(set);
        }
        let Some(live) = self.mib.live(row) else {
            return page.put(self.mib.binding(row));
        };
        let number = u32::try_from(row).unwrap_or(u32::MAX);
        let Some(value) = live.source.encode(&self.moment, number) else {
            return page.put(self.mib.binding(row));
        };
        if let Encoded::Number { bytes, len } = &value
            && page.put_stem(&live.stem, bytes, *len)
        {
            return true;
        }
        page.put_binding(self.mib.names()[row].as_ber(), value.as_slice())
    }

    /// What follows `oid`, which need not be a row.
    fn behind(&self, oid: Oid<'_>, v1: bool) -> Next {
        let exact = self.mib.find(oid);
        let row = exact.map_or_else(|| self.mib.first_behind(oid), |row| row + 1);
        self.adjust(row, exact, v1)
    }

    /// What this agent takes for `row`, the successor of `before`.
    fn adjust(&self, row: usize, before: Option<usize>, v1: bool) -> Next {
        let recurs = |n: u32| row > 0 && row.is_multiple_of(n as usize);
        let row = match (self.fault, before) {
            (Some(DeviceFault::Loop(n)), _) if recurs(*n) => row - *n as usize,
            (Some(DeviceFault::Repeat(n)), Some(before)) if recurs(*n) => before,
            (Some(DeviceFault::EndsEarly(n)), _) if recurs(*n) => return Next::End,
            _ => row,
        };
        let mut rows = row..self.mib.len();
        let shown = rows.find(|row| !(v1 && hidden_from_v1(self.mib, *row)));
        shown.map_or(Next::End, Next::Row)
    }

    fn check_row(&self, row: usize, at: usize) -> Result<(), Stop> {
        match self.fault {
            Some(DeviceFault::GenErr(_)) => self.check_subtree(self.mib.names()[row].as_oid(), at),
            _ => Ok(()),
        }
    }

    fn check_subtree(&self, oid: Oid<'_>, at: usize) -> Result<(), Stop> {
        match self.fault {
            Some(DeviceFault::GenErr(subtree)) if oid.starts_with(subtree) => {
                Err(Stop::Error(ErrorStatus::GenErr, at))
            }
            _ => Ok(()),
        }
    }

    /// A device with [`DeviceFault::TooBig`] judges by numbers, before it looks at any row.
    fn refuse_by_size(&self, request: &Message<'_>) -> Result<(), Stop> {
        let Some(DeviceFault::TooBig(most)) = self.fault else {
            return Ok(());
        };
        let pdu = &request.pdu;
        let names = pdu.varbinds.clone().count();
        let wanted = if pdu.kind == PduKind::GetBulk {
            let once = names.min(usize::try_from(pdu.error_status).unwrap_or(0));
            let repetitions = usize::try_from(pdu.error_index).unwrap_or(0);
            once.saturating_add((names - once).saturating_mul(repetitions))
        } else {
            names
        };
        if wanted > *most as usize {
            return Err(Stop::TooBig);
        }
        Ok(())
    }
}

/// One binding of a bulk request and how far it has come.
struct Column<'a> {
    asked: Oid<'a>,
    at: usize,
    last: Option<usize>,
    ended: bool,
}

impl Column<'_> {
    /// The name under which the end is told: that of the row before (RFC 3416 section 4.2.3).
    fn name<'m>(&'m self, mib: &'m Mib) -> Oid<'m> {
        self.last
            .map_or(self.asked, |row| mib.names()[row].as_oid())
    }
}

/// A full page is an answer, unless it is empty.
fn page_full(page: &Page<'_>) -> Result<(), Stop> {
    if page.is_empty() {
        return Err(Stop::TooBig);
    }
    Ok(())
}

/// The v1 code that stands for a v2 one (RFC 3584 section 4.4).
fn for_v1(status: ErrorStatus) -> ErrorStatus {
    match status {
        ErrorStatus::WrongValue
        | ErrorStatus::WrongEncoding
        | ErrorStatus::WrongType
        | ErrorStatus::WrongLength
        | ErrorStatus::InconsistentValue => ErrorStatus::BadValue,
        ErrorStatus::NoAccess
        | ErrorStatus::NotWritable
        | ErrorStatus::NoCreation
        | ErrorStatus::InconsistentName
        | ErrorStatus::AuthorizationError => ErrorStatus::NoSuchName,
        ErrorStatus::ResourceUnavailable | ErrorStatus::CommitFailed | ErrorStatus::UndoFailed => {
            ErrorStatus::GenErr
        }
        kept => kept,
    }
}
