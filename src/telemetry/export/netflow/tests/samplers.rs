//! Sampling rates: which one a flow was counted at.

use super::*;

/// The rates of all flows.
fn rates(out: &Out) -> Vec<Option<u32>> {
    flows(out).iter().map(|flow| flow.sampled_1_of).collect()
}

#[test]
fn samplers_are_taken_from_options() {
    let flow = template(0, 300, &[(8, 4), (12, 4), (48, 1)]);
    // Scope: the system (1, 4 bytes); sampler and its random interval.
    let options = set(1, &u16s(&[400, 4, 8, 1, 4, 48, 1, 50, 4]));
    let sampler = |id: u8, interval: u8| vec![192, 0, 2, 1, id, 0, 0, 0, interval];
    let samplers = set(400, &[sampler(1, 100), sampler(2, 50)].concat());
    let record = |sampler: u8| [&short(1)[..8], &[sampler]].concat();
    let data = set(300, &[record(1), record(2), record(9)].concat());
    let out = read(&[v9(1000, 0, &[flow, options, samplers, data])]);
    let sampled: Vec<_> = flows(&out).iter().map(|flow| flow.sampled_1_of).collect();
    assert_eq!(sampled, [Some(100), Some(50), None]);

    let spaces = set(3, &u16s(&[400, 3, 1, 302, 2, 305, 4, 306, 4]));
    let one_in_ten = set(400, &[u16s(&[1]), u32s(&[1, 9])].concat());
    let (flow, data) = (template(2, 300, SHORT), set(300, &short(1)));
    let out = read(&[ipfix(0, &[spaces, one_in_ten, flow, data])]);
    assert_eq!(flows(&out)[0].sampled_1_of, Some(10));
}

#[test]
fn a_sampler_that_is_switched_off_scales_no_more_flows() {
    let options = set(1, &u16s(&[400, 4, 8, 1, 4, 34, 4, 35, 1]));
    let says = |interval: u32, algorithm: u8| {
        set(400, &[&[192, 0, 2, 1][..], &interval.to_be_bytes(), &[algorithm]].concat())
    };
    let (flow, data) = (template(0, 300, SHORT), set(300, &short(1)));
    let out = read(&[
        v9(1000, 0, &[flow, options, says(1000, 1), data.clone()]),
        v9(1001, 1, &[says(0, 0), data.clone()]),
        v9(1002, 2, &[says(500, 1), data]),
    ]);
    let sampled: Vec<_> = flows(&out).iter().map(|flow| flow.sampled_1_of).collect();
    assert_eq!(sampled, [Some(1000), None, Some(500)]);
    assert!(out.passed.is_empty() && out.notices.is_empty(), "{out:?}");
}

#[test]
fn flows_that_may_be_of_several_samplers_are_told_once() {
    let options = set(1, &u16s(&[400, 4, 8, 1, 4, 48, 1, 50, 4]));
    let says = |id: u8, interval: u32| {
        set(400, &[&[192, 0, 2, 1, id][..], &interval.to_be_bytes()].concat())
    };
    let (flow, data) = (template(0, 300, SHORT), set(300, &short(1).repeat(2)));
    let out = read(&[
        v9(1000, 0, &[flow, options, says(1, 500), says(2, 500), data.clone()]),
        v9(1001, 1, &[says(1, 1000), data.clone()]),
        v9(1002, 2, &[says(1, 0), data]),
    ]);
    let sampled: Vec<_> = flows(&out).iter().map(|flow| flow.sampled_1_of).collect();
    let same = Some(500);
    assert_eq!(sampled, [same, same, None, None, same, same]);
    assert_eq!(out.bad_parts["flow whose sampling rate is not known"], 2);
    assert_eq!(out.notices.len(), 1, "{:?}", out.notices);
}

#[test]
fn a_sampler_that_another_replaced_keeps_no_rate_unknown() {
    let options = set(1, &u16s(&[400, 4, 8, 1, 4, 48, 1, 50, 4]));
    let says = |id: u8, interval: u32| {
        set(400, &[&[192, 0, 2, 1, id][..], &interval.to_be_bytes()].concat())
    };
    let (flow, data) = (template(0, 300, SHORT), set(300, &short(1)));
    let mut datagrams = vec![v9(1000, 0, &[flow, options, says(1, 1000), data.clone()])];
    let later = |minutes: u32, sets: &[Vec<u8>]| {
        v9_later(60 * minutes, 1000 + 60_000 * minutes, minutes, sets)
    };
    // Announced each minute from now on, and no word of the one before.
    datagrams.extend((1..=5).map(|minutes| later(minutes, &[says(2, 500), data.clone()])));
    let out = read(&datagrams);
    assert_eq!(rates(&out), [Some(1000), None, None, None, Some(500), Some(500)]);
    // Two of which each is announced, whatever is lost between, are two.
    let both = |minutes: u32| match minutes {
        2 | 5 => later(minutes, &[says(2, 500)]),
        3 => later(minutes, &[says(1, 1000)]),
        _ => later(minutes, &[says(1, 1000), says(2, 500), data.clone()]),
    };
    datagrams.truncate(1);
    datagrams.extend((1..=8).map(both));
    assert_eq!(rates(&read(&datagrams)), [Some(1000), None, None, None, None, None]);
}

