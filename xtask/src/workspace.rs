//! Where the workspace is, and what Cargo knows about it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::{self, Failure, Outcome};

/// One crate of the workspace with its direct dependencies.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Its `Cargo.toml`, relative to the workspace.
    pub(crate) manifest: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A line of a manifest: normal, build and dev dependencies alike.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// It lies in this workspace.
    pub(crate) own: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// What `cargo metadata` says, without resolving anything.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) members: Vec<Member>,
    pub(crate) target_directory: PathBuf,
}

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Asks Cargo.
///
/// # Errors
/// Cargo fails, or its answer has another shape than ten years of documentation promise.
pub(crate) fn metadata() -> Outcome<Metadata> {
    let mut ask = command::cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let answer = command::read(&mut ask)?;
    let answer: Value = serde_json::from_str(&answer)
        .map_err(|error| Failure::new(format!("cargo metadata is not JSON: {error}")))?;
    let target_directory = text(&answer["target_directory"])?.into();
    let packages = answer["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let members = packages.iter().map(member).collect::<Outcome<Vec<_>>>()?;
    Ok(Metadata {
        members,
        target_directory,
    })
}

fn member(package: &Value) -> Outcome<Member> {
    let manifest = Path::new(text(&package["manifest_path"])?);
    let manifest = manifest.strip_prefix(root()).unwrap_or(manifest);
    let lines = package["dependencies"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    Ok(Member {
        name: text(&package["name"])?.to_owned(),
        manifest: manifest.display().to_string(),
        dependencies: lines.iter().map(dependency).collect::<Outcome<Vec<_>>>()?,
    })
}

fn dependency(line: &Value) -> Outcome<Dependency> {
    let kind = match line["kind"].as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    };
    Ok(Dependency {
        name: text(&line["name"])?.to_owned(),
        kind,
        own: line["path"].is_string(),
    })
}

fn text(value: &Value) -> Outcome<&str> {
    value
        .as_str()
        .ok_or_else(|| Failure::new("cargo metadata lacks a field that it always had"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_crate_is_a_member_with_foreign_dependencies_only() {
        let metadata = metadata().unwrap();
        let this = metadata
            .members
            .iter()
            .find(|member| member.name == "xtask")
            .unwrap();
        assert_eq!(this.manifest, "xtask/Cargo.toml");
        assert!(
            this.dependencies
                .iter()
                .any(|one| one.name == "serde_json" && !one.own)
        );
        assert!(this.dependencies.iter().all(|one| !one.own));
        let engine = metadata
            .members
            .iter()
            .find(|one| one.name == "trunkline-engine")
            .unwrap();
        let dev = engine
            .dependencies
            .iter()
            .find(|one| one.name == "proptest")
            .unwrap();
        assert_eq!(dev.kind, Kind::Dev);
    }
}
