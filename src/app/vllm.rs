//! `rbench vllm bench serve`: a run of `rbench serve` with what vLLM's flags mean.

use serde_json::Value;

use super::serve;
use crate::cli::{self, Object, ServeInput};
use crate::dialect::vllm::Flags;
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;
use crate::protocol::backend::Backend;
use crate::workload::dataset::Dataset;

/// `rbench vllm bench serve`.
pub(super) fn serve(flags: Flags, ui: Ui) -> Result<(), Error> {
    if let Some(folder) = flags.result_dir.as_ref().filter(|_| flags.save_result) {
        std::fs::create_dir_all(folder).map_err(|error| {
            let message = format!("--result-dir {}: cannot be made", folder.display());
            Error::new(Kind::Usage, message).because(error)
        })?;
    }
    serve::serve(input(flags)?, ui)
}

/// The args of `rbench serve` that do what `flags` ask for.
fn input(flags: Flags) -> Result<ServeInput, Error> {
    let usage = |message: String| Error::new(Kind::Usage, message);
    let ServeInput { mut args, dataset, mut effective, notes, .. } =
        cli::serve_defaults().map_err(|error| usage(error.to_string()))?;
    effective.extend(flags.effective());
    let backend = if flags.backend == "openai-chat" { "vllm-chat" } else { "vllm" };
    let path = Backend::find(backend).map_or("", |backend| backend.path);
    if let Some(endpoint) = flags.endpoint.as_ref().filter(|endpoint| *endpoint != path) {
        let message = format!("--endpoint {endpoint}: --backend {} is at {path}", flags.backend);
        return Err(usage(message).hint("leave --endpoint out, or choose another --backend"));
    }
    let choice =
        || "vllm".parse().map_err(|what: String| usage(format!("the vllm dialect {what}")));
    (args.table, args.jsonl) = (choice()?, choice()?);
    let source: Option<Box<dyn Dataset>> = Some(Box::new(flags.dataset()));
    args.extra_request_body = Some(Object(flags.body()));
    backend.clone_into(&mut args.backend);
    args.base_url = flags.base_url.into_iter().collect();
    (args.host, args.port) = (flags.host, Some(flags.port));
    args.header = flags.header.iter().filter_map(|header| header.parse().ok()).collect();
    args.model = flags.model;
    args.served_model_name = flags.served_model_name;
    args.tokenizer = flags.tokenizer;
    args.dataset_name = flags.dataset_name;
    args.num_prompts = flags.num_prompts;
    args.request_rate = flags.request_rate;
    args.max_concurrency = flags.max_concurrency;
    args.seed = flags.seed;
    args.warmup_requests = 0;
    args.ready_check_timeout_sec = Some(flags.ready_check_timeout_sec);
    args.goodput = flags.goodput;
    args.output_details = flags.save_detailed;
    args.disable_tqdm = flags.disable_tqdm;
    effective.retain(|_, value| *value != Value::Null);
    Ok(ServeInput { args, dataset, source, effective, notes })
}