#[test]
fn what_is_for_all_flows_stays_where_one_sampler_is_switched_off() {
    let options = |id: u16, fields: &[u16]| {
        set(1, &[u16s(&[id, 4, fields.len() as u16 * 2, 1, 4]), u16s(fields)].concat())
    };
    let (by_id, for_all) = (options(400, &[48, 1, 50, 4]), options(401, &[34, 4]));
    let one = |interval| set(400, &[vec![192, 0, 2, 1, 1], u32s(&[interval])].concat());
    let all = set(401, &[vec![192, 0, 2, 1], u32s(&[500])].concat());
    let (flow, data) = (template(0, 300, SHORT), set(300, &short(1)));
    let out = read(&[v9(1000, 0, &[flow, by_id, for_all, all, one(1000), one(0), data])]);
    assert_eq!(rates(&out), [Some(500)]);
}

#[test]
fn samplers_outlast_a_clock_that_is_set_back() {
    let options = set(1, &u16s(&[400, 4, 4, 2, 2, 34, 4]));
    let rate = |interface: u16, interval: u32| {
        set(400, &[&interface.to_be_bytes()[..], &interval.to_be_bytes()].concat())
    };
    let flow = template(0, 300, &[(8, 4), (12, 4), (10, 2)]);
    let data = set(300, &[&short(1)[..8], &[0, 4]].concat());
    let out = read(&[
        v9_later(1_000_000, 1000, 0, &[flow, options, rate(3, 10)]),
        v9_later(0, 2000, 1, &[rate(4, 20)]),
        v9_later(1, 3000, 2, &[rate(3, 10), data]),
    ]);
    assert_eq!(rates(&out), [Some(20)]);
}

#[test]
fn a_sampler_that_another_template_replaced_keeps_no_rate_unknown() {
    let options = |id: u16, fields: &[u16]| {
        set(1, &[u16s(&[id, 4, fields.len() as u16 * 2, 1, 4]), u16s(fields)].concat())
    };
    let (by_id, for_all) = (options(400, &[48, 1, 50, 4]), options(401, &[34, 4]));
    let one = set(400, &[vec![192, 0, 2, 1, 1], u32s(&[1000])].concat());
    let all = |id| set(id, &[vec![192, 0, 2, 1], u32s(&[500])].concat());
    let (flow, data) = (template(0, 300, SHORT), set(300, &short(1)));
    let first = v9(1000, 0, &[flow, by_id, one, data.clone()]);
    // By the same number: what the template announced before was by the one before.
    let redefined = v9_later(60, 61_000, 1, &[options(400, &[34, 4]), all(400), data.clone()]);
    assert_eq!(rates(&read([&first, &redefined])), [Some(1000), Some(500)]);
    // By another: what is for all flows goes before what some have.
    let other = v9_later(60, 61_000, 1, &[for_all, all(401), data]);
    assert_eq!(rates(&read([&first, &other])), [Some(1000), Some(500)]);
}

