//! Nanoseconds as RFC 3339 text with nine digits, both ways.

use serde::{Deserialize, Deserializer, Serializer, de};

use crate::time::rfc3339;

pub(super) fn serialize<S: Serializer>(ns: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*ns))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
    i64::try_from(time.as_nanosecond()).map_err(|_| de::Error::custom("not within 1677 to 2262"))
}

pub(super) mod option {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::host) fn serialize<S: Serializer>(
        ns: &Option<i64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match ns {
            Some(ns) => super::serialize(ns, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::host) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<i64>, D::Error> {
        #[derive(Deserialize)]
        struct Time(#[serde(with = "crate::host::time_text")] i64);
        Ok(Option::<Time>::deserialize(deserializer)?.map(|time| time.0))
    }
}
