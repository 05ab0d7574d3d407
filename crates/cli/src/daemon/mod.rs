//! `trunkline run`: the daemon, from its configuration to its closing balance sheet.

mod process;
pub(crate) mod root;
mod run;
pub(crate) mod sheet;
mod sticky;
mod systems;

pub(crate) use root::RootConfig;
pub(crate) use run::{Ended, RunError, run};

use trunkline_config::Explanation;

/// Every code that a person may ask about, by the room that gives it.
pub(crate) fn explanations() -> Vec<&'static [Explanation]> {
    vec![
        trunkline_config::EXPLANATIONS,
        trunkline_admin::EXPLANATIONS,
        OWN,
    ]
}

/// The codes of the daemon, the SNMP system and the operation registry.
const OWN: &[Explanation] = &[
    Explanation {
        code: "T0201",
        title: "An address cannot be read, or stands for nobody.",
        cause: "`address` is missing, or is none of HOST, HOST:PORT, ADDRESS+N, ADDRESS-ADDRESS \
                and NETWORK/BITS.",
        remedy: "Write the agent's name or address, with :PORT when it is not 161.",
    },
    Explanation {
        code: "T0202",
        title: "A text is not an OID.",
        cause: "OIDs are numbers here: MIB names are not known yet.",
        remedy: "Write numbers with dots between, like 1.3.6.1.2.1.1.3.0.",
    },
    Explanation {
        code: "T0203",
        title: "A name refers to nothing.",
        cause: "A target names a job or an engine that is not configured.",
        remedy: "Check the spelling against the tables that exist; the message lists them.",
    },
    Explanation {
        code: "T0204",
        title: "Two values contradict each other.",
        cause: "One of them would have no effect beside the other.",
        remedy: "Take one of them out, as the help says.",
    },
    Explanation {
        code: "T0205",
        title: "Something is configured that does nothing.",
        cause: "A job without OIDs, or targets without jobs.",
        remedy: "Add what is missing, or take the table out.",
    },
    Explanation {
        code: "T0210",
        title: "There is no target or engine of that name.",
        cause: "Names are those of the configuration; agents of a range are NAME-0, NAME-1, …",
        remedy: "`trunkline targets` and `trunkline routers` list them.",
    },
    Explanation {
        code: "T0211",
        title: "A request to an agent ended without an answer.",
        cause: "The message says why: silence, a closed port, an open breaker, a full queue.",
        remedy: "Do what the message says; `trunkline targets` shows the target's history.",
    },
    Explanation {
        code: "T0212",
        title: "A target's name has no address.",
        cause: "The resolver does not know it. It is asked again every minute.",
        remedy: "Check the spelling and the DNS server.",
    },
    Explanation {
        code: "T0213",
        title: "An order makes no sense.",
        cause: "A word or number that the operation does not know.",
        remedy: "The message names the words that it knows.",
    },
    Explanation {
        code: "T0401",
        title: "The drain is longer than the whole shutdown may take.",
        cause: "`trunkline.shutdown.drain` exceeds `trunkline.shutdown.force`.",
        remedy: "Lower drain or raise force.",
    },
    Explanation {
        code: "T0402",
        title: "No system is configured.",
        cause: "The file has no [snmp.NAME] table.",
        remedy: "`trunkline config init` writes a file that works.",
    },
    Explanation {
        code: "T0403",
        title: "A reload was refused.",
        cause: "The new configuration has errors, or a system could not take it. The old one stays.",
        remedy: "Mend what the message names; `trunkline validate` shows all of it.",
    },
    Explanation {
        code: "T0601",
        title: "An operation's input does not fit its schema.",
        cause: "A field is missing, unknown, or of another type; the message names it.",
        remedy: "`trunkline operations` lists operations; `GET /api/v1/operations` shows their schemas.",
    },
    Explanation {
        code: "T0602",
        title: "There is no such operation.",
        cause: "Operations come and go with the systems in the configuration.",
        remedy: "`trunkline operations` lists those that exist now.",
    },
    Explanation {
        code: "T0603",
        title: "An operation did not answer before its deadline.",
        cause: "It was cancelled. What it asks for takes longer, or waits for something that does not come.",
        remedy: "Give it more time with --timeout, or ask for less at once.",
    },
    Explanation {
        code: "T0604",
        title: "Too many calls at once.",
        cause: "As many calls run as are allowed.",
        remedy: "Try again when one has ended.",
    },
    Explanation {
        code: "T0605",
        title: "An operation's handler panicked.",
        cause: "A defect in this program. The process goes on.",
        remedy: "Report it, with the log lines around it.",
    },
    Explanation {
        code: "T0606",
        title: "An answer could not be written as JSON.",
        cause: "A defect in this program.",
        remedy: "Report it, with the operation's name.",
    },
    Explanation {
        code: "T0607",
        title: "The reader of a stream left.",
        cause: "It closed its connection, so the stream ended. Nothing is wrong.",
        remedy: "Nothing.",
    },
    Explanation {
        code: "T0610",
        title: "No dead letter has this id.",
        cause: "It was sent again, thrown away, or grew too old.",
        remedy: "`trunkline letters ls` shows those that there are.",
    },
    Explanation {
        code: "T0611",
        title: "An operation on dead letters broke off.",
        cause: "A defect in this program. The letters are as the list shows them.",
        remedy: "Report it, with the log lines around it.",
    },
];
