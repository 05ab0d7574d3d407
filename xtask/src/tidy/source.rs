//! A Rust file as the rules see it: functions, tests, strings, attributes and lines.
//!
//! The file is cut into tokens by the compiler's own rules, so a brace in a string or a word in a
//! comment cannot mislead a rule; it is not parsed further, so every item that compiles is read,
//! those inside macros too. Doc comments arrive as `#[doc]` attributes and are no strings.
//!
//! What is under `#[cfg(test)]` or carries `#[test]` is test code, also when the module lies in a
//! file of its own: that file is named in [`Facts::test_modules`]. `cfg(not(test))` is not.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// What one file contains.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) functions: Vec<Function>,
    pub(crate) strings: Vec<Word>,
    /// Identifiers outside of attributes, in order.
    pub(crate) words: Vec<Word>,
    /// `todo!` and its like: the name before a `!`.
    pub(crate) macros: Vec<Word>,
    /// The first word of each attribute.
    pub(crate) attributes: Vec<Word>,
    /// `#[cfg(test)] mod name;` with the inline modules around it.
    pub(crate) test_modules: Vec<String>,
    /// Lines of inline test items.
    pub(crate) tests: Vec<RangeInclusive<usize>>,
    /// Lines of constants and statics.
    pub(crate) tables: Vec<RangeInclusive<usize>>,
}

#[derive(Debug)]
pub(crate) struct Function {
    /// With the inline modules around it: `tests::closes`.
    pub(crate) path: String,
    pub(crate) lines: RangeInclusive<usize>,
    pub(crate) test: bool,
    /// It carries `#[test]` or an attribute that ends in `test`, such as `#[tokio::test]`.
    pub(crate) is_a_test: bool,
}

/// A token with its line, and whether it lies in test code.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) test: bool,
}

impl Facts {
    /// Reads a file; `None` when it is no Rust at all.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let tokens: TokenStream = text.parse().ok()?;
        let mut facts = Self::default();
        let place = Place {
            module: String::new(),
            test: false,
        };
        facts.level(tokens, &place);
        Some(facts)
    }

    /// One level of nesting, item by item.
    fn level(&mut self, tokens: TokenStream, place: &Place) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            let (marks, after) = self.attributes(rest, place);
            let start = marks.first_line.unwrap_or_else(|| line(after));
            rest = after;
            let item = &rest[..item_length(rest)];
            let inner = Place {
                module: place.module.clone(),
                test: place.test || marks.test,
            };
            if let Some(last) = item.last() {
                let lines = start..=last_line(last);
                self.item(item, &inner, marks, lines, place.test);
            }
            rest = &rest[item.len()..];
        }
    }

    fn item(
        &mut self,
        item: &[TokenTree],
        place: &Place,
        marks: Marks,
        lines: RangeInclusive<usize>,
        known: bool,
    ) {
        if place.test && !known {
            self.tests.push(lines.clone());
        }
        let mut inner = place.clone();
        match keyword(item) {
            Some(("mod", name)) => {
                let path = inner.below(&name);
                let elsewhere = item.last().is_some_and(|last| is_punct(last, ';'));
                if place.test && elsewhere {
                    self.test_modules.push(path.clone());
                }
                inner.module = path;
            }
            Some(("fn", name)) => {
                let first = item
                    .iter()
                    .position(|token| is_word(token, "fn"))
                    .unwrap_or(0);
                self.functions.push(Function {
                    path: inner.below(&name),
                    lines: line(&item[first..])..=*lines.end(),
                    test: place.test,
                    is_a_test: marks.is_a_test,
                });
            }
            Some(("const" | "static", _)) => self.tables.push(lines),
            _ => {}
        }
        self.tokens(item, &inner);
    }

    /// The words and strings of an item, and what its groups contain.
    fn tokens(&mut self, item: &[TokenTree], place: &Place) {
        for (index, token) in item.iter().enumerate() {
            if is_punct(token, '#') {
                // An attribute in the middle: of an expression, say.
                self.attributes(&item[index..], place);
            }
            let word = |text: String| Word {
                text,
                line: token.span().start().line,
                test: place.test,
            };
            match token {
                TokenTree::Group(group) => {
                    let attribute = group.delimiter() == Delimiter::Bracket
                        && index > 0
                        && is_punct(&item[index - 1], '#');
                    if !attribute {
                        self.level(group.stream(), place);
                    }
                }
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    if text.ends_with(['"', '#']) {
                        self.strings.push(word(text));
                    }
                }
                TokenTree::Ident(ident) => {
                    let called = matches!(item.get(index + 1), Some(next) if is_punct(next, '!'));
                    let text = ident.to_string();
                    if called {
                        self.macros.push(word(text));
                    } else {
                        self.words.push(word(text));
                    }
                }
                TokenTree::Punct(_) => {}
            }
        }
    }

    /// Takes the attributes that `tokens` begins with.
    fn attributes<'t>(
        &mut self,
        mut tokens: &'t [TokenTree],
        place: &Place,
    ) -> (Marks, &'t [TokenTree]) {
        let mut marks = Marks::default();
        loop {
            match tokens {
                [hash, TokenTree::Group(group), rest @ ..] if is_punct(hash, '#') => {
                    marks.first_line.get_or_insert(hash.span().start().line);
                    self.attribute(group, &mut marks, place);
                    tokens = rest;
                }
                // An inner attribute belongs to what is around.
                [hash, bang, TokenTree::Group(group), rest @ ..]
                    if is_punct(hash, '#') && is_punct(bang, '!') =>
                {
                    self.attribute(group, &mut Marks::default(), place);
                    tokens = rest;
                }
                _ => return (marks, tokens),
            }
        }
    }

    fn attribute(&mut self, group: &Group, marks: &mut Marks, place: &Place) {
        let inside: Vec<TokenTree> = group.stream().into_iter().collect();
        let Some(TokenTree::Ident(first)) = inside.first() else {
            return;
        };
        let last = inside.iter().rev().find_map(|token| match token {
            TokenTree::Ident(ident) => Some(ident.to_string()),
            _ => None,
        });
        match (first.to_string().as_str(), inside.get(1)) {
            ("cfg", Some(TokenTree::Group(condition))) => {
                marks.test |= wants_test(condition.stream());
            }
            // `cfg_attr(loom, ignore)`: what it may add counts as if it were there.
            ("cfg_attr", Some(TokenTree::Group(condition))) => {
                for token in condition.stream() {
                    if let TokenTree::Ident(ident) = token {
                        self.attributes.push(Word {
                            text: ident.to_string(),
                            line: ident.span().start().line,
                            test: place.test,
                        });
                    }
                }
            }
            _ => {}
        }
        if last.as_deref() == Some("test") {
            marks.test = true;
            marks.is_a_test = true;
        }
        self.attributes.push(Word {
            text: first.to_string(),
            line: first.span().start().line,
            test: place.test,
        });
    }
}

