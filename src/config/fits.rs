//! Whether the general flags, the dataset and the backend go together.

use super::{Prompts, usage};
use crate::error::Error;
use crate::protocol::backend::{self, Backend};
use crate::workload::dataset::{Dataset, Templates};

/// Refuses general flags that the dataset has no use for, and a dataset that the backend has none for;
/// returns what the user should know of the others.
pub(super) fn check(
    prompts: &Prompts,
    dataset: &dyn Dataset,
    backend: &Backend,
) -> Result<Vec<String>, Error> {
    let name = &prompts.dataset_name;
    let uses = dataset.uses();
    if uses.embeds && backend.protocol.generates() {
        return Err(usage(format!(
            "--dataset-name {name} does not apply to --backend {}, which generates text",
            backend.name
        ))
        .hint("use --backend sglang-embedding or vllm-embedding"));
    }
    if uses.images && !backend.takes.images {
        let take = backend::ALL.iter().filter(|backend| backend.takes.images);
        let names: Vec<&str> = take.map(|backend| backend.name).collect();
        return Err(usage(format!(
            "--dataset-name {name} has images, which --backend {} does not take",
            backend.name
        ))
        .hint(format!("use --backend {}", names.join(", "))));
    }
    let template = prompts.apply_chat_template;
    for (flag, refused, hint) in [
        (
            "--apply-chat-template",
            template && uses.template == Templates::Never,
            "it applies to sharegpt and custom",
        ),
        (
            "--prompt-suffix",
            !prompts.prompt_suffix.is_empty() && !uses.suffix,
            "it applies to sharegpt and custom",
        ),
        (
            "--skip-bad-rows",
            prompts.skip_bad_rows && !uses.bad_rows,
            "it applies to datasets that are read from a file of rows",
        ),
        ("--allow-repeat", prompts.allow_repeat && !uses.repeat, "it applies to random"),
        (
            "--salt",
            prompts.salt.is_some() && !uses.salt,
            "it applies to made-up prompts: random, random-ids, image, generated-shared-prefix, corpus",
        ),
    ] {
        if refused {
            return Err(usage(format!("{flag} does not apply to --dataset-name {name}")).hint(hint));
        }
    }
    let mut notes = Vec::new();
    if template && uses.template == Templates::Ignored {
        notes.push(format!(
            "--apply-chat-template does nothing for --dataset-name {name}, whose prompts have the lengths asked for"
        ));
    }
    if template && uses.template == Templates::Optional && backend.accepts_messages {
        notes.push(format!(
            "--apply-chat-template: the server applies its template as well at {}, so that prompts have it twice",
            backend.path
        ));
    }
    Ok(notes)
}
