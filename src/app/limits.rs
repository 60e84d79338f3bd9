//! What a run needs of the system, checked before it begins.

use std::sync::Arc;

use crate::config::Serve;
use crate::engine::system;
use crate::error::Error;
use crate::model::{EVENT_BYTES, PlannedRequest, REQUEST_BYTES};
use crate::output::terminal::Ui;
use crate::workload::arrival::Rate;

/// Checks what the system allows to be open at once.
///
/// # Errors
/// If the system lacks something that the run is certain to need; what it may need is a warning.
pub(super) fn check(config: &Serve, ui: Ui) -> Result<(), Error> {
    let limit = system::raise_descriptors();
    let free = system::free_memory();
    system::check_threads(config.threads as u64, limit, free)?;
    let servers = config.target.servers.len() as u64;
    for (flag, n) in [
        ("--num-prompts", config.num_prompts as u64),
        ("--warmup-requests", (config.warmup as u64).saturating_mul(servers)),
    ] {
        system::check_copies(flag, n, REQUEST_BYTES as u64, free)?;
    }
    let requests = match (config.duration, config.rate) {
        // Of a Poisson process, so about as many.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of requests"
        )]
        (Some(lasts), Rate::PerSecond(rate)) => (rate * lasts.as_secs_f64()).ceil() as usize,
        (Some(_), _) => usize::MAX,
        (None, _) => config.num_prompts,
    };
    let at_once = config.max_concurrency.unwrap_or(usize::MAX).min(requests) as u64;
    let is_certain = (config.rate == Rate::Unlimited && config.pattern.ramp.is_none())
        || config.max_concurrency.is_some();
    let checked = |result: Result<(), Error>, may: &str| match result {
        Err(error) if is_certain => Err(error),
        Err(_) => {
            ui.warn(&format!("should the server fall behind, {may}: set --max-concurrency"));
            Ok(())
        }
        Ok(()) => Ok(()),
    };
    checked(
        system::check_descriptors(at_once, limit),
        "more requests may be open than the file descriptor limit allows",
    )?;
    let all = &config.target.servers;
    if all.iter().all(|server| server.socket.is_some()) {
        return Ok(());
    }
    let (servers, ports) = (all.len() as u64, system::local_ports());
    checked(
        system::check_ports(at_once.div_ceil(servers), ports),
        "more connections may be open than there are local ports",
    )?;
    match config.rate {
        Rate::PerSecond(rate) if config.client.connection_per_request => {
            let lasts =
                config.duration.map_or(config.num_prompts as f64 / rate, |d| d.as_secs_f64());
            // A short run ends before its ports come back, and was checked above.
            if lasts > 60.0 {
                system::check_port_rate(rate / servers as f64, ports)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Checks that the records of `plan` fit into memory, and returns the budget for them.
///
/// # Errors
/// If they are certain not to.
pub(super) fn memory(
    config: &Serve,
    plan: &[PlannedRequest],
    ui: Ui,
) -> Result<Arc<system::Budget>, Error> {
    let free = system::free_memory();
    if config.duration.is_some() || config.low_memory {
        // How much will be sent is not known, or nothing of it will be kept.
        return Ok(system::Budget::of_run(0, free));
    }
    let requests: u64 = plan.iter().map(|request| request.rounds() as u64).sum();
    let tokens = |request: &PlannedRequest| {
        (request.rounds() as u64).saturating_mul(request.output_len as u64)
    };
    let has_events = config.backend.protocol.generates() && config.stream;
    let events = if has_events { plan.iter().map(tokens).fold(0, u64::saturating_add) } else { 0 };
    // A token has about four bytes of text.
    let need = events
        .saturating_mul(EVENT_BYTES as u64 + 4)
        .saturating_add(requests.saturating_mul(REQUEST_BYTES as u64));
    let warn = |note: &str| ui.warn(&format!("{note}: --low-memory needs hardly any"));
    match system::check_memory(need, free) {
        Ok(None) => {}
        Ok(Some(note)) => warn(&note),
        // Answers may end before the length that was asked for.
        Err(error) if has_events && !config.ignore_eos => warn(&error.message),
        Err(error) => return Err(error),
    }
    Ok(system::Budget::of_run(need, free))
}
