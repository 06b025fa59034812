//! Keys and values of JSON objects as cells.

use crate::data::cell::{Cell, List};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads a key without allocating and maps it.
pub(crate) struct KeySeed<F>(pub(crate) F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for KeySeed<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for KeySeed<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}

/// Reads any JSON value as a cell and passes it to `take`.
pub(crate) struct CellSeed<'l, F> {
    pub(crate) list: &'l mut List,
    pub(crate) take: F,
}

impl<'de, F: FnOnce(Cell<'_>)> DeserializeSeed<'de> for CellSeed<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnOnce(Cell<'_>)> Visitor<'de> for CellSeed<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        (self.take)(Cell::Boolean(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        (self.take)(Cell::Integer(value.into()));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        (self.take)(Cell::Integer(value.into()));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        (self.take)(Cell::Number(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        (self.take)(Cell::Text(value));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        (self.take)(Cell::Missing);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.list.clear();
        while seq.next_element_seed(ElementSeed { list: &mut *self.list, inner: false })?.is_some() {
            self.list.len += 1;
        }
        (self.take)(Cell::List(self.list));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        (self.take)(Cell::Nested);
        Ok(())
    }
}

/// Reads one element of a list.
struct ElementSeed<'l> {
    list: &'l mut List,
    inner: bool,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element of a list")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.list.numbers.push(f64::from(u8::from(value)));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.list.numbers.push(value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.list.numbers.push(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.list.numbers.push(value);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.list.numbers.push(f64::NAN);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.list.push_text(value);
        self.list.odd |= self.inner;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.inner {
            self.list.odd = true;
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut length = 0;
        while seq.next_element_seed(ElementSeed { list: &mut *self.list, inner: true })?.is_some() {
            length += 1;
        }
        self.list.inner.push(length);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.list.odd = true;
        Ok(())
    }
}
