//! Who captures: the name that every record carries.

use std::str::FromStr;

use crate::input::is_sensor_id;

/// `--sensor-id`: 1 to 64 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SensorId(pub(crate) String);

impl FromStr for SensorId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_sensor_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("1 to 64 printable ASCII characters, no space at the ends".to_owned())
        }
    }
}

/// What to call a sensor that nobody named, on a machine without a usable name.
const NAMELESS: &str = "flowtap";

impl SensorId {
    /// The machine's host name.
    pub(crate) fn of_this_machine() -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().parse().unwrap_or_else(|_| Self(NAMELESS.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_as_it_is_or_refused() {
        assert_eq!("tap-7".parse(), Ok(SensorId("tap-7".to_owned())));
        assert!("".parse::<SensorId>().is_err() && "a\nb".parse::<SensorId>().is_err());
        assert!(is_sensor_id(&SensorId::of_this_machine().0));
    }
}
