//! ICMP and ICMPv6 types as ports, so that both directions of an exchange are
//! one flow: the rules of Community ID v1.

use super::ip::proto;

/// A message's place in a flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IcmpPorts {
    /// The sender's and the receiver's.
    pub(super) src: u16,
    pub(super) dst: u16,
    /// No type answers this one: the key is never turned round.
    pub(super) one_way: bool,
    /// The message has an identifier that belongs to the key.
    pub(super) has_identifier: bool,
}

/// `proto` is ICMP or ICMPv6.
pub(super) fn ports(proto: u8, icmp_type: u8, code: u8) -> IcmpPorts {
    let answer =
        if proto == proto::ICMPV6 { counterpart_v6(icmp_type) } else { counterpart_v4(icmp_type) };
    let has_identifier = if proto == proto::ICMPV6 {
        matches!(icmp_type, 128 | 129)
    } else {
        matches!(icmp_type, 0 | 8 | 13..=18)
    };
    IcmpPorts {
        src: u16::from(icmp_type),
        dst: u16::from(answer.unwrap_or(code)),
        one_way: answer.is_none(),
        has_identifier,
    }
}

fn counterpart_v4(icmp_type: u8) -> Option<u8> {
    Some(match icmp_type {
        // Echo.
        0 => 8,
        8 => 0,
        // Router advertisement and solicitation.
        9 => 10,
        10 => 9,
        // Timestamp.
        13 => 14,
        14 => 13,
        // Information.
        15 => 16,
        16 => 15,
        // Address mask.
        17 => 18,
        18 => 17,
        _ => return None,
    })
}

fn counterpart_v6(icmp_type: u8) -> Option<u8> {
    Some(match icmp_type {
        // Echo.
        128 => 129,
        129 => 128,
        // Multicast listener query and report.
        130 => 131,
        131 => 130,
        // Router solicitation and advertisement.
        133 => 134,
        134 => 133,
        // Neighbour solicitation and advertisement.
        135 => 136,
        136 => 135,
        // Node information.
        139 => 140,
        140 => 139,
        // Home agent address discovery.
        144 => 145,
        145 => 144,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_an_answer_is_the_question() {
        for proto in [proto::ICMP, proto::ICMPV6] {
            for icmp_type in 0..=u8::MAX {
                let there = ports(proto, icmp_type, 0);
                if there.one_way {
                    continue;
                }
                let back = ports(proto, there.dst as u8, 0);
                assert_eq!((back.src, back.dst, back.one_way), (there.dst, there.src, false));
                assert_eq!(back.has_identifier, there.has_identifier);
            }
        }
    }

    #[test]
    fn a_one_way_message_has_its_type_and_code() {
        let unreachable = ports(proto::ICMP, 3, 13);
        assert_eq!((unreachable.src, unreachable.dst), (3, 13));
        assert!(unreachable.one_way);
        assert!(ports(proto::ICMPV6, 143, 0).one_way);
        assert!(ports(proto::ICMPV6, 146, 0).one_way, "as the specification has it");
    }
}
