//! A walk as a state machine: one page in, the next question or the end out.
//!
//! Agents end walks in many untidy ways: they go backwards, repeat an OID, answer an empty page,
//! find a bulk too big, or fail on one row. A walk that stops must say which of these it was, so it
//! ends in exactly one of [`WalkEnd::Complete`], [`WalkEnd::Partial`] with the reason and the rows
//! that stand, or [`WalkEnd::Failed`] when no row was had. Nothing is cut short silently.
//!
//! Repetitions shrink by half when a bulk is too big, fails or stays unanswered twice, down to
//! GETNEXT; they grow again by half per good page, and what a device was found to bear is handed
//! back so that its next walk starts there.

use std::collections::HashSet;

use trunkline_wire_snmp::{DecodeError, ErrorStatus, Oid, OidBuf, Value, VarBind, VarBinds};

use crate::error::SnmpError;

/// How a walk asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GETNEXT, one row a question.
    Next,
    /// GETBULK with at most this many rows a question (1 to 65,535).
    Bulk(u32),
}

/// What a walk does when OIDs do not increase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// End as partial at the first OID that does not increase (RFC 3416 section 4.2.2 demands
    /// lexicographic order).
    #[default]
    Strict,
    /// Go on while OIDs are new; end as partial at the first one seen before.
    Relaxed,
}

/// What to walk, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkSpec {
    /// The subtree; the empty OID is the whole tree.
    pub root: OidBuf,
    /// GETNEXT or GETBULK.
    pub method: Method,
    /// What to do when OIDs do not increase.
    pub order: Order,
    /// The most rows to keep; more end the walk as partial.
    pub max_rows: u64,
}

impl WalkSpec {
    /// A strict walk of `root` by `method`, up to 10,000,000 rows.
    pub fn new(root: OidBuf, method: Method) -> Self {
        Self {
            root,
            method,
            order: Order::Strict,
            max_rows: 10_000_000,
        }
    }
}

/// How a walk ended.
#[derive(Clone, Debug, PartialEq)]
pub enum WalkEnd {
    /// Every row of the subtree was delivered.
    Complete {
        /// Rows delivered.
        rows: u64,
        /// What showed the end.
        by: EndSign,
    },
    /// Some rows were delivered, and then the walk could not go on.
    Partial {
        /// Rows delivered; they stand.
        rows: u64,
        /// Why it stopped.
        reason: WalkStop,
    },
    /// No row was delivered.
    Failed(WalkStop),
}

/// What showed that a subtree is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSign {
    /// A row outside of the subtree.
    LeftSubtree,
    /// endOfMibView (v2c) or noSuchName (v1).
    EndOfMib,
}

/// Why a walk stopped before its end.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WalkStop {
    /// No answer.
    #[error("{0}")]
    Error(#[from] SnmpError),
    /// The agent answered with an error status that smaller questions did not cure.
    #[error("the agent answered {} (error index {index})", status.as_str())]
    Status {
        /// The status.
        status: ErrorStatus,
        /// The index that it blamed.
        index: i32,
    },
    /// The agent went backwards or stood still.
    #[error("OID not increasing: {previous} >= {offending}; the agent is at fault (`-Cc` goes on)")]
    NotIncreasing {
        /// The last good OID.
        previous: OidBuf,
        /// What came after it.
        offending: OidBuf,
    },
    /// A relaxed walk saw an OID again.
    #[error("the agent is looping: {0} came twice")]
    Loop(OidBuf),
    /// The row cap was reached.
    #[error("the row cap of {0} was reached; raise max_rows if the table is that large")]
    RowCap(u64),
    /// The agent answered noError without a row, twice.
    #[error("the agent answers without rows")]
    EmptyReply,
}

/// What to do after a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Ask again; [`Walk::question`] says what.
    Ask,
    /// The walk is over.
    End(WalkEnd),
}

/// What a page was worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Bytes of the page's varbind list that hold delivered rows.
    pub kept_bytes: usize,
    /// Rows delivered, an endOfMibView row included.
    pub rows: u32,
    /// And now?
    pub next: Next,
}

/// A walk under way.
#[derive(Clone, Debug)]
pub struct Walk {
    spec: Box<WalkSpec>,
    last: OidBuf,
    rows: u64,
    repetitions: u32,
    ceiling: u32,
    empty_pages: u8,
    seen: Option<HashSet<OidBuf>>,
}

/// The most OIDs that a relaxed walk remembers; beyond it only exact repetition of the last OID
/// ends it, and the row cap.
const SEEN_MAX: usize = 1 << 20;

