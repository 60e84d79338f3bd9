//! How often a program has used up the CPU quota of its control group, or of one around it.

use std::path::{Path, PathBuf};

/// Where the system shows control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// Fewer periods tell nothing.
const PERIODS: u64 = 5;

/// What one group has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    /// Periods in which something of the group ran.
    periods: u64,
    /// Those in which the quota was used up.
    throttled: u64,
}

/// The counts of the groups with a quota that the program is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quota(Vec<(PathBuf, Counts)>);

impl Quota {
    /// Up to now; `None` if there is no quota, or the system does not tell.
    pub(super) fn now() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let counted = |path: PathBuf| {
            let counts = parse(&std::fs::read_to_string(path.join("cpu.stat")).ok()?)?;
            Some((path, counts))
        };
        let all: Vec<_> =
            folders(&groups, Path::new(ROOT)).into_iter().filter_map(counted).collect();
        (!all.is_empty()).then_some(Self(all))
    }

    /// The largest share of periods since `earlier` in which a quota was used up.
    pub(super) fn share_since(&self, earlier: &Self) -> Option<f64> {
        let share = |(path, now): &(PathBuf, Counts)| {
            let (_, then) = earlier.0.iter().find(|(other, _)| other == path)?;
            let periods = now.periods.saturating_sub(then.periods);
            let throttled = now.throttled.saturating_sub(then.throttled);
            (periods >= PERIODS).then(|| throttled as f64 / periods as f64)
        };
        self.0.iter().filter_map(share).reduce(f64::max)
    }
}

/// The folders of the groups that `groups` (the text of `/proc/self/cgroup`) names, and of those around them.
fn folders(groups: &str, root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        // One hierarchy for everything, or one for each kind of resource.
        let top = match controllers {
            "" => root.to_owned(),
            _ if controllers.split(',').any(|name| name == "cpu") => root.join(controllers),
            _ => continue,
        };
        let own = top.join(path.trim_start_matches('/'));
        let around = own.ancestors().take_while(|folder| folder.starts_with(&top));
        found.extend(around.map(Path::to_owned));
    }
    found
}

/// The counts of a file `cpu.stat`; `None` if the group has no quota.
fn parse(text: &str) -> Option<Counts> {
    let count = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
    };
    Some(Counts { periods: count("nr_periods")?, throttled: count("nr_throttled")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_kinds_are_found() {
        let root = Path::new("/c");
        let shown = |groups: &str| -> Vec<String> {
            folders(groups, root).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(shown("0::/a/b\n"), ["/c/a/b", "/c/a", "/c"]);
        assert_eq!(shown("0::/\n"), ["/c/"]);
        assert_eq!(
            shown("3:memory:/m\n2:cpu,cpuacct:/x\n"),
            ["/c/cpu,cpuacct/x", "/c/cpu,cpuacct"]
        );
        assert_eq!(shown("rubbish\n\n1:cpuset:/x\n"), [""; 0]);
    }

    #[test]
    fn the_share_of_used_up_periods_is_the_largest_of_all_groups() {
        let text = "usage_usec 5\nnr_periods 10\nnr_throttled 2\nthrottled_usec 77\n";
        assert_eq!(parse(text), Some(Counts { periods: 10, throttled: 2 }));
        assert_eq!(parse("usage_usec 5\nuser_usec 5\n"), None);
        let at = |a: (u64, u64), b: (u64, u64)| {
            let group = |path: &str, (periods, throttled)| {
                (PathBuf::from(path), Counts { periods, throttled })
            };
            Quota(vec![group("/a", a), group("/a/b", b)])
        };
        let then = at((10, 2), (0, 0));
        assert_eq!(at((30, 7), (10, 1)).share_since(&then), Some(0.25));
        assert_eq!(at((12, 4), (2, 2)).share_since(&then), None, "too few");
    }
}
