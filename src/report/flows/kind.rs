//! What kind of value a field has, by the flow schema: what it may be compared with.

use serde_json::Value;

use super::field::resolved;
use crate::output::names::proto_name;

/// More choices than these are no help in a message.
const MOST_TOLD: usize = 12;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Number {
        least: Option<f64>,
        most: Option<f64>,
    },
    Address,
    Mac,
    Time,
    /// Left out of a record where it does not hold, if `only_true`.
    Flag {
        only_true: bool,
    },
    /// One of these, in whatever case.
    Choice(Vec<String>),
    Text {
        /// The schema has it in one case only.
        one_case: bool,
    },
    /// No value of its own: these are in it.
    Parts(Vec<String>),
    Any,
}

impl Kind {
    /// Of what both directions have together.
    pub(super) const COUNT: Self = Self::Number { least: Some(0.0), most: None };

    pub(super) fn of(schema: &Value) -> Self {
        let named = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        match named {
            Some("ip") => return Self::Address,
            Some("mac") => return Self::Mac,
            Some("time") => return Self::Time,
            _ => {}
        }
        let node = resolved(schema);
        if let Some(choices) = node["enum"].as_array() {
            let choices = choices.iter().filter_map(Value::as_str);
            return Self::Choice(choices.map(str::to_owned).collect());
        }
        if node["const"].is_boolean() {
            return Self::Flag { only_true: true };
        }
        match node["type"].as_str() {
            Some("integer" | "number") => {
                Self::Number { least: node["minimum"].as_f64(), most: node["maximum"].as_f64() }
            }
            Some("boolean") => Self::Flag { only_true: false },
            Some("string") => {
                let pattern = node["pattern"].as_str().unwrap_or_default();
                Self::Text { one_case: pattern.contains("a-z") != pattern.contains("A-Z") }
            }
            Some("array") => Self::of(&node["items"]),
            Some("object") => {
                let parts = node["properties"].as_object().into_iter().flatten();
                Self::Parts(parts.map(|(name, _)| name.clone()).collect())
            }
            _ => Self::Any,
        }
    }

    /// The same of a field that lines leave out where it is 0, or false.
    pub(super) fn or_nothing(self) -> Self {
        match self {
            Self::Number { least, most } => Self::Number { least: least.map(|_| 0.0), most },
            Self::Flag { .. } => Self::Flag { only_true: false },
            other => other,
        }
    }

    pub(super) fn protocols() -> Self {
        Self::Choice((0..=u8::MAX).map(|proto| proto_name(proto).to_owned()).collect())
    }

    /// Upper and lower case are the same.
    pub(super) fn is_caseless(&self) -> bool {
        matches!(
            self,
            Self::Choice(_) | Self::Mac | Self::Flag { .. } | Self::Text { one_case: true }
        )
    }

    /// What a value of it looks like.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Number { least, most } => {
                let bounds = match (least, most) {
                    (Some(least), Some(most)) => format!(" from {least} to {most}"),
                    (Some(least), None) => format!(" from {least} on"),
                    _ => String::new(),
                };
                format!("a number{bounds} belongs here; units are k, M, G; ns, us, ms, s, min, h")
            }
            Self::Address => "an address or a prefix (10.0.0.0/8) belongs here".to_owned(),
            Self::Mac => "a MAC address (02:00:00:00:00:01) belongs here".to_owned(),
            Self::Time => {
                "a time in UTC (2026-11-21T09:30, as precise as is wanted) belongs here".to_owned()
            }
            Self::Flag { only_true: false } => "true or false belongs here".to_owned(),
            Self::Flag { only_true: true } => {
                "only true belongs here; where it does not hold, records leave it out".to_owned()
            }
            Self::Choice(choices) if choices.len() <= MOST_TOLD => {
                format!("one of {} belongs here", choices.join(", "))
            }
            Self::Choice(choices) => {
                let first: Vec<&str> = choices.iter().take(MOST_TOLD).map(String::as_str).collect();
                format!("no value of this field: it has {}, ...", first.join(", "))
            }
            Self::Text { .. } | Self::Parts(_) | Self::Any => "a value belongs here".to_owned(),
        }
    }
}
