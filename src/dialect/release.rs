//! Releases of other tools, and in which of them a row or a key occurs.

use std::fmt;

/// A release of a tool. Post releases count as the release that they follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

impl Version {
    /// The release `major.minor.patch`.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `1.2.3` and `1.2.3.post4`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = || digits(parts.next()?);
        let version = Self { major: number()?, minor: number()?, patch: number()? };
        let known_rest = match parts.next() {
            None => true,
            Some(post) => post.strip_prefix("post").and_then(digits).is_some(),
        };
        (known_rest && parts.next().is_none()).then_some(version)
    }

    /// The release among `known`, oldest first, that this one looks like: the nearest one at or below in its series.
    ///
    /// One that is newer than all of them is not known, as nobody can tell what it changed.
    pub(super) fn nearest(self, known: &[Self]) -> Option<Self> {
        let newest = *known.last()?;
        let below = |known: &&Self| **known <= self && known.series() == self.series();
        known.iter().rev().find(below).copied().filter(|_| self <= newest)
    }

    fn series(self) -> (u16, u16) {
        (self.major, self.minor)
    }
}

fn digits(text: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The releases that have a row or a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Releases {
    from: Option<Version>,
    to: Option<Version>,
    gap: Option<(Version, Version)>,
}

/// Every release.
pub(super) const ALL: Releases = Releases { from: None, to: None, gap: None };

/// `from` and later ones.
pub(super) const fn since(from: Version) -> Releases {
    Releases { from: Some(from), ..ALL }
}

/// `to` and earlier ones.
pub(super) const fn until(to: Version) -> Releases {
    Releases { to: Some(to), ..ALL }
}

/// `from`, `to` and those between them.
pub(super) const fn between(from: Version, to: Version) -> Releases {
    Releases { from: Some(from), to: Some(to), gap: None }
}

/// Every release except `from`, `to` and those between them.
pub(super) const fn except(from: Version, to: Version) -> Releases {
    Releases { gap: Some((from, to)), ..ALL }
}

impl Releases {
    /// Whether `version` is one of them.
    pub(super) fn contain(self, version: Version) -> bool {
        self.from.is_none_or(|from| from <= version)
            && self.to.is_none_or(|to| version <= to)
            && self.gap.is_none_or(|(from, to)| version < from || to < version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, shown) in [
            ("0.5.6", Some("0.5.6")),
            ("0.5.6.post2", Some("0.5.6")),
            ("10.20.30", Some("10.20.30")),
            ("", None),
            ("0.5", None),
            ("0.5.", None),
            ("0.5.+6", None),
            ("v0.5.6", None),
            ("0.5.6rc1", None),
            ("0.5.6.post", None),
            ("0.5.6.dev1", None),
            ("0.5.6.post2.1", None),
            ("0.5.99999", None),
        ] {
            assert_eq!(Version::parse(text).map(|v| v.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn the_nearest_release_of_the_series() {
        let known = [Version::new(0, 2, 15), Version::new(0, 5, 1), Version::new(0, 5, 6)];
        for (asked, found) in [
            ("0.2.15", Some("0.2.15")),
            ("0.2.20", Some("0.2.15")),
            ("0.2.14", None),
            ("0.3.0", None),
            ("0.5.0", None),
            ("0.5.5", Some("0.5.1")),
            ("0.5.6.post9", Some("0.5.6")),
            ("0.5.7", None),
            ("1.0.0", None),
        ] {
            let nearest = Version::parse(asked).unwrap().nearest(&known);
            assert_eq!(nearest.map(|v| v.to_string()).as_deref(), found, "{asked}");
        }
    }

    #[test]
    fn ranges() {
        let v = |patch| Version::new(0, 5, patch);
        let inside = |releases: Releases| (0..6).filter(|&p| releases.contain(v(p))).collect();
        let check = |releases, patches: &[u16]| {
            let found: Vec<u16> = inside(releases);
            assert_eq!(found, patches);
        };
        check(ALL, &[0, 1, 2, 3, 4, 5]);
        check(since(v(4)), &[4, 5]);
        check(until(v(1)), &[0, 1]);
        check(between(v(2), v(3)), &[2, 3]);
        check(except(v(1), v(4)), &[0, 5]);
    }
}