impl Walk {
    /// A walk that starts with what its device was found to bear (`learned`, 0 when unknown).
    pub fn new(spec: WalkSpec, learned: u32) -> Self {
        let most = match spec.method {
            Method::Next => 0,
            Method::Bulk(most) => most.max(1),
        };
        let seen = (spec.order == Order::Relaxed).then(HashSet::new);
        let ceiling = if learned == 0 {
            most
        } else {
            learned.min(most)
        };
        // BER has no OID without arcs: the whole tree is asked for from its least OID on.
        let last = if spec.root.as_oid().is_empty() {
            OidBuf::from(Oid::from_static(&[0]))
        } else {
            spec.root.clone()
        };
        Self {
            spec: Box::new(spec),
            last,
            rows: 0,
            repetitions: ceiling,
            ceiling,
            empty_pages: 0,
            seen,
        }
    }

    /// The OID to ask beyond, and the repetitions (0: GETNEXT).
    pub fn question(&self) -> (Oid<'_>, u32) {
        (self.last.as_oid(), self.repetitions)
    }

    /// Rows delivered so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The repetitions that the device bears, for its next walk.
    pub fn learned(&self) -> u32 {
        self.ceiling
    }

    /// Takes a noError page.
    ///
    /// # Errors
    /// The first fault in its bytes, to the last of them; the walk is then as it was before.
    pub fn page(&mut self, varbinds: VarBinds<'_>) -> Result<Page, DecodeError> {
        if self.seen.is_some() {
            // What is seen is remembered as it is read, so nothing faulty may be read.
            all_sound(varbinds.clone())?;
        }
        let mut page = Page {
            kept_bytes: 0,
            rows: 0,
            next: Next::Ask,
        };
        let total = varbinds.raw().len();
        let mut rest = varbinds;
        let mut last: Option<Oid<'_>> = None;
        while let Some(varbind) = rest.next() {
            let varbind = varbind?;
            let judged = match last {
                Some(last) => self.judge(last, &varbind, page.rows),
                None => {
                    let last = self.last.clone();
                    self.judge(last.as_oid(), &varbind, page.rows)
                }
            };
            if let Some(end) = judged {
                if matches!(end, Verdict::KeepAndEnd) {
                    page.rows += 1;
                    page.kept_bytes = total - rest.raw().len();
                }
                all_sound(rest)?;
                page.next = Next::End(self.ended(end, page.rows));
                self.rows += u64::from(page.rows);
                return Ok(page);
            }
            page.rows += 1;
            page.kept_bytes = total - rest.raw().len();
            last = Some(varbind.oid);
        }
        if let Some(last) = last {
            self.last = last.to_owned();
        }
        self.rows += u64::from(page.rows);
        page.next = self.after_rows(page.rows);
        Ok(page)
    }

    fn judge(&mut self, previous: Oid<'_>, varbind: &VarBind<'_>, fresh: u32) -> Option<Verdict> {
        let VarBind { oid, value } = *varbind;
        if !oid.starts_with(&self.spec.root) {
            // Leaving backwards is not the subtree's end: the agent lost its way within it.
            let backwards = oid < self.spec.root.as_oid();
            return Some(if backwards {
                not_increasing(previous, oid)
            } else {
                Verdict::LeftSubtree
            });
        }
        if matches!(
            value,
            Value::EndOfMibView | Value::NoSuchObject | Value::NoSuchInstance
        ) {
            return Some(Verdict::KeepAndEnd);
        }
        if self.rows + u64::from(fresh) >= self.spec.max_rows {
            return Some(Verdict::Stop(WalkStop::RowCap(self.spec.max_rows)));
        }
        let Some(seen) = &mut self.seen else {
            return (oid <= previous).then(|| not_increasing(previous, oid));
        };
        let again = oid == previous || (seen.len() < SEEN_MAX && !seen.insert(oid.to_owned()));
        again.then(|| Verdict::Stop(WalkStop::Loop(oid.to_owned())))
    }

    fn ended(&self, verdict: Verdict, fresh: u32) -> WalkEnd {
        let rows = self.rows + u64::from(fresh);
        match verdict {
            Verdict::LeftSubtree => WalkEnd::Complete {
                rows,
                by: EndSign::LeftSubtree,
            },
            Verdict::KeepAndEnd => WalkEnd::Complete {
                rows,
                by: EndSign::EndOfMib,
            },
            Verdict::Stop(reason) => stop(rows, reason),
        }
    }

    fn after_rows(&mut self, rows: u32) -> Next {
        if rows > 0 {
            self.empty_pages = 0;
            self.grow();
            return Next::Ask;
        }
        self.empty_pages += 1;
        if self.empty_pages > 1 {
            return Next::End(stop(self.rows, WalkStop::EmptyReply));
        }
        self.repetitions = 0;
        Next::Ask
    }

