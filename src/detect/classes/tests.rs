use std::collections::BTreeSet;

use super::*;
use crate::host::process::ProcessId;
use crate::host::side::Ancestor;

fn view(exe: &str, args: &[&str]) -> ProcessView {
    let process = Process {
        name: base_name(exe).to_owned(),
        exe: exe.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        ..Process::default()
    };
    let parent = Ancestor { name: "cron".to_owned(), ..Ancestor::default() };
    ProcessView { process, ancestors: vec![parent], ..ProcessView::default() }
}

fn kind(exe: &str, args: &[&str]) -> ClassKind {
    Classes::built_in().classify(&view(exe, args)).kind
}

#[test]
fn the_table_is_whole_and_says_each_thing_once() {
    let classes = table::parse(BUILT_IN).unwrap();
    assert_eq!(&*classes.version, "1");
    let mut ids = BTreeSet::new();
    let mut names = BTreeSet::new();
    for entry in &classes.entries {
        assert!(ids.insert(&entry.id), "{}", entry.id);
        for name in &entry.names {
            let key = (name, entry.kind == ClassKind::Kernel);
            assert!(names.insert(key), "{name} is in two entries");
        }
    }
    for kind in ClassKind::ALL {
        let used = classes.entries.iter().any(|entry| entry.kind == kind);
        assert_eq!(used, kind != ClassKind::Unknown, "{}", kind.name());
    }
}

#[test]
fn programs_in_usual_folders_are_what_they_are_called() {
    assert_eq!(kind("/usr/bin/sort", &[]), ClassKind::Never);
    assert_eq!(kind("/usr/bin/curl", &[]), ClassKind::Client);
    assert_eq!(kind("/usr/sbin/nginx", &[]), ClassKind::Server);
    assert_eq!(kind("/usr/bin/node_exporter", &[]), ClassKind::Agent);
    assert_eq!(kind("/opt/google/chrome/chrome", &[]), ClassKind::InteractiveClient);
    assert_eq!(kind("/usr/lib/apt/methods/http", &[]), ClassKind::Client);
    assert_eq!(kind("/usr/bin/python3.11", &[]), ClassKind::Interpreter);
    assert_eq!(kind("/opt/shop/bin/shopd", &[]), ClassKind::Unknown);
}

#[test]
fn a_name_alone_is_no_proof() {
    let classes = Classes::built_in();
    let tmp = classes.classify(&view("/tmp/sort", &[]));
    assert_eq!((tmp.kind, tmp.doubt), (ClassKind::Unknown, Some(Doubt::WritableFolder)));
    assert!(tmp.why.contains("anybody may write"), "{}", tmp.why);
    let home = classes.classify(&view("/home/eve/sort", &[]));
    assert_eq!((home.kind, home.doubt), (ClassKind::Unknown, Some(Doubt::UnusualFolder)));
    let hidden = classes.classify(&view("/usr/bin/../../tmp/nginx", &[]));
    assert_eq!(hidden.kind, ClassKind::Unknown);
    let mut nameless = view("", &[]);
    nameless.process.name = "sort".to_owned();
    let nameless = classes.classify(&nameless);
    assert_eq!((nameless.kind, nameless.doubt), (ClassKind::Unknown, Some(Doubt::NameAlone)));
}

#[test]
fn an_upgrade_deletes_executables_too() {
    let classes = Classes::built_in();
    let mut upgraded = view("/usr/sbin/sshd", &[]);
    upgraded.process.exe_deleted = true;
    assert_eq!(classes.classify(&upgraded).kind, ClassKind::Server);
    let mut gone = view("/srv/x/sshd", &[]);
    gone.process.exe_deleted = true;
    let gone = classes.classify(&gone);
    assert_eq!((gone.kind, gone.doubt), (ClassKind::Unknown, Some(Doubt::Deleted)));
    let mut writable = view("/usr/local/bin/sort", &[]);
    writable.process.exe_in_writable_folder = true;
    assert_eq!(classes.classify(&writable).kind, ClassKind::Unknown);
}

