//! Takes an array apart into its elements, malformed ones too.

use std::io::{self, BufRead};
use std::ops::ControlFlow;

/// Hands on the bytes of each element, whatever they are; whether the array ended as one does,
/// or nobody wanted more of it.
///
/// An element ends at a comma outside of its own brackets and texts.
pub(super) fn elements<E>(
    mut input: impl BufRead,
    mut take: impl FnMut(&[u8]) -> Result<ControlFlow<()>, E>,
) -> io::Result<Result<bool, E>> {
    let mut state = State::default();
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(Ok(state.place == Place::After));
        }
        for &byte in chunk {
            match state.next(byte) {
                Next::More => {}
                Next::Broken => return Ok(Ok(false)),
                Next::Element => {
                    let flow = take(state.element.trim_ascii());
                    state.element.clear();
                    match flow {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => return Ok(Ok(true)),
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
        }
        let length = chunk.len();
        input.consume(length);
    }
}

#[derive(Default)]
struct State {
    place: Place,
    element: Vec<u8>,
    /// Brackets that are open within the element.
    depth: usize,
    /// Whether there was a comma before.
    several: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Within,
    Text,
    /// Behind a backslash in a text.
    Escape,
    After,
}

enum Next {
    More,
    Element,
    Broken,
}

impl State {
    fn next(&mut self, byte: u8) -> Next {
        match (self.place, byte) {
            (Place::Before, b'[') => {
                self.place = Place::Within;
                return Next::More;
            }
            (Place::Before | Place::After, byte) if byte.is_ascii_whitespace() => {
                return Next::More;
            }
            (Place::Before | Place::After, _) => return Next::Broken,
            (Place::Within, b',') if self.depth == 0 => {
                self.several = true;
                return Next::Element;
            }
            (Place::Within, b']') if self.depth == 0 => {
                self.place = Place::After;
                let empty = !self.several && self.element.trim_ascii().is_empty();
                return if empty { Next::More } else { Next::Element };
            }
            (Place::Within, b'"') | (Place::Escape, _) => self.place = Place::Text,
            (Place::Within, b'[' | b'{') => self.depth += 1,
            (Place::Within, b']' | b'}') => self.depth = self.depth.saturating_sub(1),
            (Place::Text, b'"') => self.place = Place::Within,
            (Place::Text, b'\\') => self.place = Place::Escape,
            (Place::Within | Place::Text, _) => {}
        }
        self.element.push(byte);
        Next::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (Vec<String>, bool) {
        let mut all = Vec::new();
        let whole = elements(text.as_bytes(), |element| {
            all.push(String::from_utf8_lossy(element).into_owned());
            Ok::<_, ()>(ControlFlow::Continue(()))
        });
        (all, whole.unwrap().unwrap())
    }

    #[test]
    fn elements_end_where_those_of_json_end() {
        for (text, want) in [
            ("[]", &[][..]),
            (" [ ] ", &[]),
            ("[1]", &["1"]),
            (
                "[1, [2, 3],{\"a\": \"]},\\\"\", \"b\": [{}]} ]\n",
                &["1", "[2, 3]", "{\"a\": \"]},\\\"\", \"b\": [{}]}"],
            ),
            ("[1,,NaN,]", &["1", "", "NaN", ""]),
            ("[{\"a\": ]}, 2]", &["{\"a\": ]}", "2"]),
        ] {
            let want: Vec<String> = want.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(split(text), (want, true), "{text}");
        }
        for text in ["", "[1", "[1, \"a]", "[1] 2", "{\"a\": 1}"] {
            assert!(!split(text).1, "{text}");
        }
    }
}
