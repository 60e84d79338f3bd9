//! Where images stand in a prompt, and how many tokens the prompt has with them.
//!
//! A server of messages puts images where the model's chat template says, and the tokens of the template count.
//! In front of an endpoint of plain text the template is applied here, for the model expects what it was trained on.

use serde_json::{Value, json};

use super::Context;
use super::patches::Rule;
use super::text::Shaper;
use crate::error::Error;
use crate::model::{Prompt, Row, user_message};

/// What stands for an image in a text where neither the template nor the model tells.
const TAG: &str = "<image>";

/// Places the images of rows.
#[derive(Debug)]
pub(super) struct Placing<'a> {
    context: &'a Context<'a>,
    /// How many tokens an image becomes, where the model's files say.
    pub(super) rule: Option<Rule>,
    /// The chat template, if it has a place for images.
    shaper: Option<Shaper<'a>>,
}

impl<'a> Placing<'a> {
    /// As the model's files say.
    ///
    /// # Errors
    /// If they are there and cannot be used.
    pub(super) fn of(context: &'a Context<'a>) -> Result<Self, Error> {
        let tokenizer = context.tokenizer;
        // A tokenizer without a template, or with one that cannot be read, has no place for images.
        let template = tokenizer.chat_template(&context.reading.now).ok();
        let shaper = template.map(|template| Shaper::new(context, Some(template)));
        Ok(Self {
            context,
            rule: Rule::of(tokenizer.name(), context.hub)?,
            shaper: shaper.filter(has_places),
        })
    }

    /// What the user should know of how images are placed.
    pub(super) fn note(&self) -> Option<String> {
        let here = !self.context.reading.server_templates;
        (here && self.shaper.is_none()).then(|| {
            format!(
                "the chat template of {} has no place for images: {} stands for each in front of the text",
                self.context.tokenizer.name(),
                self.tag()
            )
        })
    }

    fn tag(&self) -> &'static str {
        if self.rule.is_some() { Rule::TAG } else { TAG }
    }

    /// Adds to a row of text and images what the template and the images add to it;
    /// `vision` is the number of image tokens, 0 where no rule gives them.
    ///
    /// # Errors
    /// If the template refuses the text.
    pub(super) fn place(&self, mut row: Row, vision: usize) -> Result<Row, Error> {
        let Prompt::Text(text) = &mut row.prompt else { return Ok(row) };
        let images = row.images.len();
        let Some(shaper) = &self.shaper else {
            if !self.context.reading.server_templates {
                text.insert_str(0, &self.tag().repeat(images));
            }
            row.prompt_len += vision;
            row.vision_len = vision;
            return Ok(row);
        };
        let (_, text_len) = shaper.message(user_message(text))?;
        let (placed, len) = shaper.message(with_images(text, images))?;
        row.prompt_len = text_len;
        row.vision_len = 0;
        if self.rule.is_some() {
            // The template has one token for each image, which becomes many, between tokens that mark its ends.
            let marks =
                len.saturating_sub(text_len + images * self.context.tokenizer.count(Rule::PAD));
            row.vision_len = vision + marks;
            row.prompt_len += row.vision_len;
        }
        if !self.context.reading.server_templates {
            *text = placed;
        }
        Ok(row)
    }
}

/// A message of the user with so many images before the text.
fn with_images(text: &str, images: usize) -> Value {
    let mut parts = vec![json!({"type": "image"}); images];
    parts.push(json!({"type": "text", "text": text}));
    json!({"role": "user", "content": parts})
}