/// Where in the file one is.
#[derive(Clone, Debug)]
struct Place {
    module: String,
    test: bool,
}

impl Place {
    fn below(&self, name: &str) -> String {
        if self.module.is_empty() {
            name.to_owned()
        } else {
            format!("{}::{name}", self.module)
        }
    }
}

/// What the attributes of an item say about it.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    first_line: Option<usize>,
    test: bool,
    is_a_test: bool,
}

/// The words an item begins with after its visibility.
const ITEMS: &[&str] = &[
    "mod",
    "fn",
    "const",
    "static",
    "use",
    "type",
    "impl",
    "struct",
    "enum",
    "trait",
    "union",
    "extern",
    "macro_rules",
];

/// The word that says what the item is, and its name.
fn keyword(item: &[TokenTree]) -> Option<(&'static str, String)> {
    let mut words = item
        .iter()
        .take_while(|token| !is_punct(token, ';'))
        .peekable();
    while let Some(token) = words.next() {
        match token {
            TokenTree::Ident(ident) => {
                let text = ident.to_string();
                let found = ITEMS.iter().find(|known| **known == text);
                match (found, words.peek()) {
                    // `const fn`, `const { … }`
                    (Some(&"const"), Some(next)) if is_word(next, "fn") => {}
                    (Some(&"extern"), _) => {}
                    (Some(known), Some(TokenTree::Ident(name))) => {
                        return Some((known, name.to_string()));
                    }
                    (Some(known), _) => return Some((known, String::new())),
                    (None, _) => {
                        if !matches!(text.as_str(), "pub" | "unsafe" | "async" | "default") {
                            return None;
                        }
                    }
                }
            }
            // `pub(crate)`, `extern "C"`
            TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {}
            TokenTree::Literal(_) => {}
            _ => return None,
        }
    }
    None
}

