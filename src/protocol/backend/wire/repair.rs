//! JSON that is none by the standard, and that the libraries of servers and clients write and read all the same.

/// `data` as JSON, if it differs from JSON in nothing but these: numbers that are none (`NaN`, `Infinity` and
/// `-Infinity`), which become `null`, and halves of surrogate pairs, which become U+FFFD. `None` if there are none.
pub(crate) fn repaired(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    // Up to here `data` was copied.
    let (mut done, mut at, mut in_string) = (0, 0, false);
    while let Some(&byte) = data.get(at) {
        let rest = &data[at..];
        let (length, instead): (usize, Option<&[u8]>) = match byte {
            b'"' => {
                in_string = !in_string;
                (1, None)
            }
            b'\\' if in_string => escape(rest),
            b'N' | b'I' | b'-' if !in_string => not_a_number(rest),
            _ => (1, None),
        };
        if let Some(instead) = instead {
            out.extend_from_slice(&data[done..at]);
            out.extend_from_slice(instead);
            done = at + length;
        }
        at += length;
    }
    if done == 0 {
        return None;
    }
    out.extend_from_slice(&data[done..]);
    Some(out)
}

/// The length of the number that is none at the beginning of `rest`, and what to write instead.
fn not_a_number(rest: &[u8]) -> (usize, Option<&'static [u8]>) {
    let names: [&[u8]; 4] = [b"NaN", b"Infinity", b"-Infinity", b"-NaN"];
    let name = names.into_iter().find(|name| rest.starts_with(name));
    name.map_or((1, None), |name| (name.len(), Some(b"null")))
}

/// The length of the escape at the beginning of `rest`, and what to write instead of half a pair.
fn escape(rest: &[u8]) -> (usize, Option<&'static [u8]>) {
    match unit(rest) {
        None => (2, None),
        Some(0xD800..=0xDBFF) => match rest.get(6..).and_then(unit) {
            Some(0xDC00..=0xDFFF) => (12, None),
            _ => (6, Some(b"\\ufffd")),
        },
        Some(0xDC00..=0xDFFF) => (6, Some(b"\\ufffd")),
        Some(_) => (6, None),
    }
}

/// The code unit that `text` begins with as an escape.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(data: &str) -> Option<String> {
        repaired(data.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_is_no_json_becomes_some() {
        for (data, want) in [
            (r#"{"a":NaN,"b":[-Infinity,Infinity]}"#, r#"{"a":null,"b":[null,null]}"#),
            (r#"{"a":"NaN","b":-1}"#, ""),
            (r#"{"a":"\"NaN","b":NaN}"#, r#"{"a":"\"NaN","b":null}"#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ude00\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00 \\ud83d""#, r#""\ufffd\ud83d\ude00 \\ud83d""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            (r#""\ud83""#, ""),
            ("\"\\", ""),
            ("", ""),
        ] {
            assert_eq!(text(data).unwrap_or_default(), want, "{data}");
        }
    }

    proptest! {
        /// Forall JSON: nothing is repaired. Forall bytes: nothing panics, and what was repaired stays as it is.
        #[test]
        fn json_is_left_alone(texts in prop::collection::vec("\\PC*", 0..4), bytes: Vec<u8>) {
            let json = serde_json::to_vec(&texts).unwrap();
            prop_assert_eq!(repaired(&json), None);
            if let Some(once) = repaired(&bytes) {
                prop_assert_eq!(repaired(&once), None);
            }
        }
    }
}
