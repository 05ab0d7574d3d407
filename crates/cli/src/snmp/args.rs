//! The command line of `trunkline snmp`, as net-snmp's tools have it.
//!
//! The `-C` options are a little language of their own: letters, some with a number that follows
//! at once (`-Cr25`), and one (`-CE`) whose value is the next word. [`join_end_oid`] glues that
//! word on before clap sees it.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand};
use trunkline_system_snmp::SourcePolicy;
use trunkline_system_snmp::text::TextStyle;
use trunkline_wire_snmp::{OidBuf, Version};

use crate::exit::CliError;
use crate::output::Format;

use super::oid::{Root, parse_oid};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum SnmpVerb {
    /// Get variables (snmpget).
    Get(GetArgs),
    /// Get the variables after OIDs (snmpgetnext).
    Getnext(GetArgs),
    /// Get many variables after OIDs (snmpbulkget).
    #[command(visible_alias = "bulkget")]
    Getbulk(BulkArgs),
    /// Set variables (snmpset); sent once and never repeated, whatever -r says.
    Set(SetArgs),
    /// Walk a subtree by GETNEXT (snmpwalk).
    Walk(WalkArgs),
    /// Walk a subtree by GETBULK (snmpbulkwalk).
    Bulkwalk(WalkArgs),
    /// Find agents in networks and ranges.
    Scan(ScanArgs),
}

/// How to ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// SNMP version: 1 or 2c (net-snmp's own default is 3)
    #[arg(short = 'v', value_name = "1|2c", default_value = "2c", value_parser = parse_version)]
    pub(crate) version: Version,

    /// Community
    #[arg(short = 'c', value_name = "COMMUNITY", default_value = "public")]
    pub(crate) community: String,

    /// Seconds to wait for each answer; fractions are fine
    #[arg(short = 't', value_name = "SECONDS", default_value = "1", value_parser = parse_timeout)]
    pub(crate) timeout: Duration,

    /// How often to ask again when there is no answer
    #[arg(short = 'r', value_name = "RETRIES", default_value = "5")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=99))]
    pub(crate) retries: u32,

    /// Output letters: n f s S u (names), q Q (no types), v (values only), t (plain ticks),
    /// a x (strings as text, as hex), T (hex with text); e E b U X 0 change nothing without MIBs
    #[arg(short = 'O', value_name = "LETTERS")]
    pub(crate) letters: Vec<String>,

    /// What to print
    #[arg(short = 'o', long = "output", visible_alias = "format", value_enum)]
    #[arg(value_name = "FORMAT", default_value_t, hide_possible_values = false)]
    pub(crate) format: Format,

    /// Whose answers count: of the address that was asked, of the one that answers first, of any
    #[arg(long, value_name = "POLICY", default_value = "strict", value_parser = parse_source)]
    pub(crate) source: SourcePolicy,

    /// How many agents to ask at the same time, when several are given
    #[arg(long, value_name = "N", default_value = "512")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub(crate) parallel: u16,
}

/// `get` and `getnext`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// f: do not leave out the variable that an error blames and ask again for the others
    #[arg(short = 'C', value_name = "f")]
    pub(crate) app: Vec<String>,

    #[command(flatten)]
    pub(crate) agent: AgentArg,

    /// What to get
    #[arg(value_name = "OID", required = true, value_parser = parse_oid)]
    pub(crate) oids: Vec<OidBuf>,
}

/// `getbulk`.
#[derive(Debug, Args)]
pub(crate) struct BulkArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// n<NUM>: non-repeaters (0); r<NUM>: max-repetitions (10)
    #[arg(short = 'C', value_name = "n<NUM>|r<NUM>")]
    pub(crate) app: Vec<String>,

    #[command(flatten)]
    pub(crate) agent: AgentArg,

    /// What to get
    #[arg(value_name = "OID", required = true, value_parser = parse_oid)]
    pub(crate) oids: Vec<OidBuf>,
}