#[test]
fn interpreters_are_judged_by_script_and_parent() {
    let classes = Classes::built_in();
    assert_eq!(
        kind("/usr/bin/python3.11", &["python3", "/usr/bin/dnf", "update"]),
        ClassKind::Client
    );
    let script = classes.classify(&view("/usr/bin/python3.11", &["python3", "/tmp/udp.py"]));
    assert_eq!((script.kind, script.tool), (ClassKind::Interpreter, Tool::Script));
    assert_eq!(script.doubt, Some(Doubt::WritableFolder));
    assert!(script.why.contains("/tmp/udp.py, started by cron"), "{}", script.why);
    let fake = classes.classify(&view("/usr/bin/python3.11", &["python3", "/home/eve/dnf"]));
    assert_eq!(fake.kind, ClassKind::Interpreter);
    let venv = classes.classify(&view("/root/.venv/bin/python3", &["python3", "a.py"]));
    assert_eq!((venv.kind, venv.doubt), (ClassKind::Interpreter, Some(Doubt::UnusualFolder)));
}

#[test]
fn programs_of_one_file_go_by_their_call() {
    let classes = Classes::built_in();
    let ping = classes.classify(&view("/bin/busybox", &["ping", "192.0.2.1"]));
    assert_eq!((ping.kind, ping.tool), (ClassKind::Client, Tool::Ping));
    let sort = classes.classify(&view("/bin/busybox", &["busybox", "sort"]));
    assert_eq!(sort.kind, ClassKind::Never);
}

#[test]
fn only_a_child_of_kthreadd_is_a_kernel_thread() {
    let classes = Classes::built_in();
    let mut worker = view("", &[]);
    worker.process.name = "kworker/u8:3".to_owned();
    assert_eq!(classes.classify(&worker).kind, ClassKind::Unknown);
    worker.process.parent = Some(ProcessId { pid: 2, start_ticks: 0 });
    assert_eq!(classes.classify(&worker).kind, ClassKind::Kernel);
    assert_eq!(kind("/usr/bin/kworker", &[]), ClassKind::Unknown);
}

#[test]
fn a_table_of_ones_own_comes_first_and_is_cited() {
    let text = r#"
        version = "site-3"
        usual_folders = ["/srv/bin"]
        [[class]]
        id = "shop"
        class = "server"
        paths = ["/srv/shop/*"]
        reason = "the shop"
        [[class]]
        id = "our-curl"
        class = "agent"
        names = ["curl"]
        reason = "pushes figures"
    "#;
    let classes = Classes::of_user(text).unwrap();
    assert_eq!(classes.classify(&view("/srv/shop/run", &[])).kind, ClassKind::Server);
    assert_eq!(classes.classify(&view("/srv/bin/sort", &[])).kind, ClassKind::Never);
    let curl = classes.classify(&view("/usr/bin/curl", &[]));
    assert_eq!(curl.cited(), "agent (our-curl, table site-3+1): /usr/bin/curl: pushes figures");
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let entry =
        |more: &str| format!("version = \"1\"\n[[class]]\nid = \"a\"\nreason = \"b\"\n{more}");
    for (text, says) in [
        ("version = 1".to_owned(), "a text is wanted"),
        ("".to_owned(), "version is missing"),
        ("version = \"1\"\nx = 2".to_owned(), "line 2: x: no such key"),
        ("version = \"1\"\n[[class".to_owned(), "line 2"),
        (entry("class = \"never\""), "line 2: names or paths are missing"),
        (entry("class = \"nver\"\nnames = [\"x\"]"), "is not one of never"),
        (entry("class = \"never\"\nnames = \"x\""), "a list of texts"),
        (entry("class = \"never\"\npaths = [\"x\"]"), "does not begin with /"),
        (entry("class = \"never\"\nname = [\"x\"]"), "name: no such key"),
        (entry("class = \"client\"\nnames = [\"x\"]\ntool = \"y\""), "is no tool"),
    ] {
        let error = Classes::of_user(&text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}
