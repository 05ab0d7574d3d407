//! The office's metrics: one family each for all systems.

use std::collections::BTreeMap;

use trunkline_engine::letters::Filter;
use trunkline_engine::stats::{Exposition, Kind, Unit};

use super::{Office, OfficeCounts, lock};

impl Office {
    /// Adds `trunkline_letters_*`.
    pub fn export(&self, out: &mut Exposition) {
        self.export_present(out);
        self.export_refused(out);
        let OfficeCounts {
            letters,
            log,
            unwritten,
        } = self.counts();
        let counters = [
            ("added", letters.added, "put into the box"),
            ("restored", letters.restored, "read at the start"),
            ("redriven", letters.redriven, "sent again and acknowledged"),
            ("discarded", letters.discarded, "thrown away by a person"),
            ("expired", letters.expired, "thrown away for their age"),
            ("displaced", letters.displaced, "thrown away to make room"),
            ("redrives_failed", letters.redrives_failed, "sent in vain"),
            ("unwritten", unwritten, "changed, but not on disk"),
            ("log_records", log.appended, "or changes of them, on disk"),
            ("log_failures", log.failed, "or changes of them, refused"),
        ];
        for (noun, value, what) in counters {
            let (name, help) = (name(noun), format!("Letters {what}."));
            out.family(&name, &help, Kind::Counter, Unit::None)
                .sample(&[], value);
        }
        let help = "Syncs of the letter log.";
        out.family(&name("log_syncs"), help, Kind::Counter, Unit::None)
            .sample(&[], log.batches);
        let help = "Memory of the letters in the box.";
        out.family(&name("bytes"), help, Kind::Gauge, Unit::Bytes)
            .sample(&[], letters.bytes);
        let help = "Size of the letter log on disk.";
        out.family(&name("log_bytes"), help, Kind::Gauge, Unit::Bytes)
            .sample(&[], log.bytes);
        let help = "Files of the letter log.";
        out.family(&name("log_segments"), help, Kind::Gauge, Unit::None)
            .sample(&[], log.segments);
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
        let mut family = out.family(&name("present"), help, Kind::Gauge, Unit::None);
        for ((system, state), n) in present {
            let (kind, name) = system.split_once('.').unwrap_or((&system, ""));
            let labels = [("system", kind), ("name", name), ("state", state)];
            family.sample(&labels, n);
        }
    }

    fn export_refused(&self, out: &mut Exposition) {
        let help = "Letters that were refused and are lost.";
        let mut family = out.family(&name("refused"), help, Kind::Counter, Unit::None);
        for (why, n) in lock(&self.refused).iter() {
            family.sample(&[("reason", why)], *n);
        }
    }
}

fn name(noun: &str) -> String {
    format!("trunkline_letters_{noun}")
}
