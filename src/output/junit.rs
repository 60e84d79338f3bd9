//! JUnit XML: objectives as test cases.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::gates;
use crate::analysis::comparison::{Judged, Met};

/// The suite `name` with a test case for each objective; what is inconclusive counts as skipped.
///
/// # Errors
/// If it cannot be written as XML; the text says why.
pub fn objectives(name: &str, all: &[Judged]) -> Result<String, String> {
    let mut suite = TestSuite::new(name);
    for judged in all {
        let line = gates::line(judged);
        let status = match judged.met {
            Met::Yes => TestCaseStatus::success(),
            Met::No => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(line.clone()).set_type("objective");
                status
            }
            Met::Open => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(line.clone());
                status
            }
        };
        let mut case = TestCase::new(judged.objective.to_string(), status);
        case.set_classname(name).set_system_out(line);
        suite.add_test_case(case);
    }
    let mut report = Report::new("rbench");
    report.add_test_suite(suite);
    report.to_string().map_err(|error| error.to_string())
}
