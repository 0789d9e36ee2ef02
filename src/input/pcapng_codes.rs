//! Numbers of pcapng (draft-ietf-opsawg-pcapng): block types and option codes,
//! for the reader and for those that write.

pub(crate) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

pub(crate) mod block {
    pub(crate) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub(crate) const INTERFACE_DESCRIPTION: u32 = 1;
    pub(crate) const OBSOLETE_PACKET: u32 = 2;
    pub(crate) const SIMPLE_PACKET: u32 = 3;
    pub(crate) const INTERFACE_STATISTICS: u32 = 5;
    pub(crate) const ENHANCED_PACKET: u32 = 6;
}

pub(crate) mod option {
    pub(crate) const END: u16 = 0;
    pub(crate) const COMMENT: u16 = 1;
    pub(crate) const SHB_HARDWARE: u16 = 2;
    pub(crate) const SHB_OS: u16 = 3;
    pub(crate) const SHB_USERAPPL: u16 = 4;
    pub(crate) const IF_NAME: u16 = 2;
    pub(crate) const IF_DESCRIPTION: u16 = 3;
    pub(crate) const IF_TSRESOL: u16 = 9;
    pub(crate) const IF_FCSLEN: u16 = 13;
    pub(crate) const IF_TSOFFSET: u16 = 14;
    pub(crate) const EPB_DROPCOUNT: u16 = 4;
    pub(crate) const ISB_IFRECV: u16 = 4;
    pub(crate) const ISB_IFDROP: u16 = 5;
    pub(crate) const ISB_OSDROP: u16 = 7;
    pub(crate) const ISB_USRDELIV: u16 = 8;
}

/// How `shb_userappl` begins in sections that we recorded. Only there does the
/// time of a statistics block say where the stream's clock stood: other tools
/// write these blocks at the end, with the time of the first packet or none.
pub(crate) const OUR_APPLICATION: &str = "flowtap ";

/// Longest sensor id.
const MAX_SENSOR_BYTES: usize = 64;

/// True for what may be a sensor's id: 1 to 64 printable ASCII characters, no
/// space at either end. So it needs no escapes in any text format but quotes.
pub(crate) fn is_sensor_id(id: &str) -> bool {
    let printable = id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    printable && id.trim() == id && (1..=MAX_SENSOR_BYTES).contains(&id.len())
}

/// Who captured at an interface, and with which clock. In our sections the
/// interface's description says it in comments, `flowtap:sensor=ID` and
/// `flowtap:clock=synchronised` or `unsynchronised`: the standard has no option for
/// either. While the clock is in the other state, packets name another interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observer {
    /// Empty where it is not said.
    pub(crate) sensor: String,
    pub(crate) clock_synchronised: Option<bool>,
}

const SENSOR: &str = "flowtap:sensor=";
const CLOCK: &str = "flowtap:clock=";
const SYNCHRONISED: &str = "synchronised";
const UNSYNCHRONISED: &str = "unsynchronised";

impl Observer {
    /// Takes in a comment; one that says something else is passed over.
    pub(crate) fn read(&mut self, comment: &[u8]) {
        let Ok(comment) = std::str::from_utf8(comment) else { return };
        if let Some(id) = comment.strip_prefix(SENSOR).filter(|id| is_sensor_id(id)) {
            self.sensor = id.to_owned();
        } else if let Some(state) = comment.strip_prefix(CLOCK) {
            self.clock_synchronised = match state {
                SYNCHRONISED => Some(true),
                UNSYNCHRONISED => Some(false),
                _ => self.clock_synchronised,
            };
        }
    }

    /// The comments that say it.
    pub(crate) fn comments(&self) -> impl Iterator<Item = String> {
        let sensor = (!self.sensor.is_empty()).then(|| format!("{SENSOR}{}", self.sensor));
        let state = |on| if on { SYNCHRONISED } else { UNSYNCHRONISED };
        let clock = self.clock_synchronised.map(|on| format!("{CLOCK}{}", state(on)));
        sensor.into_iter().chain(clock)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_comments_say_is_read_again(
            sensor in "[!-~]([ -~]{0,62}[!-~])?",
            clock_synchronised: Option<bool>,
        ) {
            prop_assert!(is_sensor_id(&sensor));
            let said = Observer { sensor, clock_synchronised };
            let mut read = Observer::default();
            said.comments().for_each(|comment| read.read(comment.as_bytes()));
            prop_assert_eq!(read, said);
        }

        #[test]
        fn other_comments_say_nothing(comment: Vec<u8>, tail in "\\PC{0,80}") {
            let mut read = Observer::default();
            read.read(&comment);
            prop_assert_eq!(&read, &Observer::default());
            for prefix in [SENSOR, CLOCK] {
                read.read(format!("{prefix}{tail}").as_bytes());
            }
            prop_assert!(read.sensor.is_empty() || is_sensor_id(&read.sensor));
        }
    }

    #[test]
    fn ids_are_short_and_printable() {
        let longest = "x".repeat(MAX_SENSOR_BYTES);
        for good in ["a", "tap-1.example", "rack 7 \"left\"", &longest] {
            assert!(is_sensor_id(good), "{good}");
        }
        for bad in ["", " ", " a", "a ", "a\tb", "a\nb", "\u{202e}x", "\u{7f}", &"x".repeat(65)] {
            assert!(!is_sensor_id(bad), "{bad:?}");
        }
    }
}
