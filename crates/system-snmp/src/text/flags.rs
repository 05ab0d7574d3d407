//! net-snmp's `-O` letters.
//!
//! Each letter sets, later ones win. Letters that only change how MIB names and enumerations look
//! (`e E b U X 0`) are taken for the scripts that pass them: without MIBs net-snmp prints the same
//! with and without them.

/// How variables are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// How OIDs are.
    pub names: NameStyle,
    /// Whether types are left out.
    pub quick: Quick,
    /// Values without OIDs (`v`).
    pub values_only: bool,
    /// Time ticks as a plain number (`t`).
    pub ticks_numeric: bool,
    /// How octet strings are.
    pub strings: StringStyle,
    /// Hexadecimal lines are followed by their text (`T`).
    pub hex_text: bool,
}

/// How OIDs are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameStyle {
    /// `.1.3.6` (`n`).
    #[default]
    Numeric,
    /// `.iso.3.6` (`f`, `u`).
    Full,
    /// `iso.3.6` (`s`, `S`).
    Short,
}

/// Whether types are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quick {
    /// `OID = TYPE: VALUE`.
    #[default]
    No,
    /// `OID VALUE` (`q`).
    Yes,
    /// `OID = VALUE` (`Q`).
    Equals,
}

/// How octet strings are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StringStyle {
    /// As text when every byte is printable or white space, else hexadecimal.
    #[default]
    Guess,
    /// As text, with dots for what is not printable (`a`).
    Text,
    /// Hexadecimal (`x`).
    Hex,
}

/// A letter that is none of net-snmp's `-O` letters, or one that is not offered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not one of the output letters n f s S u q Q v t T a x e E b U X 0")]
pub struct FlagError(pub char);

impl TextStyle {
    /// Applies the letters of one `-O` option.
    ///
    /// # Errors
    /// The first letter that is unknown.
    pub fn set_flags(&mut self, letters: &str) -> Result<(), FlagError> {
        for letter in letters.chars() {
            match letter {
                'n' => self.names = NameStyle::Numeric,
                'f' | 'u' => self.names = NameStyle::Full,
                's' | 'S' => self.names = NameStyle::Short,
                'q' => self.quick = Quick::Yes,
                'Q' => self.quick = Quick::Equals,
                'v' => self.values_only = true,
                't' => self.ticks_numeric = true,
                'T' => self.hex_text = true,
                'a' => self.strings = StringStyle::Text,
                'x' => self.strings = StringStyle::Hex,
                'e' | 'E' | 'b' | 'U' | 'X' | '0' => {}
                other => return Err(FlagError(other)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_letter_is_named() {
        let error = TextStyle::default().set_flags("nqZ").unwrap_err();
        assert_eq!(error, FlagError('Z'));
        assert!(error.to_string().contains("\"Z\""));
    }

    #[test]
    fn later_letters_win() {
        let mut style = TextStyle::default();
        style.set_flags("aqsQx").unwrap();
        assert_eq!(style.strings, StringStyle::Hex);
        assert_eq!(style.quick, Quick::Equals);
        assert_eq!(style.names, NameStyle::Short);
    }
}
