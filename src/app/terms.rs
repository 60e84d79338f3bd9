//! The terms by which a run is analysed.

use crate::analysis::counts::Shares;
use crate::analysis::gather::{Origins, Terms};
use crate::journal::Header;

/// What metrics are to gather of a run; `keeps` says whether they keep their samples.
pub(super) fn terms(header: &Header, keeps: bool) -> Terms<'_> {
    Terms {
        keeps,
        origins: Origins::default(),
        shares: if header.backend.splits_itl { Shares::Perhaps } else { Shares::Never },
        stall_threshold: header.stall_threshold,
        slos: &header.metadata.slos,
        cache_report: header.metadata.cache_report,
    }
}