/// `set`.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// q: print nothing when it worked
    #[arg(short = 'C', value_name = "q")]
    pub(crate) app: Vec<String>,

    #[command(flatten)]
    pub(crate) agent: AgentArg,

    /// Triples. TYPE is i INTEGER, u unsigned, c Counter32, t TimeTicks, a IpAddress, o OID,
    /// s text, x hex, d decimal bytes, b bit numbers, n NULL, C Counter64, F float, D double
    #[arg(value_name = "OID TYPE VALUE", required = true)]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) triples: Vec<String>,
}

/// `walk` and `bulkwalk`.
#[derive(Debug, Args)]
pub(crate) struct WalkArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    /// c: go on when OIDs do not increase, until one comes twice; i: get the root itself, too;
    /// I: do not get it even if nothing else is found; p: print the number of variables;
    /// t, T: show the time of the walk, of each request; E OID: stop before it;
    /// r<NUM>: max-repetitions (10, bulkwalk only); n<NUM>: non-repeaters (bulkwalk only)
    #[arg(short = 'C', value_name = "LETTERS")]
    pub(crate) app: Vec<String>,

    #[command(flatten)]
    pub(crate) agent: AgentArg,

    /// The subtree
    #[arg(value_name = "OID", default_value = "1.3.6.1.2.1", value_parser = Root::parse)]
    pub(crate) root: Root,
}

/// `scan`.
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// SNMP version: 1 or 2c
    #[arg(short = 'v', value_name = "1|2c", default_value = "2c", value_parser = parse_version)]
    pub(crate) version: Version,

    /// Community
    #[arg(short = 'c', value_name = "COMMUNITY", default_value = "public")]
    pub(crate) community: String,

    /// Seconds to wait for each answer
    #[arg(short = 't', value_name = "SECONDS", default_value = "1", value_parser = parse_timeout)]
    pub(crate) timeout: Duration,

    /// How often to ask again when there is no answer
    #[arg(short = 'r', value_name = "RETRIES", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=99))]
    pub(crate) retries: u32,

    /// Agents asked per second; repetitions come on top
    #[arg(long, value_name = "N", default_value = "500")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,

    /// What to print
    #[arg(short = 'o', long = "output", visible_alias = "format", value_enum)]
    #[arg(value_name = "FORMAT", default_value_t)]
    pub(crate) format: Format,

    /// Networks and ranges: 10.0.0.0/24, 10.0.0.1-10.0.0.9, 10.0.0.1+9, @FILE; with :PORT
    #[arg(value_name = "NETWORK", required = true)]
    pub(crate) networks: Vec<String>,
}

/// Who to ask.
#[derive(Debug, Args)]
pub(crate) struct AgentArg {
    /// HOST, HOST:PORT, udp:…, udp6:[…]; or many: A,B  ADDR-ADDR  ADDR+N  NETWORK/BITS  @FILE
    #[arg(value_name = "AGENT")]
    pub(crate) agent: String,
}

impl Common {
    /// The style that the `-O` letters ask for.
    pub(crate) fn style(&self) -> Result<TextStyle, CliError> {
        let mut style = TextStyle::default();
        for letters in &self.letters {
            style
                .set_flags(letters)
                .map_err(|error| CliError::Usage(format!("-O{letters}: {error}")))?;
        }
        Ok(style)
    }
}

/// One word of the `-C` language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum App {
    /// A letter alone.
    Letter(char),
    /// A letter and its number.
    Number(char, u32),
    /// `E` and its OID.
    End(OidBuf),
}

