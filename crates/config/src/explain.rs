//! What each error code means, for `trunkline explain` and the reference.
//!
//! A code and its explanation are declared together, so that neither exists without the other.
//! This crate owns T0100 to T0149; other crates contribute slices of [`Explanation`] of their own.

/// What `trunkline explain` says about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// The code, `T` and four digits.
    pub code: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// How it comes about.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// The explanation of `code` among those that the crates contributed.
pub fn explanation(tables: &[&'static [Explanation]], code: &str) -> Option<&'static Explanation> {
    tables
        .iter()
        .flat_map(|table| table.iter())
        .find(|one| one.code.eq_ignore_ascii_case(code))
}

macro_rules! explain {
    ($($name:ident = $code:literal, $title:literal, $cause:literal, $remedy:literal;)*) => {
        /// The codes that this crate reports.
        pub mod codes {
            $(#[doc = $title] pub const $name: &str = $code;)*
        }

        /// The explanations of this crate's codes, in the order of the codes.
        pub const EXPLANATIONS: &[Explanation] = &[$(Explanation {
            code: $code,
            title: $title,
            cause: $cause,
            remedy: $remedy,
        }),*];
    };
}

explain! {
    SYNTAX = "T0100", "The file is not valid TOML.",
        "A string without its closing quote, a key twice, a missing bracket or equals sign. \
         Nothing after the first such place can be trusted, so only syntax is reported.",
        "Mend the place that the caret shows. Strings and durations need quotes: timeout = \"5s\".";
    NO_FILE = "T0101", "There is no configuration file.",
        "None was named by --config or TRUNKLINE_CONFIG, and none of the usual places has one.",
        "Write one with `trunkline config init`, or name yours: trunkline --config FILE ...";
    UNREADABLE = "T0102", "The configuration file cannot be read.",
        "It does not exist, this user may not read it, it is no regular file, it is longer than \
         16 MiB, or it is not UTF-8 text.",
        "Check the path and the permissions that the message names.";
    UNSAFE_FILE = "T0103", "Another user can change the configuration file.",
        "A file that was found by search is only trusted when nobody but you or root can write it \
         or put another in its place. Otherwise whoever shares the machine decides what runs.",
        "Take the permission away as the help says, or name the file with --config when you trust \
         it all the same.";
    UNKNOWN_KEY = "T0104", "There is no such key.",
        "Most often a slip of the pen. Unknown keys are errors, because a misspelt limit that is \
         silently ignored is worse than none.",
        "Take the proposed name, or look into `trunkline config schema`.";
    WRONG_TYPE = "T0105", "The value has the wrong type.",
        "A number where a string with a unit is due, a string where a number is, and so on.",
        "Write it in the form that the message names. Durations and sizes are strings with units: \
         \"250ms\", \"64KiB\".";
    BAD_VALUE = "T0106", "The value is not acceptable.",
        "It has the right type but is out of range, not one of the choices, or malformed.",
        "The message names the range, the choices or the form.";
    MISSING_KEY = "T0107", "A required key is missing.",
        "The table cannot work without it and no default would be right.",
        "Add the key to the table that the caret shows.";
    RENAMED_KEY = "T0108", "The key has another name here.",
        "The name comes from the description of another product that does the same job.",
        "Use the name in the help.";
    MISPLACED_KEY = "T0109", "The key exists, but is not used here.",
        "It belongs to another table or another kind of system. It would have no effect here, so \
         it is refused.",
        "Move it to the table in the help, or take it out.";
    BAD_NAME = "T0110", "The name does not follow the rule.",
        "Names become metric labels, addresses and arguments, so they are a small letter, then at \
         most 31 small letters, digits or hyphens.",
        "Rename the table.";
    INLINE_SECRET = "T0111", "A secret stands in the file.",
        "Configuration files are copied, committed and mailed; secrets in them leak.",
        "Put it into a file of mode 0600 and name that with the `_file` key, or set the \
         environment variable in the help. Then change the secret: it may have been seen.";
    SECRET_FILE = "T0112", "The secret file cannot be used.",
        "It cannot be read, is empty, longer than 64 KiB, of more than one line or not text, or \
         others may read or change it.",
        "Make it a text file of one line and mode 0600 that belongs to the user that runs \
         Trunkline.";
    SECRET_FILE_MODE = "T0113", "The secret file is readable by its group.",
        "Some orchestrators mount secrets in this way, so it is accepted.",
        "chmod 0600 it where you can.";
    BAD_OVERRIDE = "T0114", "The environment variable or flag sets nothing.",
        "It names a key that does not exist, or one of a table that the file does not have. \
         Overrides change scalar values of tables that exist; they make no systems.",
        "Correct the name, add the table to the file, or unset the variable.";
    NOT_SCALAR = "T0115", "Only single values can be overridden.",
        "The environment variable or flag names a table or a list.",
        "Set the list in the file, or name one key of the table.";
    NEIGHBOUR = "T0116", "The key goes with another choice.",
        "It is a parameter of one choice of a neighbouring key, and another choice is made, so \
         it would have no effect; or the choice needs it and it is missing.",
        "Make that choice, or take the key out.";
    CONTRADICTION = "T0117", "Two keys contradict each other.",
        "Each is fine alone, together they cannot be honoured.",
        "Change one of the two as the help says.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ordered_unique_and_in_this_crates_range() {
        let all: Vec<&str> = EXPLANATIONS.iter().map(|one| one.code).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        for code in all {
            let number: u32 = code.strip_prefix('T').unwrap().parse().unwrap();
            assert!(code.len() == 5 && (100..150).contains(&number), "{code}");
        }
    }

    #[test]
    fn every_code_is_explained_and_found() {
        for one in EXPLANATIONS {
            assert_eq!(explanation(&[&[], EXPLANATIONS], one.code), Some(one));
            for text in [one.title, one.cause, one.remedy] {
                assert!(
                    !text.is_empty() && !text.contains("  "),
                    "{}: {text}",
                    one.code
                );
            }
        }
        assert_eq!(
            explanation(&[EXPLANATIONS], "t0104").unwrap().code,
            codes::UNKNOWN_KEY
        );
        assert_eq!(explanation(&[EXPLANATIONS], "T9999"), None);
    }
}
