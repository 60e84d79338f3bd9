//! The dataset that flags ask for.

use super::dataset::file::{BurstGpt, Custom, Form, Hub, Reading, ShareGpt, Sonnet};
use super::dataset::random::{Lengths, Multimodal, Random, Repetition, Rerank};
use super::dataset::trace::TimedTrace;
use super::flags::Flags;
use crate::workload::dataset::Dataset;
use crate::workload::hub;

/// What flags ask for.
#[derive(Debug)]
pub struct Source {
    /// The prompts.
    pub dataset: Box<dyn Dataset>,
    /// Whether generation goes on after an end-of-sequence token, whatever the flags say.
    pub ignores_eos: bool,
    /// Whether prompts are token ids.
    pub ids: bool,
}

impl Flags {
    /// The dataset that is asked for; `messages` is whether the server applies the chat template.
    ///
    /// # Errors
    /// If flags do not go together; the message names them.
    pub fn source(&self, messages: bool) -> Result<Source, String> {
        let (data, prompts) = (&self.data, self.load.num_prompts);
        let name = data.dataset_name.as_str();
        let reading = Reading { oversample: !data.no_oversample, ordered: data.disable_shuffle };
        let template = !self.body.skip_chat_template && !messages;
        let lengths = |mean, half_width| Lengths { mean, half_width };
        let input =
            lengths(data.input_len.unwrap_or(data.random_input_len), data.random_range_ratio.input);
        let output = lengths(
            data.output_len.unwrap_or(data.random_output_len),
            data.random_range_ratio.output,
        );
        let (prefix, batch) = (data.random_prefix_len, data.random_batch_size);
        let random = Random { input, output, prefix, prompts, batch };
        let custom = |form, output| Custom { form, output, template, reading };
        let custom_output = data
            .output_len
            .or_else(|| usize::try_from(data.custom_output_len).ok().filter(|&len| len > 0));
        self.check_batches()?;
        let dataset: Box<dyn Dataset> = match name {
            "random" => Box::new(random),
            "random-mm" => Box::new(Multimodal {
                text: Random { batch: 1, ..random },
                items: lengths(
                    data.random_mm_base_items_per_request,
                    data.random_mm_num_mm_items_range_ratio,
                ),
                most: data.random_mm_limit_mm_per_prompt.image,
                buckets: data.random_mm_bucket_config.0.clone(),
            }),
            "random-rerank" => {
                Box::new(Rerank { input, prompts, batch, is_reranker: !data.no_reranker })
            }
            "prefix_repetition" => {
                let prefixes = data.prefix_repetition_num_prefixes;
                if prompts < prefixes {
                    return Err(format!(
                        "--num-prompts {prompts} is below --prefix-repetition-num-prefixes {prefixes}"
                    ));
                }
                Box::new(Repetition {
                    prefix: data.prefix_repetition_prefix_len,
                    suffix: data.prefix_repetition_suffix_len,
                    prefixes,
                    output: data.output_len.unwrap_or(data.prefix_repetition_output_len),
                    prompts,
                })
            }
            "sharegpt" => {
                Box::new(ShareGpt { output: data.output_len.or(data.sharegpt_output_len), reading })
            }
            "custom" => Box::new(custom(Form::Custom, custom_output)),
            "custom_image" | "custom_mm" => {
                let inline = data.custom_ensure_client_side_data;
                let form = Form::Image { inline };
                Box::new(Custom { template: false, ..custom(form, custom_output) })
            }
            "custom_audio" => {
                let chat = self.body.enable_multimodal_chat;
                let form = Form::Audio { chat };
                Box::new(Custom { template: false, ..custom(form, custom_output) })
            }
            "spec_bench" => {
                let output = data.output_len.unwrap_or(data.spec_bench_output_len);
                Box::new(custom(Form::Turns(data.spec_bench_category.clone()), Some(output)))
            }
            "speed_bench" => {
                let form = Form::Messages(data.speed_bench_category.clone());
                Box::new(custom(form, Some(data.speed_bench_output_len)))
            }
            "sonnet" => Box::new(Sonnet {
                input: data.input_len.unwrap_or(data.sonnet_input_len),
                output: data.output_len.unwrap_or(data.sonnet_output_len),
                prefix: data.sonnet_prefix_len,
            }),
            "burstgpt" => Box::new(BurstGpt),
            "timed_trace" => Box::new(TimedTrace {
                block: data.timed_trace_chunk_hash_size,
                unit: data.timed_trace_sec_multiplier,
                labels: [
                    data.timed_trace_label_timestamp.clone(),
                    data.timed_trace_label_input_length.clone(),
                    data.timed_trace_label_output_length.clone(),
                    data.timed_trace_label_hash_ids.clone(),
                ],
                timed: !self.load.no_self_timed,
            }),
            _ => Box::new(self.hub(template, reading)?),
        };
        let made_up = matches!(name, "random" | "random-mm" | "timed_trace");
        let ids = name == "timed_trace" || self.body.prompt_token_ids;
        Ok(Source { dataset, ignores_eos: made_up, ids })
    }