/// How many tokens belong to the item that `tokens` begins with.
///
/// Items with a body end with it, others with a semicolon; whatever else attributes stand before
/// (a field, a variant, an arm, a statement) ends with a comma as well.
fn item_length(tokens: &[TokenTree]) -> usize {
    let kind = keyword(tokens).map(|(kind, _)| kind);
    for (index, token) in tokens.iter().enumerate() {
        let ends = match token {
            TokenTree::Punct(punct) => match punct.as_char() {
                ';' => true,
                ',' => kind.is_none(),
                _ => false,
            },
            TokenTree::Group(group) => {
                let body = group.delimiter() == Delimiter::Brace;
                body && !matches!(kind, Some("use" | "const" | "static" | "type"))
            }
            _ => false,
        };
        if ends {
            return index + 1;
        }
    }
    tokens.len()
}

/// Whether a `cfg` condition can only hold in a test build.
fn wants_test(condition: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    tokens.iter().enumerate().any(|(index, token)| match token {
        TokenTree::Ident(ident) => ident == "test",
        TokenTree::Group(group) => {
            let only = index
                .checked_sub(1)
                .is_some_and(|before| is_word(&tokens[before], "all"));
            only && wants_test(group.stream())
        }
        _ => false,
    })
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn line(tokens: &[TokenTree]) -> usize {
    tokens.first().map_or(0, |token| token.span().start().line)
}

fn last_line(token: &TokenTree) -> usize {
    token.span().end().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Facts {
        Facts::of(text).unwrap()
    }

    #[test]
    fn functions_have_paths_and_lines_wherever_they_stand() {
        let facts = facts(
            "pub(crate) const fn a() {}\nmod m {\n  impl X {\n    fn b(&self) -> [u8; 2] {\n\
             \x20     fn inner() {}\n    }\n  }\n}\nmacro_rules! z { () => {} }\nfn c() {}\n",
        );
        let found: Vec<_> = facts
            .functions
            .iter()
            .map(|function| (function.path.as_str(), function.lines.clone()))
            .collect();
        let expected = [
            ("a", 1..=1),
            ("m::b", 4..=6),
            ("m::inner", 5..=5),
            ("c", 10..=10),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn test_code_is_known_by_its_attributes() {
        for (text, test) in [
            ("#[cfg(test)]\nmod t { fn a() {} }", true),
            ("#[cfg(all(test, unix))] fn a() {}", true),
            ("#[cfg(not(test))] fn a() {}", false),
            ("#[cfg(any(test, unix))] fn a() {}", false),
            ("#[cfg(unix)] fn a() {}", false),
            ("#[test] fn a() {}", true),
            ("#[tokio::test] async fn a() {}", true),
            ("proptest! { #[test] fn a(x in 0..9u8) {} }", true),
            ("struct S { #[cfg(test)] x: u8, y: u8 } fn a() {}", false),
        ] {
            let facts = facts(text);
            assert_eq!(facts.functions[0].test, test, "{text}");
        }
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_named() {
        let facts = facts("mod m { #[cfg(test)] mod tests; }\nmod other;\n#[cfg(test)] mod t {}");
        assert_eq!(facts.test_modules, ["m::tests"]);
        assert_eq!(facts.tests, [1..=1, 3..=3]);
    }

    #[test]
    fn strings_are_no_words_and_docs_are_no_strings() {
        let facts =
            facts("/// trunkline_a\nfn f() { g(\"todo!() unsafe\", r#\"b\"#, 'c'); todo!() }");
        let strings: Vec<_> = facts
            .strings
            .iter()
            .map(|word| word.text.as_str())
            .collect();
        assert_eq!(strings, ["\"todo!() unsafe\"", "r#\"b\"#"]);
        let macros: Vec<_> = facts
            .macros
            .iter()
            .map(|word| (word.text.as_str(), word.line))
            .collect();
        assert_eq!(macros, [("todo", 2)]);
        assert!(!facts.words.iter().any(|word| word.text == "unsafe"));
    }

    #[test]
    fn attributes_are_found_inside_and_behind_conditions() {
        let facts = facts(
            "#![allow(x)]\nfn f() { #[allow(y)] let z = 1; }\n#[cfg_attr(a, ignore)] fn g() {}",
        );
        let allowed: Vec<_> = facts
            .attributes
            .iter()
            .filter(|word| word.text == "allow" || word.text == "ignore")
            .map(|word| word.line)
            .collect();
        assert_eq!(allowed, [1, 2, 3]);
    }

    #[test]
    fn tables_are_constants_and_statics_to_their_semicolon() {
        let facts = facts("const A: &[(u8, u8)] = &[\n  (1, 2),\n];\nstatic B: S = S { a: 1 };\n");
        assert_eq!(facts.tables, [1..=3, 4..=4]);
    }
}
