//! The parsed document as a tree of spans: looking up, cutting out, laying flat.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Path, Spot};

/// Where every key of the tree stands; an array's elements are keyed by their index.
pub(crate) fn spots(root: &DeTable<'_>) -> BTreeMap<Path, Spot> {
    let mut spots = BTreeMap::new();
    lay_flat(root, &mut Vec::new(), &mut spots);
    spots
}

fn lay_flat(table: &DeTable<'_>, path: &mut Path, spots: &mut BTreeMap<Path, Spot>) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        lay_flat_value(key.span(), value, path, spots);
        path.pop();
    }
}

fn lay_flat_value(
    key: Range<usize>,
    value: &Spanned<DeValue<'_>>,
    path: &mut Path,
    spots: &mut BTreeMap<Path, Spot>,
) {
    let spot = Spot {
        key,
        value: value.span(),
        table: value.get_ref().is_table(),
    };
    spots.insert(path.clone(), spot);
    match value.get_ref() {
        DeValue::Table(table) => lay_flat(table, path, spots),
        DeValue::Array(array) => {
            for (index, item) in array.iter().enumerate() {
                path.push(index.to_string());
                lay_flat_value(item.span(), item, path, spots);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Cuts what stands at `path` out of the tree; an element takes its whole array along, because the
/// others would move up. Returns whether there was anything.
pub(crate) fn cut(table: &mut DeTable<'_>, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    if rest.is_empty() {
        return table.remove(first.as_str()).is_some();
    }
    match table.get_mut(first.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => cut(inner, rest),
        Some(DeValue::Array(_)) => table.remove(first.as_str()).is_some(),
        _ => false,
    }
}

/// The deepest path whose key or value has exactly this span.
pub(crate) fn path_of(spots: &BTreeMap<Path, Spot>, span: &Range<usize>) -> Option<Path> {
    spots
        .iter()
        .filter(|(_, spot)| spot.key == *span || spot.value == *span)
        .max_by_key(|(path, _)| path.len())
        .map(|(path, _)| path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "x = 1\n[a.b]\nlist = [1, { y = 2 }]\n[a.c.d]\nz = 3\n";

    fn path(dotted: &str) -> Path {
        dotted.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn lays_every_key_flat() {
        let tree = DeTable::parse(TEXT).unwrap();
        let spots = spots(tree.get_ref());
        let paths: Vec<String> = spots.keys().map(|path| path.join(".")).collect();
        let expected = "a a.b a.b.list a.b.list.0 a.b.list.1 a.b.list.1.y a.c a.c.d a.c.d.z x";
        assert_eq!(paths.join(" "), expected);
        assert_eq!(&TEXT[spots[&path("a.c.d.z")].value.clone()], "3");
        assert_eq!(
            path_of(&spots, &spots[&path("a.c")].value),
            Some(path("a.c"))
        );
        assert_eq!(path_of(&spots, &(0..3)), None);
    }

    #[test]
    fn cuts_keys_tables_and_whole_arrays() {
        let tree = DeTable::parse(TEXT).unwrap();
        for (cut_path, gone) in [
            ("x", "x"),
            ("a.c", "a.c.d.z"),
            ("a.b.list.1.y", "a.b.list.0"),
        ] {
            let mut table = tree.get_ref().clone();
            assert!(cut(&mut table, &path(cut_path)));
            assert!(!spots(&table).contains_key(&path(gone)), "{cut_path}");
        }
        let mut table = tree.get_ref().clone();
        assert!(!cut(&mut table, &path("a.nothing.z")));
        assert!(!cut(&mut table, &[]));
    }
}
