//! The office's metrics: one family each for all systems.

use std::collections::BTreeMap;

use trunkline_engine::letters::Filter;
use trunkline_engine::stats::{Exposition, Kind, Unit};

use super::{Office, OfficeCounts, lock};

impl Office {
    /// Adds `trunkline_letters_*`.
    pub fn export(&self, out: &mut Exposition) {
        self.export_present(out);
        let OfficeCounts {
            letters,
            log,
            unwritten,
        } = self.counts();
        let counters = [
            ("added", "Letters put into the box.", letters.added),
            (
                "restored",
                "Letters that the log held at the start.",
                letters.restored,
            ),
            (
                "redriven",
                "Letters sent again and acknowledged.",
                letters.redriven,
            ),
            (
                "discarded",
                "Letters thrown away by a person.",
                letters.discarded,
            ),
            (
                "expired",
                "Letters thrown away for their age.",
                letters.expired,
            ),
            (
                "displaced",
                "Letters thrown away to make room.",
                letters.displaced,
            ),
            (
                "redrives_failed",
                "Letters sent again in vain.",
                letters.redrives_failed,
            ),
            (
                "unwritten",
                "Changes of letters that the disk refused.",
                unwritten,
            ),
            (
                "log_records",
                "Records of the letter log that are on disk.",
                log.appended,
            ),
            (
                "log_failures",
                "Records of the letter log that were refused.",
                log.failed,
            ),
            ("log_syncs", "Syncs of the letter log.", log.batches),
        ];
        for (noun, help, value) in counters {
            let name = format!("trunkline_letters_{noun}");
            out.family(&name, help, Kind::Counter, Unit::None)
                .sample(&[], value);
        }
        let help = "Letters that were refused and are lost.";
        let mut refused = out.family("trunkline_letters_refused", help, Kind::Counter, Unit::None);
        for (why, n) in lock(&self.refused).iter() {
            refused.sample(&[("reason", why)], *n);
        }
        let gauges = [
            (
                "bytes",
                "Memory of the letters in the box.",
                Unit::Bytes,
                letters.bytes,
            ),
            (
                "log_bytes",
                "Size of the letter log on disk.",
                Unit::Bytes,
                log.bytes,
            ),
            (
                "log_segments",
                "Files of the letter log.",
                Unit::None,
                log.segments,
            ),
        ];
        for (noun, help, unit, value) in gauges {
            let name = format!("trunkline_letters_{noun}");
            out.family(&name, help, Kind::Gauge, unit)
                .sample(&[], value);
        }
    }

    fn export_present(&self, out: &mut Exposition) {
        let mut present: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        {
            let desk = self.desk();
            let page = desk.letters.list(&Filter::default(), None, usize::MAX);
            for listed in page.letters {
                let key = (listed.letter.system.clone(), listed.state.as_str());
                *present.entry(key).or_default() += 1;
            }
        }
        let help = "Letters in the box by what may be done with them.";
        let mut family = out.family("trunkline_letters_present", help, Kind::Gauge, Unit::None);
        for ((system, state), n) in present {
            let (kind, name) = system.split_once('.').unwrap_or((&system, ""));
            family.sample(&[("system", kind), ("name", name), ("state", state)], n);
        }
    }
}
