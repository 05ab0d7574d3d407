//! The command line that all benches share.

use std::process::exit;

/// What a bench was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Print JSON instead of tables.
    pub json: bool,
    /// Fewer and shorter rounds: to see whether it works, not to quote.
    pub quick: bool,
    /// Only the cases whose group or name contains one of these; all when empty.
    pub only: Vec<String>,
}

const USAGE: &str = "options: --json, --quick, --only NAME (may be repeated)";

impl Options {
    /// The options of this process; ends it when they make no sense or ask for help.
    pub fn from_process() -> Self {
        match Self::parse(std::env::args().skip(1)) {
            Ok(options) => options,
            Err(word) if word == "--help" => {
                println!("{USAGE}");
                exit(0)
            }
            Err(word) => {
                eprintln!("`{word}` is not understood; {USAGE}");
                exit(2)
            }
        }
    }

    /// Reads words.
    ///
    /// # Errors
    /// The first word that is not understood.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                "--only" => options.only.push(words.next().ok_or(word)?),
                _ => return Err(word),
            }
        }
        Ok(options)
    }

    /// Whether the case `name` of `group` was asked for.
    pub fn wants(&self, group: &str, name: &str) -> bool {
        let hit = |word: &String| group.contains(word.as_str()) || name.contains(word.as_str());
        self.only.is_empty() || self.only.iter().any(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn words_are_read_and_others_refused() {
        let options = parse("--json --only lane --only router").unwrap();
        assert!(options.json && !options.quick);
        assert!(options.wants("lane", "push") && options.wants("x", "router pick"));
        assert!(!options.wants("breaker", "allow"));
        assert!(parse("").unwrap().wants("breaker", "allow"));
        assert_eq!(parse("--only"), Err("--only".to_owned()));
        assert_eq!(parse("-q"), Err("-q".to_owned()));
    }
}
