//! Tells the program which commit it is of, and which target it is for.
//!
//! `RBENCH_COMMIT` names the commit where a script of a release sets it; else git does for optimized builds, and the
//! archive of a package. Debug builds have none, so that a commit builds nothing anew.

use std::path::Path;
use std::process::Command;

/// Characters of a commit that name it.
const LENGTH: usize = 12;

fn main() {
    println!("cargo::rerun-if-env-changed=RBENCH_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let optimized = variable("PROFILE").is_some_and(|profile| profile == "release");
    let commit = variable("RBENCH_COMMIT")
        .or_else(|| optimized.then(|| of_package().or_else(of_git)).flatten())
        .unwrap_or_default();
    let commit: String = commit.chars().take(LENGTH).collect();
    println!("cargo::rustc-env=RBENCH_COMMIT={commit}");
    println!("cargo::rustc-env=RBENCH_TARGET={}", variable("TARGET").unwrap_or_default());
}

/// The commit that cargo has written into the archive of a package.
fn of_package() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    rest.split('"').nth(1).map(str::to_owned)
}

/// The commit that is checked out.
fn of_git() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) =
            git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}