/// Reads the `-C` options of a verb that knows the letters of `plain`, and with a number those of
/// `numbered`.
pub(crate) fn parse_app(
    words: &[String],
    plain: &str,
    numbered: &str,
) -> Result<Vec<App>, CliError> {
    let mut found = Vec::new();
    for word in words {
        let usage = |what: String| CliError::Usage(format!("-C{word}: {what}"));
        let mut rest = word.as_str();
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            if numbered.contains(letter) {
                let digits =
                    rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let number = rest[..digits].parse().ok().filter(|n| *n <= 65_535);
                let number = number.ok_or_else(|| {
                    usage(format!(
                        "\"{letter}\" needs a number up to 65535, as in -C{letter}25"
                    ))
                })?;
                found.push(App::Number(letter, number));
                rest = &rest[digits..];
            } else if letter == 'E' && plain.contains('E') {
                let oid = parse_oid(rest).map_err(|error| usage(error.to_string()))?;
                found.push(App::End(oid));
                rest = "";
            } else if plain.contains(letter) {
                found.push(App::Letter(letter));
            } else {
                return Err(usage(format!(
                    "\"{letter}\" is not one of its letters: {plain}{numbered}"
                )));
            }
        }
    }
    Ok(found)
}

/// net-snmp takes the OID of `-CE` from the next word: joins the two, so that what follows `-C` is
/// one word whatever its letters.
pub(crate) fn join_end_oid(args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_none_or(|verb| verb != "snmp") {
        return args;
    }
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    for arg in args {
        let waits = |last: &&mut OsString| {
            let text = last.to_string_lossy();
            text.starts_with("-C") && text.ends_with('E')
        };
        match joined.last_mut().filter(waits) {
            Some(last) => last.push(arg),
            None => joined.push(arg),
        }
    }
    joined
}

fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "1" => Ok(Version::V1),
        "2c" | "2" => Ok(Version::V2c),
        "3" => Err("SNMPv3 is not supported yet; use 1 or 2c".to_owned()),
        _ => Err("write 1 or 2c".to_owned()),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.001..=3600.0).contains(seconds));
    let seconds = seconds.ok_or("write seconds from 0.001 to 3600, such as 0.5")?;
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_source(text: &str) -> Result<SourcePolicy, String> {
    match text {
        "strict" => Ok(SourcePolicy::Strict),
        "learn" => Ok(SourcePolicy::Learn),
        "any" => Ok(SourcePolicy::Any),
        _ => Err("write strict, learn or any".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn app_letters_stand_alone_or_in_a_row() {
        let end = App::End("1.3.6".parse().unwrap());
        for (given, expected) in [
            (&["c", "p"][..], vec![App::Letter('c'), App::Letter('p')]),
            (&["cp"], vec![App::Letter('c'), App::Letter('p')]),
            (&["r25"], vec![App::Number('r', 25)]),
            (
                &["n1r25c"],
                vec![App::Number('n', 1), App::Number('r', 25), App::Letter('c')],
            ),
            (&["cE1.3.6"], vec![App::Letter('c'), end]),
        ] {
            assert_eq!(parse_app(&words(given), "cipE", "nr").unwrap(), expected);
        }
        for wrong in ["x", "r", "rx", "r99999", "r-1", "Ex"] {
            let error = parse_app(&words(&[wrong]), "cipE", "nr").unwrap_err();
            assert!(matches!(error, CliError::Usage(_)), "{wrong}");
        }
    }

    #[test]
    fn the_word_after_ce_belongs_to_it() {
        let os = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            join_end_oid(os(&["trunkline", "snmp", "walk", "-CE", "1.3.6", "host"])),
            os(&["trunkline", "snmp", "walk", "-CE1.3.6", "host"])
        );
        let other = os(&["trunkline", "run", "-CE", "x"]);
        assert_eq!(join_end_oid(other.clone()), other);
    }

    #[test]
    fn timeouts_and_versions_have_bounds() {
        assert_eq!(parse_timeout("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "1s", "4000"] {
            assert!(parse_timeout(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_version("2c"), Ok(Version::V2c));
        assert!(
            parse_version("3")
                .unwrap_err()
                .contains("not supported yet")
        );
    }
}
