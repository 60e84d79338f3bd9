//! Files that results are appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, Kind};
use crate::output::door;

/// Checks before the run that what `flag` names can be written after it; leaves nothing behind.
///
/// # Errors
/// If the folder does not exist, or the file cannot be written to.
pub(super) fn check(flag: &str, path: Option<&Path>) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let refuse = |what: &str| Error::new(Kind::Usage, format!("{flag} {}: {what}", path.display()));
    let Ok(metadata) = path.metadata() else {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(refuse("its folder does not exist"));
        }
        return match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(_) => std::fs::remove_file(path)
                .map_err(|error| refuse("cannot be removed again").because(error)),
            // A symbolic link to a file that does not exist yet.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(refuse("cannot be created").because(error)),
        };
    };
    if metadata.is_dir() {
        return Err(refuse("is a folder"));
    }
    if metadata.file_type().is_fifo() {
        // Whoever reads it would see it closed, and go.
        return Ok(());
    }
    let opened = OpenOptions::new().append(true).open(path);
    opened.map(drop).map_err(|error| refuse("cannot be written to").because(error))
}

/// Appends `line` to the file at `path`, on a line of its own, or not at all.
///
/// # Errors
/// If that does not work; the message has the path.
pub(super) fn append(path: &Path, line: &str) -> Result<(), Error> {
    append_lines(path, line.as_bytes()).map_err(|error| {
        Error::new(Kind::System, format!("cannot append the result to {}", path.display()))
            .because(error)
    })
}

/// Writes `text` in the place of what the file at `path` holds.
///
/// # Errors
/// If that does not work; the message has the path.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let mut bytes = text.as_bytes().to_vec();
    door::json(&mut bytes, 0);
    std::fs::write(path, bytes).map_err(|error| {
        Error::new(Kind::System, format!("cannot write the result to {}", path.display()))
            .because(error)
    })
}

/// Writes a page for browsers, whose data has passed the door: its script stays as its policy names it.
///
/// # Errors
/// If that does not work; the message has the path.
pub(super) fn page(path: &Path, page: &str) -> Result<(), Error> {
    std::fs::write(path, page).map_err(|error| {
        Error::new(Kind::System, format!("cannot write the page to {}", path.display()))
            .because(error)
    })
}

/// Appends whole lines to the file at `path`, or none of them.
///
/// # Errors
/// If that does not work.
pub(super) fn append_lines(path: &Path, lines: &[u8]) -> io::Result<()> {
    if let Ok(metadata) = path.metadata()
        && !metadata.is_file()
    {
        // A named pipe that nobody reads would be waited for without an end.
        let read = if metadata.file_type().is_fifo() { Some(reader(path)?) } else { None };
        let mut lines = lines.to_vec();
        door::json(&mut lines, 0);
        OpenOptions::new().append(true).open(path)?.write_all(&lines)?;
        drop(read);
        return Ok(());
    }
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let before = file.metadata()?.len();
    let mut text = Vec::with_capacity(lines.len() + 1);
    if before > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(before - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            // Who wrote before died within a line: it stays alone.
            text.push(b'\n');
        }
    }
    text.extend(lines);
    door::json(&mut text, 0);
    // What fills a disk is on some file systems known only when it gets there.
    file.write_all(&text).and_then(|()| file.sync_data()).inspect_err(|_| {
        // The first error is the one to report.
        let _ = take_back(&mut file, before, &text);
    })
}

/// Holds a named pipe open, if somebody reads it.
fn reader(path: &Path) -> io::Result<File> {
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(nonblock).open(path).map_err(|error| {
        io::Error::new(error.kind(), format!("nobody reads the named pipe ({error})"))
    })
}

/// Takes what was written of `text` out of a file that had `before` bytes, unless somebody else has written since.
fn take_back(file: &mut File, before: u64, text: &[u8]) -> io::Result<()> {
    let mut written = Vec::new();
    file.seek(SeekFrom::Start(before))?;
    file.take(text.len() as u64 + 1).read_to_end(&mut written)?;
    if text.starts_with(&written) { file.set_len(before) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        for (now, want) in [
            ("old\nnew li", "old\n"),
            ("old\nnew line\n", "old\n"),
            ("old\n", "old\n"),
            ("old\nnew lineother\n", "old\nnew lineother\n"),
            ("old\nother\n", "old\nother\n"),
        ] {
            std::fs::write(&path, now).unwrap();
            let mut file = OpenOptions::new().append(true).read(true).open(&path).unwrap();
            take_back(&mut file, 4, b"new line\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), want, "{now}");
        }
    }
}
