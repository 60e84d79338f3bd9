//! The Hub's cache on disk, in the layout that its own clients share.
//!
//! ```text
//! models--OWNER--NAME/refs/main                the commit that the branch stood for when it was last asked for
//! models--OWNER--NAME/snapshots/COMMIT/FILE    a link to the content
//! models--OWNER--NAME/blobs/ETAG               the content, and ETAG.incomplete while it comes
//! .locks/models--OWNER--NAME/ETAG.lock         held by whoever writes ETAG.incomplete
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use super::Holds;

/// The branch that files are taken from.
pub(super) const BRANCH: &str = "main";

/// Longest name of a commit or of a content.
const LONGEST: usize = 200;

/// The part of the cache that belongs to one repository.
#[derive(Debug)]
pub(super) struct Repo {
    cache: PathBuf,
    name: String,
}

/// A content that comes.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: File,
    /// The bytes that are there.
    pub(super) len: u64,
    /// The lock of the part that outlives a broken download; `None` if another process has it.
    lock: Option<File>,
}

impl Repo {
    pub(super) fn new(cache: &Path, holds: Holds, id: &str) -> Self {
        let kind = match holds {
            Holds::Model => "models",
            Holds::Dataset => "datasets",
        };
        Self { cache: cache.to_owned(), name: format!("{kind}--{}", id.replace('/', "--")) }
    }

    fn folder(&self) -> PathBuf {
        self.cache.join(&self.name)
    }

    /// The folder of the commit that the cache knows best.
    pub(super) fn snapshot(&self) -> Option<PathBuf> {
        let commit = fs::read_to_string(self.folder().join("refs").join(BRANCH)).ok()?;
        Some(self.folder().join("snapshots").join(commit.trim()))
    }

    /// A file of that commit.
    pub(super) fn file(&self, file: &str) -> Option<PathBuf> {
        Some(self.snapshot()?.join(file)).filter(|path| path.exists())
    }

    /// Where the content `etag` is, or will be.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    /// Opens the part of the content `etag` that is there already, or a part of its own
    /// where another process is writing that one.
    pub(super) fn part(&self, etag: &str) -> io::Result<Part> {
        let blobs = self.folder().join("blobs");
        let locks = self.cache.join(".locks").join(&self.name);
        fs::create_dir_all(&blobs)?;
        fs::create_dir_all(&locks)?;
        let lock = File::create(locks.join(format!("{etag}.lock")))?;
        // Network file systems without locks refuse as well.
        let lock = lock.try_lock().is_ok().then_some(lock);
        let name = match lock {
            Some(_) => format!("{etag}.incomplete"),
            None => format!("{etag}.{}.incomplete", std::process::id()),
        };
        let path = blobs.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Part { path, file, len, lock })
    }

    /// Makes `file` of `commit` the content `etag`, and `commit` the one that the branch stands for.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> io::Result<PathBuf> {
        let link = self.folder().join("snapshots").join(commit).join(file);
        if let Some(folder) = link.parent() {
            fs::create_dir_all(folder)?;
        }
        if !link.exists() {
            // One that leads nowhere.
            let _ = fs::remove_file(&link);
            // Out of the folders within the snapshot, that of the commit, and `snapshots`.
            let depth = Path::new(file).components().count() + 1;
            let content = Path::new(&"../".repeat(depth)).join("blobs").join(etag);
            match symlink(&content, &link) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Some file systems have no links.
                Err(_) => replace(&link, |new| fs::copy(self.blob(etag), new).map(drop))?,
                Ok(()) => {}
            }
        }
        let refs = self.folder().join("refs");
        fs::create_dir_all(&refs)?;
        replace(&refs.join(BRANCH), |new| fs::write(new, commit))?;
        Ok(link)
    }
}

impl Part {
    /// Throws away what is there.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.len = 0;
        self.file.set_len(0)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Turns what is whole into the content at `blob`.
    pub(super) fn finish(self, blob: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, blob)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.lock.is_none() {
            // Nobody would go on with it; a whole one has another name by now.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn symlink(content: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(content, link)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Writes a file that others may be reading.
fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(new);
    write(&new).and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
        // It may not be there.
        let _ = fs::remove_file(&new);
    })
}

/// The name of a content in a header, without what HTTP has around it; `None` if no file can have it.
pub(super) fn etag(text: &str) -> Option<&str> {
    let text = text.strip_prefix("W/").unwrap_or(text);
    name(text.trim_matches('"'))
}

/// A text of a server that is to be the name of a file; `None` if it would name another place.
pub(super) fn name(text: &str) -> Option<&str> {
    let fits = (1..=LONGEST).contains(&text.len()) && !text.starts_with('.');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (fits && plain).then_some(text)
}

/// Whether `file` is a path within a repository.
pub(super) fn is_within(file: &str) -> bool {
    !file.is_empty()
        && Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_stay_in_the_cache() {
        for (text, want) in [
            ("\"abc\"", Some("abc")),
            ("W/\"0123-4\"", Some("0123-4")),
            ("abc", Some("abc")),
            ("\"\"", None),
            ("../../etc", None),
            ("..", None),
            ("a/b", None),
            ("a\0", None),
        ] {
            assert_eq!(etag(text), want, "{text}");
        }
        assert!(etag(&"a".repeat(LONGEST + 1)).is_none());
        for (file, within) in [
            ("tokenizer.json", true),
            ("a/b.tiktoken", true),
            ("../b.tiktoken", false),
            ("a/../../b", false),
            ("/etc/b.tiktoken", false),
            ("", false),
        ] {
            assert_eq!(is_within(file), within, "{file}");
        }
    }

    /// Forall files: the link leads to the content, from whatever depth.
    #[test]
    fn links_lead_to_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repo::new(folder.path(), Holds::Model, "acme/tiny");
        for file in ["a.json", "deep/er/b.json"] {
            let mut part = repo.part("etag").unwrap();
            part.write(b"content").unwrap();
            part.finish(&repo.blob("etag")).unwrap();
            let link = repo.link("c0ffee", file, "etag").unwrap();
            assert_eq!(fs::read(&link).unwrap(), b"content");
            assert_eq!(repo.file(file).unwrap(), link);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
    }

    /// Who comes second writes a part of its own, and leaves nothing behind.
    #[test]
    fn a_part_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repo::new(folder.path(), Holds::Model, "acme/tiny");
        let mut first = repo.part("etag").unwrap();
        first.write(b"con").unwrap();
        let mut second = repo.part("etag").unwrap();
        assert_eq!(second.len, 0);
        second.write(b"c").unwrap();
        let other = second.path.clone();
        drop((first, second));
        assert!(!other.exists());
        assert_eq!(repo.part("etag").unwrap().len, 3);
    }
}