    fn hub(&self, template: bool, reading: Reading) -> Result<Hub, String> {
        let data = &self.data;
        let path = data.dataset_path.as_ref().ok_or("--dataset-name hf needs --dataset-path")?;
        let id = path.to_str().filter(|id| !path.exists() && hub::Hub::is_id(id));
        if id.is_none() && !path.exists() {
            return Err(format!(
                "--dataset-path {} is neither a file nor the name of a data set",
                path.display()
            ));
        }
        Ok(Hub {
            id: id.map(str::to_owned),
            name: data.hf_name.clone(),
            subset: data.hf_subset.clone(),
            split: data.hf_split.clone(),
            column: data.hf_text_column.clone(),
            output: data.output_len.or(data.hf_output_len),
            template,
            reading,
        })
    }

    /// Refuses flags of datasets that the chosen one has no use for, where ignoring them would measure something else.
    fn check_batches(&self) -> Result<(), String> {
        let data = &self.data;
        let name = data.dataset_name.as_str();
        let pools = self.backend.name.contains("embeddings")
            || matches!(self.backend.name, "vllm-pooling" | "vllm-rerank");
        let is_batch = data.random_batch_size > 1;
        if is_batch && !(pools && matches!(name, "random" | "random-rerank")) {
            return Err(format!(
                "--random-batch-size does not apply to --dataset-name {name} and --backend {}",
                self.backend.name
            ));
        }
        if (self.backend.name == "vllm-rerank") != (name == "random-rerank") && !data.no_reranker {
            return Err(format!(
                "--backend {} and --dataset-name {name} do not go together: vllm-rerank takes random-rerank, and random-rerank with --no-reranker is for embeddings",
                self.backend.name
            ));
        }
        let made_up = ["random", "random-mm", "random-rerank", "prefix_repetition"];
        if data.dataset_path.is_some() && made_up.contains(&name) {
            return Err(format!("--dataset-path does not apply to --dataset-name {name}"));
        }
        if data.dataset_path.is_none() && !made_up.contains(&name) && name != "hf" {
            return Err(format!("--dataset-name {name} needs --dataset-path"));
        }
        if self.load.self_timed && name != "timed_trace" {
            return Err(format!(
                "--self-timed does not apply to --dataset-name {name}, which has no times"
            ));
        }
        if self.body.enable_multimodal_chat
            && !matches!(name, "random-mm" | "custom_audio" | "custom_image" | "custom_mm")
        {
            return Err(format!(
                "--enable-multimodal-chat does not apply to --dataset-name {name}, which has no media"
            ));
        }
        if self.body.prompt_token_ids
            && !(matches!(name, "random" | "prefix_repetition" | "timed_trace")
                && matches!(self.backend.name, "openai" | "vllm"))
        {
            return Err("--prompt-token-ids applies to --backend openai with --dataset-name random or prefix_repetition".to_owned());
        }
        Ok(())
    }
}
