//! Where results go beside the table.

use std::path::{Path, PathBuf};

use super::Outputs;
use super::timeouts::MaxErrors;

/// What stands for stdout in place of a file.
const STDOUT: &str = "-";

/// Where results go.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The result file, if one is named.
    pub file: Option<PathBuf>,
    /// Whether there is to be none under a name of its own.
    pub no_file: bool,
    /// Whether stdout has the result as JSON, and no table.
    pub json: bool,
    /// File of comma-separated values.
    pub csv: Option<PathBuf>,
    /// Whether stderr has warnings and errors alone.
    pub quiet: bool,
    /// How many requests may fail in a run that is a success all the same.
    pub allow_failed: MaxErrors,
    /// Whether the run is shown instead of done.
    pub dry: bool,
}

impl Results {
    /// Those of `outputs`.
    pub(super) fn of(outputs: &Outputs) -> Self {
        let is_stdout = |path: &Path| path == Path::new(STDOUT);
        let on_stdout = outputs.output_file.as_deref().is_some_and(is_stdout);
        let file = outputs.output_file.clone().filter(|path| !is_stdout(path));
        let json = outputs.json || on_stdout;
        Self {
            no_file: outputs.no_output_file || json && file.is_none(),
            file,
            json,
            csv: outputs.csv.clone(),
            quiet: outputs.quiet,
            allow_failed: outputs.allow_failed,
            dry: outputs.dry_run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_stdout_leaves_no_file_behind() {
        let of = |file: Option<&str>, json, no_output_file| {
            let output_file = file.map(PathBuf::from);
            let outputs = Outputs { output_file, no_output_file, json, ..Outputs::default() };
            let Results { file, no_file, json, .. } = Results::of(&outputs);
            (file.map(|file| file.display().to_string()), no_file, json)
        };
        let named = || Some("a".to_owned());
        assert_eq!(of(None, false, false), (None, false, false));
        assert_eq!(of(None, true, false), (None, true, true));
        assert_eq!(of(Some("-"), false, false), (None, true, true));
        assert_eq!(of(Some("a"), true, false), (named(), false, true));
        assert_eq!(of(Some("a"), false, false), (named(), false, false));
        assert_eq!(of(None, false, true), (None, true, false));
    }
}
