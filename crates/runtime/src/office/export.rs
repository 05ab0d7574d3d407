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
        let counts = self.counts();
        export_box(&counts, out);
        export_log(&counts, out);
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
            let labels = [("system", kind), ("name", name), ("state", state)];
            family.sample(&labels, n);
        }
    }

    fn export_refused(&self, out: &mut Exposition) {
        let help = "Letters that were refused and are lost.";
        let mut family = out.family("trunkline_letters_refused", help, Kind::Counter, Unit::None);
        for (why, n) in lock(&self.refused).iter() {
            family.sample(&[("reason", why)], *n);
        }
    }
}

fn export_box(counts: &OfficeCounts, out: &mut Exposition) {
    let letters = &counts.letters;
    let mut counter = |name, help, value| {
        out.family(name, help, Kind::Counter, Unit::None)
            .sample(&[], value);
    };
    let help = "Letters put into the box.";
    counter("trunkline_letters_added", help, letters.added);
    let help = "Letters read at the start.";
    counter("trunkline_letters_restored", help, letters.restored);
    let help = "Letters sent again and acknowledged.";
    counter("trunkline_letters_redriven", help, letters.redriven);
    let help = "Letters sent in vain.";
    counter(
        "trunkline_letters_redrives_failed",
        help,
        letters.redrives_failed,
    );
    let help = "Letters thrown away by a person.";
    counter("trunkline_letters_discarded", help, letters.discarded);
    let help = "Letters thrown away for their age.";
    counter("trunkline_letters_expired", help, letters.expired);
    let help = "Letters thrown away to make room.";
    counter("trunkline_letters_displaced", help, letters.displaced);
    let help = "Letters changed, but not on disk.";
    counter("trunkline_letters_unwritten", help, counts.unwritten);
    let help = "Memory of the letters in the box.";
    out.family("trunkline_letters_bytes", help, Kind::Gauge, Unit::Bytes)
        .sample(&[], letters.bytes);
}

fn export_log(counts: &OfficeCounts, out: &mut Exposition) {
    let log = &counts.log;
    let mut counter = |name, help, value| {
        out.family(name, help, Kind::Counter, Unit::None)
            .sample(&[], value);
    };
    let help = "Letters, or changes of them, on disk.";
    counter("trunkline_letters_log_records", help, log.appended);
    let help = "Letters, or changes of them, refused.";
    counter("trunkline_letters_log_failures", help, log.failed);
    let help = "Syncs of the letter log.";
    counter("trunkline_letters_log_syncs", help, log.batches);
    let help = "Size of the letter log on disk.";
    out.family(
        "trunkline_letters_log_bytes",
        help,
        Kind::Gauge,
        Unit::Bytes,
    )
    .sample(&[], log.bytes);
    let help = "Files of the letter log.";
    out.family(
        "trunkline_letters_log_segments",
        help,
        Kind::Gauge,
        Unit::None,
    )
    .sample(&[], log.segments);
}