/// Whether a template takes messages with images, and says where they stand.
fn has_places(shaper: &Shaper<'_>) -> bool {
    const TEXT: &str = "some text";
    let rendered = |images| shaper.message(with_images(TEXT, images)).ok().map(|(text, _)| text);
    let (Some(none), Some(one), Some(two)) = (rendered(0), rendered(1), rendered(2)) else {
        return false;
    };
    // A template that takes strings alone may write the list as it is.
    let written = |text: &str| text.contains("image\"") || text.contains("image'");
    let plain = shaper.message(user_message(TEXT)).is_ok();
    plain && one.contains(TEXT) && none.len() < one.len() && one.len() < two.len() && !written(&one)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Zoned;

    use super::*;
    use crate::workload::bundled;
    use crate::workload::dataset::Reading;
    use crate::workload::hub::Hub;
    use crate::workload::tokenizer::Tokenizer;

    /// The family of Qwen2-VL.
    const QWEN: &str = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n\
        {% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}\
        {% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}\
        {% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    /// Templates of models of text.
    const STRINGS: &str = "{% for m in messages %}{{ '[' + m['content'] + ']' }}{% endfor %}";
    const WRITES: &str = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}";
    const DROPS: &str = "{% for m in messages %}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endfor %}";

    /// Rows of 2 images and 3 tokens of text, before `/generate` and before a chat endpoint.
    fn placed(template: Option<&str>, rule: bool) -> [(String, usize, usize, bool); 2] {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        write("tokenizer.json", bundled::TOKENIZER);
        if let Some(template) = template {
            write("chat_template.jinja", template.as_bytes());
        }
        if rule {
            write(
                "preprocessor_config.json",
                br#"{"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "merge_size": 2, "min_pixels": 1, "max_pixels": 99999}"#,
            );
        }
        let hub = Hub::from_env(false);
        let tokenizer = Tokenizer::load(&[folder.path().display().to_string()], &hub).unwrap();
        [false, true].map(|server_templates| {
            let reading = Reading { server_templates, now: Zoned::default(), ..Reading::default() };
            let (path, n, seed, ids) = (None::<&Path>, 1, 0, false);
            let context =
                Context { tokenizer: &tokenizer, hub: &hub, path, n, seed, ids, reading: &reading };
            let placing = Placing::of(&context).unwrap();
            let row = Row::new(Prompt::Text(" one two three".into()), 3, 1);
            let row = Row { images: vec!["a".into(), "b".into()], ..row };
            let row = placing.place(row, if rule { 20 } else { 0 }).unwrap();
            let Prompt::Text(text) = row.prompt else { panic!() };
            (text, row.prompt_len - row.vision_len, row.vision_len, placing.note().is_some())
        })
    }

    #[test]
    fn templates_with_places_for_images_are_applied_where_the_server_has_none() {
        let text = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|vision_start|><|image_pad|><|vision_end|> one two three<|im_end|>\n<|im_start|>assistant\n";
        let count = |text: &str| {
            Tokenizer::load(&[bundled::NAME.to_owned()], &Hub::from_env(false)).unwrap().count(text)
        };
        let bare = text.replace("<|vision_start|><|image_pad|><|vision_end|>", "");
        let marks = count(text) - count(&bare) - 2 * count("<|image_pad|>");
        for (rule, vision) in [(false, 0), (true, 20 + marks)] {
            let [native, chat] = placed(Some(QWEN), rule);
            assert_eq!(native, (text.to_owned(), count(&bare), vision, false));
            assert_eq!(chat, (" one two three".to_owned(), count(&bare), vision, false));
        }
    }

    #[test]
    fn a_tag_stands_where_the_template_has_no_place() {
        for template in [None, Some(STRINGS), Some(WRITES), Some(DROPS)] {
            let [native, chat] = placed(template, false);
            assert_eq!(
                native,
                ("<image><image> one two three".to_owned(), 3, 0, true),
                "{template:?}"
            );
            assert_eq!(chat, (" one two three".to_owned(), 3, 0, false), "{template:?}");
        }
        let [native, chat] = placed(None, true);
        let tag = "<|vision_start|><|image_pad|><|vision_end|>";
        assert_eq!(native, (format!("{tag}{tag} one two three"), 3, 20, true));
        assert_eq!(chat, (" one two three".to_owned(), 3, 20, false));
    }
}
