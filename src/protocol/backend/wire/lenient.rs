//! JSON as clients in dynamic languages read it: a field of another type than expected is a field without a value.
//!
//! One pass and no tree of values: what a field has no use for is skipped where it stands. A key that stands twice has
//! its last value, as in JavaScript and Python.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::value::RawValue;

/// What a field makes of a JSON value of any type. Types that a field has no use for give [`Default`].
pub(in crate::protocol::backend) trait Lenient<'de>: Default {
    /// Reads one value.
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any(PhantomData))
    }

    /// `null`, which is not the same as no such key.
    fn null() -> Self {
        Self::default()
    }

    /// A string.
    fn text(_: Cow<'de, str>) -> Self {
        Self::default()
    }

    /// A boolean.
    fn flag(_: bool) -> Self {
        Self::default()
    }

    /// A whole number that is not negative.
    fn count(_: u64) -> Self {
        Self::default()
    }

    /// Any other number.
    fn number(_: f64) -> Self {
        Self::default()
    }

    /// A list.
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    /// An object.
    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

struct Any<T>(PhantomData<T>);

impl<'de, T: Lenient<'de>> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::null())
    }

    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::flag(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(T::count(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(u64::try_from(value).map_or_else(|_| T::number(value as f64), T::count))
    }

    fn visit_f64<E>(self, value: f64) -> Result<T, E> {
        Ok(T::number(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<T, E> {
        Ok(T::text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::object(object)
    }
}

/// An object, or nothing.
impl<'de, T: Lenient<'de>> Lenient<'de> for Option<T> {
    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::object(object).map(Some)
    }
}

/// What few events have, apart from the others so that these stay small.
impl<'de, T: Lenient<'de>> Lenient<'de> for Box<T> {
    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::object(object).map(Self::new)
    }
}

/// Reads a value of a list or an object.
pub(in crate::protocol::backend) struct Seed<T>(PhantomData<T>);

impl<T> Default for Seed<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Lenient<'de>> DeserializeSeed<'de> for Seed<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::read(deserializer)
    }
}

/// A key, borrowed where it stands in the JSON as it is.
pub(in crate::protocol::backend) struct Key<'de>(pub(crate) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The object that a whole event or body is, or its absence for `null`; anything else is an error that says so.
pub(in crate::protocol::backend) struct Top<T>(PhantomData<T>, &'static str);

impl<T> Top<T> {
    /// A reader of what errors call `what`.
    pub(in crate::protocol::backend) fn new(what: &'static str) -> Self {
        Self(PhantomData, what)
    }
}

impl<'de, T: Lenient<'de>> DeserializeSeed<'de> for Top<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Lenient<'de>> Visitor<'de> for Top<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::null())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::object(object)
    }
}

/// Declares structs of JSON objects: a field has the key of its name, and what other keys hold is skipped.
///
/// With `else complaint` other keys are offered to that field first, which is a [`super::told::Complaint`].
macro_rules! objects {
    ($($(#[$doc:meta])* struct $name:ident $(<$life:lifetime>)? { $($field:ident: $type:ty),* $(,)? }
        $(else $rest:ident)?)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(in crate::protocol::backend) struct $name $(<$life>)? {
            $(pub(in crate::protocol::backend) $field: $type,)*
            $(pub(in crate::protocol::backend) $rest: $crate::protocol::backend::wire::told::Complaint,)?
        }

        $crate::protocol::backend::wire::lenient::objects!(@read $name $(<$life>)? [$($field)*] $($rest)?);
    )*};
    (@read $name:ident [$($field:ident)*] $($rest:ident)?) => {
        impl<'de> $crate::protocol::backend::wire::lenient::Lenient<'de> for $name {
            $crate::protocol::backend::wire::lenient::objects!(@object [$($field)*] $($rest)?);
        }
    };
    (@read $name:ident <$life:lifetime> [$($field:ident)*] $($rest:ident)?) => {
        impl<$life> $crate::protocol::backend::wire::lenient::Lenient<$life> for $name<$life> {
            $crate::protocol::backend::wire::lenient::objects!(@object $life [$($field)*] $($rest)?);
        }
    };
    (@object [$($field:ident)*] $($rest:ident)?) => {
        $crate::protocol::backend::wire::lenient::objects!(@object 'de [$($field)*] $($rest)?);
    };
    (@object $life:lifetime [$($field:ident)*] $($rest:ident)?) => {
        fn object<A: serde::de::MapAccess<$life>>(mut map: A) -> Result<Self, A::Error> {
            use $crate::protocol::backend::wire::lenient::{Key, Seed};
            let mut object = Self::default();
            while let Some(Key(key)) = map.next_key()? {
                match &*key {
                    $(stringify!($field) => object.$field = map.next_value_seed(Seed::default())?,)*
                    $(other if object.$rest.takes(other, &mut map)? => {})?
                    _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                }
            }
            Ok(object)
        }
    };
}
pub(in crate::protocol::backend) use objects;

/// A text, borrowed from the event where JSON escapes allow it. A list has the texts of its parts.
#[derive(Debug, Default)]
pub(in crate::protocol::backend) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

impl<'a> Text<'a> {
    /// The text; the empty one if there is none.
    pub(in crate::protocol::backend) fn or_empty(self) -> Cow<'a, str> {
        self.0.unwrap_or(Cow::Borrowed(""))
    }

    /// The text, unless it is empty.
    pub(in crate::protocol::backend) fn if_any(self) -> Option<Cow<'a, str>> {
        self.0.filter(|text| !text.is_empty())
    }
}

