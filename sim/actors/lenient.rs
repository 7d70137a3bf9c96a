//! Reading JSON that may be anything into fields: what is not of the kind that is wanted counts as not there.
//!
//! A client must survive whatever a gateway sends, and to read a field or two, a tree of all that it sends was a
//! hundredth of a run's time. Knows JSON and no protocol.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value of the wanted kind, or nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lenient<T>(pub(super) Option<T>);

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl Lenient<String> {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<T> Lenient<Vec<Lenient<T>>> {
    /// What of the list is of the wanted kind; nothing if it is no list.
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten().filter_map(|item| item.0.as_ref())
    }
}

/// What can be read leniently: each kind takes what it understands of the kinds that JSON has.
pub(super) trait Kind: Sized {
    /// From a string.
    fn of_text(_text: &str) -> Option<Self> {
        None
    }

    /// From an integer that is not negative.
    fn of_count(_count: u64) -> Option<Self> {
        None
    }

    /// From `true` or `false`.
    fn of_truth(_truth: bool) -> Option<Self> {
        None
    }

    /// From a list; reads all of it.
    fn of_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// From an object; reads all of it.
    fn of_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A struct whose fields are lenient and may be missing, read from an object.
pub(super) trait Fields: DeserializeOwned {}

impl<T: Fields> Kind for T {
    fn of_object<'de, A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(Some)
    }
}

impl Kind for String {
    fn of_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Kind for u64 {
    fn of_count(count: u64) -> Option<Self> {
        Some(count)
    }
}

impl Kind for bool {
    fn of_truth(truth: bool) -> Option<Self> {
        Some(truth)
    }
}

impl<T: Kind> Kind for Vec<Lenient<T>> {
    fn of_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut items = Self::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Some(items))
    }
}

impl<'de, T: Kind> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Willing(PhantomData)).map(Self)
    }
}

/// Takes whatever comes.
struct Willing<T>(PhantomData<T>);

impl<'de, T: Kind> Visitor<'de> for Willing<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::of_text(text))
    }

    fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
        Ok(T::of_count(count))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(T::of_truth(truth))
    }

    fn visit_i64<E>(self, _below_zero: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _fraction: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::of_object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Person {
        name: Lenient<String>,
        age: Lenient<u64>,
        friends: Lenient<Vec<Lenient<Person>>>,
    }

    impl Fields for Person {}

    fn read(text: &str) -> Lenient<Person> {
        serde_json::from_str(text).expect("is JSON")
    }

    #[test]
    fn what_is_as_it_should_be_is_read() {
        let ann = read(r#"{"age":7,"x":[{}],"name":"ann","friends":[{"name":"bob"},null,{"name":"cyd"}]}"#).0;
        let ann = ann.expect("is an object");
        assert_eq!((ann.name.text(), ann.age.0), (Some("ann"), Some(7)));
        assert_eq!(
            ann.friends.items().filter_map(|friend| friend.name.text()).collect::<Vec<_>>(),
            ["bob", "cyd"]
        );
    }

    #[test]
    fn what_is_of_another_kind_is_not_there_and_spoils_nothing() {
        for other in ["null", "true", "-1", "1.5", "[[1],{}]", r#"{"a":{"b":[]}}"#] {
            let text = format!(r#"{{"age":{other},"friends":{other},"name":"ann"}}"#);
            let ann = read(&text).0.expect("is an object");
            assert_eq!((ann.name.text(), ann.age.0), (Some("ann"), None), "{text}");
            assert_eq!(ann.friends.items().count(), usize::from(other.contains("{}")), "{text}");
            let ann = read(&format!(r#"{{"name":{other},"age":7}}"#)).0.expect("is an object");
            assert_eq!((ann.name.text(), ann.age.0), (None, Some(7)));
        }
        assert!(read("7").0.is_none() && read("[]").0.is_none() && read(r#""ann""#).0.is_none());
    }
}
