//! Several maps, hosts and namespaces that have the same address.

use super::*;

/// Private, and that of the bridge's first container everywhere.
const PRIVATE: &str = "172.17.0.2";

/// What the watcher of a host tells, in its own namespace 1, with the address in others.
fn told(host: &str, netns: &[u64], sockets: impl IntoIterator<Item = Socket>) -> Vec<HostEvent> {
    let start = MapStart {
        version: 1,
        host: host.to_owned(),
        boot: format!("boot of {host}"),
        netns: Some(1),
        ..MapStart::default()
    };
    let mut events = vec![at(0, What::Start(start)), at(0, address(HERE, 1))];
    events.extend(netns.iter().map(|&netns| at(0, address(PRIVATE, netns))));
    events.extend(sockets.into_iter().map(|socket| at(S, What::SocketOpen(socket))));
    events.push(at(100 * S, What::Time));
    events
}

/// As several files are read.
fn maps(files: &[Vec<HostEvent>]) -> Arc<HostMap> {
    let map = Arc::new(HostMap::new(MapLimits::default()));
    for events in files {
        let mut writer = map.writer();
        events.iter().for_each(|event| writer.apply(event));
    }
    map
}

fn server(process: u32, netns: u64, local: Option<&str>, basis: Basis) -> Socket {
    let socket = bound(SocketKind::Datagram, 17, local, 53, process);
    Socket { netns: Some(netns), basis, ..socket }
}

fn asked() -> Question {
    Question { protocol: 17, local: ip(PRIVATE), local_port: 53, sent: false, ..from_here() }
}

/// Whether one was found with so many others, by name or not.
fn among(map: &HostMap, question: &Question) -> usize {
    let found = answer(map, question);
    1 + found.others.len() + found.elsewhere
}

#[test]
fn two_maps_of_one_host_tell_of_one_process() {
    let socket = || server(7, 1, Some(HERE), Basis::Holds);
    let [one, other] = [told("a", &[], [socket()]), told("a", &[], [socket()])];
    let question = Question { local: ip(HERE), ..asked() };
    assert_eq!(among(&maps(&[one, other]), &question), 1);
}

#[test]
fn an_address_that_several_hosts_have_is_each_ones_whatever_is_bound_how() {
    let a = told("a", &[2], [server(1, 2, None, Basis::Holds)]);
    let b = told("b", &[2], [server(2, 2, Some(PRIVATE), Basis::Used)]);
    let without = told("d", &[2], []);
    assert_eq!(among(&maps(std::slice::from_ref(&a)), &asked()), 1);
    assert_eq!(among(&maps(&[a.clone(), b.clone()]), &asked()), 2);
    // Nobody is known there, who may have had it all the same.
    assert_eq!(among(&maps(&[b.clone(), without.clone()]), &asked()), 2);
    assert_eq!(among(&maps(&[a, b, without]), &asked()), 3);
}

#[test]
fn an_address_that_several_namespaces_of_a_host_have_is_each_ones() {
    let sockets = [server(1, 2, None, Basis::Holds), server(2, 3, Some(PRIVATE), Basis::Holds)];
    assert_eq!(among(&maps(&[told("a", &[2, 3], sockets)]), &asked()), 2);
}

#[test]
fn a_socket_with_both_ends_of_the_flow_is_in_one_place() {
    let exact = Socket {
        remote: Some(ip(THERE)),
        remote_port: 443,
        ..server(2, 2, Some(PRIVATE), Basis::Used)
    };
    let a = told("a", &[2], [server(1, 2, None, Basis::Holds)]);
    let b = told("b", &[2], [exact.clone()]);
    let map = maps(&[a, b]);
    assert_eq!((who(&map, &asked()), among(&map, &asked())), (2, 1));
    let twice = maps(&[told("b", &[2], [exact.clone()]), told("c", &[2], [exact])]);
    assert_eq!(among(&twice, &asked()), 2);
}

#[test]
fn a_translation_leads_to_containers_of_its_own_host() {
    let original = Ends { src: ip(THERE), src_port: 443, dst: ip(HERE), dst_port: 5300 };
    let reply = Ends { src: ip(PRIVATE), src_port: 53, dst: ip(THERE), dst_port: 443 };
    let mut a = told("a", &[2], []);
    a.push(at(9 * S, What::Nat(Nat { protocol: 17, original, reply, netns: Some(1) })));
    let b = vec![
        told("b", &[2], [server(2, 2, None, Basis::Holds)]).remove(0),
        at(0, address(PRIVATE, 2)),
        at(S, What::SocketOpen(server(2, 2, None, Basis::Holds))),
    ];
    let question = Question { local: ip(HERE), local_port: 5300, ..asked() };
    assert_eq!(maps(&[a, b]).resolve(&question), Err(Reason::NoSocket));
}