impl<'de> Lenient<'de> for Text<'de> {
    fn text(text: Cow<'de, str>) -> Self {
        Self(Some(text))
    }

    fn flag(value: bool) -> Self {
        Self(Some(Cow::Borrowed(if value { "true" } else { "false" })))
    }

    fn count(value: u64) -> Self {
        Self(Some(Cow::Owned(value.to_string())))
    }

    fn number(value: f64) -> Self {
        // With an exponent where that is shorter: nothing grows beyond what was read.
        Self(Some(Cow::Owned(format!("{value:?}"))))
    }

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut all: Option<Cow<'de, str>> = None;
        while let Some(Self(part)) = list.next_element_seed(Seed::default())? {
            all = match (all, part) {
                (Some(all), Some(part)) => Some(super::join(all, part)),
                (all, part) => all.or(part),
            };
        }
        Ok(Self(all))
    }

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let mut text = Self::default();
        while let Some(Key(key)) = object.next_key()? {
            match &*key {
                // What kind of part it is, is no text.
                "text" | "content" | "value" => text = object.next_value_seed(Seed::default())?,
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(text)
    }
}

/// The text of a string, or the JSON of anything else.
#[derive(Debug, Default)]
pub(in crate::protocol::backend) struct Written<'a>(pub(crate) Option<Cow<'a, str>>);

impl<'de> Lenient<'de> for Written<'de> {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if json == "null" {
            return Ok(Self(None));
        }
        if !json.starts_with('"') {
            return Ok(Self(Some(Cow::Borrowed(json))));
        }
        serde_json::from_str(json).map(|Key(text)| Self(Some(text))).map_err(D::Error::custom)
    }
}

/// A count of tokens: a whole number, however it is written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol::backend) struct Count(pub(crate) Option<u64>);

impl<'de> Lenient<'de> for Count {
    fn text(text: Cow<'de, str>) -> Self {
        Self(text.trim().parse().ok())
    }

    fn count(value: u64) -> Self {
        Self(Some(value))
    }

    fn number(value: f64) -> Self {
        // Above 2^53 the number that was meant is not known, and no count is that high.
        let is_whole = value.fract() == 0.0 && (0.0..9.0e15).contains(&value);
        Self(is_whole.then(|| format!("{value:.0}").parse().ok()).flatten())
    }
}

/// Which of several completions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol::backend) struct Index(pub(crate) Option<u16>);

impl Index {
    /// What stands for a number that is no index, so that an answer to several completions can be refused for it.
    const NONE: u16 = u16::MAX;
}

impl<'de> Lenient<'de> for Index {
    fn text(text: Cow<'de, str>) -> Self {
        Self(Some(text.trim().parse().unwrap_or(Self::NONE)))
    }

    fn count(value: u64) -> Self {
        Self(Some(u16::try_from(value).unwrap_or(Self::NONE)))
    }

    fn number(value: f64) -> Self {
        Count::number(value).0.map_or(Self(Some(Self::NONE)), Self::count)
    }
}

/// The first element of a list; the others are skipped.
#[derive(Debug)]
pub(in crate::protocol::backend) struct First<T>(pub(crate) Option<T>);

impl<T> Default for First<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Lenient<'de> for First<T> {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let first = list.next_element()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self(first))
    }
}

/// A list that nearly always holds one element at most, which then takes no memory of its own.
/// An object stands for a list of itself.
#[derive(Debug)]
pub(in crate::protocol::backend) struct Several<T> {
    pub(in crate::protocol::backend) first: Option<T>,
    pub(in crate::protocol::backend) others: Vec<T>,
}

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

impl<'de, T: Lenient<'de>> Lenient<'de> for Several<T> {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let first = list.next_element_seed(Seed::default())?;
        let mut others = Vec::new();
        while let Some(other) = list.next_element_seed(Seed::default())? {
            // An index has to fit, and memory is to be in proportion to what was read.
            if others.len() == usize::from(u16::MAX) {
                return Err(A::Error::custom("a list of more than 65536 completions"));
            }
            others.push(other);
        }
        Ok(Self { first, others })
    }

    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Ok(Self { first: Some(T::object(object)?), others: Vec::new() })
    }
}