    /// Takes an answer with an error status.
    pub fn status(&mut self, status: ErrorStatus, index: i32) -> Next {
        match status {
            ErrorStatus::NoSuchName => {
                let by = EndSign::EndOfMib;
                Next::End(WalkEnd::Complete {
                    rows: self.rows,
                    by,
                })
            }
            ErrorStatus::TooBig | ErrorStatus::GenErr if self.repetitions > 0 => {
                self.shrink();
                self.ceiling = self.repetitions.max(1);
                Next::Ask
            }
            status => Next::End(stop(self.rows, WalkStop::Status { status, index })),
        }
    }

    /// Takes the `attempt`th silence (from 1) in a row. The first is taken for plain loss; from the
    /// second on a smaller question is tried, in case the answer is what cannot get through.
    pub fn silence(&mut self, attempt: u32) {
        if attempt >= 2 && self.repetitions > 1 {
            self.repetitions /= 2;
        }
    }

    /// Ends the walk for a reason from outside.
    pub fn fail(&self, error: SnmpError) -> WalkEnd {
        stop(self.rows, WalkStop::Error(error))
    }

    /// A bulk of one row is a GETNEXT that costs more, so one halves to none.
    fn shrink(&mut self) {
        self.repetitions /= 2;
    }

    fn grow(&mut self) {
        if self.repetitions == 0 {
            return;
        }
        let grown = self.repetitions + self.repetitions.div_ceil(2);
        self.repetitions = grown.min(self.ceiling).max(1);
    }
}

enum Verdict {
    LeftSubtree,
    KeepAndEnd,
    Stop(WalkStop),
}

fn not_increasing(previous: Oid<'_>, offending: Oid<'_>) -> Verdict {
    let (previous, offending) = (previous.to_owned(), offending.to_owned());
    Verdict::Stop(WalkStop::NotIncreasing {
        previous,
        offending,
    })
}

/// Reads what is left to its end.
fn all_sound(mut varbinds: VarBinds<'_>) -> Result<(), DecodeError> {
    varbinds.try_for_each(|varbind| varbind.map(|_| ()))
}

fn stop(rows: u64, reason: WalkStop) -> WalkEnd {
    if rows == 0 {
        WalkEnd::Failed(reason)
    } else {
        WalkEnd::Partial { rows, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_wire_snmp::encode_varbinds;

    fn oid(text: &str) -> OidBuf {
        text.parse().unwrap()
    }

    fn list(names: &[&str]) -> Vec<u8> {
        let names: Vec<OidBuf> = names.iter().map(|name| oid(name)).collect();
        let rows: Vec<_> = names
            .iter()
            .map(|name| (name.as_oid(), Value::Integer(1)))
            .collect();
        encode_varbinds(&rows).unwrap().into_vec()
    }

    fn walk(order: Order) -> Walk {
        let spec = WalkSpec {
            order,
            ..WalkSpec::new(oid("1.3.6.1.2"), Method::Bulk(10))
        };
        Walk::new(spec, 0)
    }

    #[test]
    fn a_fault_anywhere_in_a_page_leaves_the_walk_as_it_was() {
        for order in [Order::Strict, Order::Relaxed] {
            for names in [
                &["1.3.6.1.2.1", "1.3.6.1.2.2"][..],
                &["1.3.6.1.2.1", "1.3.6.1.3"],
            ] {
                let mut walk = walk(order);
                let sound = list(names);
                let faulty = [&sound[..], &[0x30, 5, 6]].concat();
                assert!(walk.page(VarBinds::from_raw(&faulty)).is_err());
                assert_eq!(walk.question(), (oid("1.3.6.1.2").as_oid(), 10));
                assert_eq!(walk.rows(), 0);
                let page = walk.page(VarBinds::from_raw(&sound)).unwrap();
                assert_eq!(u64::from(page.rows), walk.rows());
                assert!(page.rows > 0, "nothing of the faulty page is remembered");
            }
        }
    }

    #[test]
    fn a_walk_that_leaves_its_subtree_backwards_is_not_complete() {
        for order in [Order::Strict, Order::Relaxed] {
            let page = list(&["1.3.6.1.2.1", "1.3.6.1.1.9"]);
            let page = walk(order).page(VarBinds::from_raw(&page)).unwrap();
            let Next::End(WalkEnd::Partial { rows: 1, reason }) = page.next else {
                panic!("{:?}", page.next);
            };
            let (previous, offending) = (oid("1.3.6.1.2.1"), oid("1.3.6.1.1.9"));
            assert_eq!(
                reason,
                WalkStop::NotIncreasing {
                    previous,
                    offending
                }
            );
            let beyond = list(&["1.3.6.1.2.1", "1.3.6.1.3"]);
            let page = walk(order).page(VarBinds::from_raw(&beyond)).unwrap();
            assert!(matches!(
                page.next,
                Next::End(WalkEnd::Complete { rows: 1, .. })
            ));
        }
    }
}