#[test]
fn interfaces_have_rates_of_their_own() {
    // Scopes: the interface, as v9 numbers it and as IPFIX does.
    let in_v9 = set(1, &u16s(&[400, 4, 4, 2, 2, 34, 4]));
    let in_ipfix = set(3, &u16s(&[400, 2, 1, 10, 2, 34, 4]));
    // Beside a scope that is the exporter.
    let beside = set(3, &u16s(&[400, 3, 1, 130, 4, 10, 2, 34, 4]));
    let rate = |interface: u16, interval: u32| {
        [&interface.to_be_bytes()[..], &interval.to_be_bytes()].concat()
    };
    let fields = &[(8, 4), (12, 4), (10, 4), (14, 4), (61, 1)];
    let flow = |input: u32, output: u32, direction: u8| {
        [short(1)[..8].to_vec(), u32s(&[input, output]), vec![direction]].concat()
    };
    let all = [flow(3, 9, 0), flow(9, 3, 0), flow(3, 4, 1), flow(4, 3, 1), flow(9, 3, 7)];
    let (plain, data) = (template(0, 301, SHORT), set(301, &short(1)));
    let v9_flows = [template(0, 300, fields), set(300, &all.concat()), plain, data];
    let ipfix_flows = [template(2, 300, fields), set(300, &all.concat())];
    let rates_of = |before: Vec<Vec<u8>>, flows: &[Vec<u8>], is_v9: bool| {
        let sets = [&before, flows].concat();
        let out = read(&[if is_v9 { v9(1000, 0, &sets) } else { ipfix(0, &sets) }]);
        (rates(&out), out.notices.len())
    };
    let by_interface = [rate(3, 1000), rate(4, 100)];
    // Counted where they came in, where they left, and where nobody says.
    let expected = vec![Some(1000), None, Some(100), Some(1000), Some(1000)];
    let with_plain = [&expected[..], &[None]].concat();
    let known = vec![in_v9, set(400, &by_interface.concat())];
    assert_eq!(rates_of(known, &v9_flows, true), (with_plain, 1), "v9");
    let known = vec![in_ipfix, set(400, &by_interface.concat())];
    assert_eq!(rates_of(known, &ipfix_flows, false), (expected.clone(), 0), "IPFIX");
    let with_exporter = by_interface.map(|rate| [&[192, 0, 2, 1][..], &rate].concat()).concat();
    let known = vec![beside, set(400, &with_exporter)];
    assert_eq!(rates_of(known, &ipfix_flows, false), (expected, 0), "beside");
}

#[test]
fn a_flow_has_the_rate_of_the_sampler_at_its_interface_or_in_its_selection_sequence() {
    // Selectors with their rates; which one an interface has, and which a sequence.
    let selectors = set(3, &u16s(&[400, 3, 1, 302, 4, 305, 4, 306, 4]));
    let said = set(400, &u32s(&[1, 1, 999, 2, 1, 99]));
    let at_interface = set(3, &u16s(&[401, 2, 1, 10, 4, 302, 4]));
    let in_sequence = set(3, &u16s(&[402, 3, 1, 301, 8, 10, 4, 302, 4]));
    let used = [set(401, &u32s(&[3, 1])), set(402, &u32s(&[0, 77, 3, 2]))].concat();
    let by_interface = [template(2, 300, &[(8, 4), (12, 4), (10, 4)])];
    let by_interface =
        [&by_interface.concat()[..], &set(300, &[&short(1)[..8], &u32s(&[3])].concat())];
    let by_sequence = [template(2, 301, &[(8, 4), (12, 4), (301, 8)])];
    let by_sequence =
        [&by_sequence.concat()[..], &set(301, &[&short(1)[..8], &u32s(&[0, 77])].concat())];
    let out = read(&[ipfix(
        0,
        &[
            selectors,
            said,
            at_interface,
            in_sequence,
            used,
            by_interface.concat(),
            by_sequence.concat(),
        ],
    )]);
    assert_eq!(rates(&out), [Some(1000), Some(100)]);
    assert!(out.unknown_fields.is_empty() && out.passed.is_empty(), "{out:?}");
}

/// Regression: a sampler that is told with an interface was found at that one alone.
#[test]
fn a_flow_that_names_its_sampler_has_its_rate_wherever_it_was() {
    let options = set(1, &u16s(&[400, 4, 8, 2, 2, 48, 1, 50, 4]));
    let said = set(400, &[&[0, 5, 1][..], &u32s(&[100])].concat());
    let flows = template(0, 300, &[(8, 4), (12, 4), (48, 1), (10, 2)]);
    let flow = |interface: u8, id| [&short(1)[..8], &[id, 0, interface]].concat();
    let of_three = set(300, &[flow(5, 1), flow(6, 1), flow(6, 2)].concat());
    let out = read(&[v9(1000, 0, &[options, said, flows, of_three])]);
    assert_eq!(rates(&out), [Some(100), Some(100), None]);
}

#[test]
fn samplers_are_bounded() {
    let options = set(1, &u16s(&[400, 4, 4, 2, 4, 34, 4]));
    let mut sets = vec![options];
    sets.extend((0..5).map(|part| {
        let interfaces = (part * 1000..part * 1000 + 1000).map(|number| u32s(&[number + 1, 10]));
        set(400, &interfaces.collect::<Vec<_>>().concat())
    }));
    let out = read(&[v9(1000, 0, &sets)]);
    assert_eq!(out.bad_parts["sampler over the bound on samplers"], 5000 - 2048);
}
