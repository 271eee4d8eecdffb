//! What `--model org/name` means.

use crate::error::{Error, Result};
use std::fmt;

#[cfg(not(target_family = "wasm"))]
use std::path::Path;

/// The longest `org/name`, as the hub has it.
const MAX_REPO: usize = 96;
/// No path in a cache may become longer than file systems take.
const MAX_PATH: usize = 200;
/// The branch that every repository has.
const MAIN: &str = "main";

/// A model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    /// `org/name`.
    pub repo: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The GGUF file in the repository, or `None` for a Hugging Face folder.
    pub file: Option<String>,
}

impl HubName {
    /// Reads `org/name`, or `org/name/model.gguf` for one file of a repository; `None` if `text` is neither.
    ///
    /// # Errors
    /// If `revision` is no name of a branch, tag or commit.
    pub fn parse(text: &str, revision: Option<&str>) -> Result<Option<Self>> {
        let parts: Vec<&str> = text.split('/').collect();
        let (repo, file) = match parts.as_slice() {
            [org, name] if is_repo_part(org) && is_repo_part(name) && !is_file(name) => (text, None),
            [org, name, .., last] if is_repo_part(org) && is_repo_part(name) && is_gguf(last) => {
                let (repo, file) = text.split_at(org.len() + 1 + name.len());
                (repo, Some(file[1..].to_owned()))
            }
            _ => return Ok(None),
        };
        if repo.len() > MAX_REPO || file.as_deref().is_some_and(|file| !is_safe_path(file)) {
            return Ok(None);
        }
        let revision = revision.unwrap_or(MAIN);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if !is_safe_path(revision) || !revision.chars().all(plain) {
            return Err(Error::Usage(format!("--revision {revision:?} is not a branch, a tag or a commit")));
        }
        Ok(Some(Self { repo: repo.to_owned(), revision: revision.to_owned(), file }))
    }

    /// As [`parse`](Self::parse), but `None` if there is a file or folder `path`, which always wins.
    ///
    /// # Errors
    /// If there is a `revision` and `path` is no hub name.
    #[cfg(not(target_family = "wasm"))]
    pub fn find(path: &Path, revision: Option<&str>) -> Result<Option<Self>> {
        let name = match path.to_str() {
            Some(text) if !path.exists() => Self::parse(text, revision)?,
            _ => None,
        };
        if name.is_none() && revision.is_some() {
            let what = format!("--revision is for models by hub name (org/name); {} is a path", path.display());
            return Err(Error::Usage(what));
        }
        Ok(name)
    }
}

/// As the user gave it.
impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        self.file.iter().try_for_each(|file| write!(f, "/{file}"))
    }
}

/// Whether `part` may be an organisation or a repository, by the hub's own rules.
fn is_repo_part(part: &str) -> bool {
    let ends = |c: char| c == '-' || c == '.';
    !part.is_empty()
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !part.starts_with(ends)
        && !part.ends_with(ends)
        && !part.contains("--")
        && !part.contains("..")
}

/// `models/tiny.gguf` is a mistyped path, not a repository.
fn is_file(name: &str) -> bool {
    is_gguf(name) || name.ends_with(".safetensors") || name.ends_with(".json")
}

pub(super) fn is_gguf(name: &str) -> bool {
    name.len() > ".gguf".len() && name.to_ascii_lowercase().ends_with(".gguf")
}

/// Whether `path` stays below the folder it is joined to, on every system.
pub(super) fn is_safe_path(path: &str) -> bool {
    let is_bad = |c: char| c.is_control() || "\\:*?\"<>|".contains(c);
    let is_safe = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(['.', ' ']);
    path.len() <= MAX_PATH && !path.contains(is_bad) && path.split('/').all(is_safe)
}

/// Whether `name` can be the name of a file as it is: a hash, a commit, a shard.
pub(super) fn is_safe_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    is_safe_path(name) && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<HubName> {
        HubName::parse(text, None).unwrap()
    }

    #[test]
    fn names() {
        let name = parse("HuggingFaceTB/SmolLM2-135M-Instruct").unwrap();
        let expected = ("HuggingFaceTB/SmolLM2-135M-Instruct", "main", None);
        assert_eq!((&*name.repo, &*name.revision, name.file.as_deref()), expected);
        assert_eq!(name.to_string(), expected.0);

        let name = parse("a/b_1.0/sub/x-Q4_1.GGUF").unwrap();
        assert_eq!((&*name.repo, name.file.as_deref()), ("a/b_1.0", Some("sub/x-Q4_1.GGUF")));
        assert_eq!(name.to_string(), "a/b_1.0/sub/x-Q4_1.GGUF");
        assert_eq!(parse("a/b").unwrap().repo, "a/b");
    }

    #[test]
    fn what_is_no_name() {
        let longest = format!("a/{}", "b".repeat(95));
        for text in [
            "",
            "model",
            "/",
            "a/",
            "/b",
            "./b",
            "../b",
            "/a/b",
            "a/b/",
            "a//b",
            "a/b/c",
            "~/b",
            "a/.b",
            "a/b.",
            "-a/b",
            "a/b--c",
            "a/b..c",
            "a b/c",
            "a\\b/c",
            "a/b:c",
            "C:/b",
            "a/ä",
            "a/b\n",
            "a/b@c",
            "models/tiny.gguf",
            "m/model.safetensors",
            "a/b/../x.gguf",
            "a/b/.x.gguf",
            "a/b//x.gguf",
            "a/b/.gguf",
            "a/b/c\\x.gguf",
            "a/b/c/x.bin",
            "a/b/c:x.gguf",
            "a/b/\x1b.gguf",
            &longest,
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert!(parse(&longest[1..longest.len() - 1]).is_none() && parse(&longest[..96]).is_some());
        assert!(parse(&format!("a/b/{}.gguf", "c".repeat(195))).is_some());
        assert!(parse(&format!("a/b/{}.gguf", "c".repeat(196))).is_none());
    }

    #[test]
    fn revisions() {
        let revision = |revision| HubName::parse("a/b", Some(revision));
        for good in ["main", "v1.0", "refs/pr/1", "0f3a"] {
            assert_eq!(revision(good).unwrap().unwrap().revision, good);
        }
        for bad in ["", "/main", "../main", "a/../b", "a//b", "a/", ".", "a b", "a\\b", "C:x", "a?b", "a%2F"] {
            let error = revision(bad).unwrap_err();
            assert!(error.to_string().ends_with("is not a branch, a tag or a commit"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn a_path_that_exists_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(HubName::find(&path, None).unwrap(), None);
        assert_eq!(HubName::find("src".as_ref(), None).unwrap(), None);
        assert!(HubName::find("no-such/folder".as_ref(), None).unwrap().is_some());
        for path in ["src", "none"] {
            let error = HubName::find(path.as_ref(), Some("main")).unwrap_err().to_string();
            assert!(error.starts_with("--revision is for models by hub name"), "{error}");
        }
    }
}
